"""Calibration of an installed model: corpus, channels, fit, and the file that keeps the result."""
