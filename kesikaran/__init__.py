"""kesikaran: find out which transfer-learned image classifier is best, and be able to prove it."""

__version__ = "0.1.0"
