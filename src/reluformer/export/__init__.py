"""Exports a trained model to a folder with everything needed to translate with it."""
