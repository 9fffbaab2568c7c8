"""Preparation of sound before a network hears it; workers and the calibration of a model do the same."""
