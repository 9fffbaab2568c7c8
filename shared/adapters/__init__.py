"""The outside, as `shared/ports.py` asks for it."""
