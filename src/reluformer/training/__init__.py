"""Training with DeepSpeed, under torchrun when there are several processes."""
