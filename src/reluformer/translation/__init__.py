"""Batched beam search, one for every system."""
