"""Exports a trained model: a folder with all that translating with it takes."""
