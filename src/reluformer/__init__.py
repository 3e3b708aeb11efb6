"""A reproduction of "A Study on ReLU and Softmax in Transformer" (arXiv 2302.06461)."""

__version__ = "0.2.0"
