"""Training with DeepSpeed, under torchrun where there are several processes."""
