"""The subject of the study: a key-value memory, read by `out = f(q·Kᵀ)·V`."""
