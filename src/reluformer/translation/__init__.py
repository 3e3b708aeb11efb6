"""Batched beam search, shared by all systems."""
