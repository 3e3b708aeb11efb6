"""ReLU attention without its n × n weights: one function, `attention.relu_attention`, over several backends."""
