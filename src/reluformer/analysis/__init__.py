"""Measures of trained memories."""
