"""Training with DeepSpeed under torchrun."""
