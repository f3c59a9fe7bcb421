"""One MNIST training program for any cluster."""

__version__ = "0.1.0"
