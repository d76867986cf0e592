"""The commands `kesikaran data ...`."""
