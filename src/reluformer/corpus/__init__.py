"""Corpora: fetched, verified, prepared, stored, batched."""
