"""ReLU attention without its n × n weights: C++ for CPUs, Triton for GPUs, tiles in plain torch."""

TRITON_WIDEST = 128
"""Head width up to which the Triton kernel is used."""
