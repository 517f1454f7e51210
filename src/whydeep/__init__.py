"""whydeep: an instrument for the empirical study of how neural networks train."""

__version__ = "0.1.0"
