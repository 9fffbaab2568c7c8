"""Voices: who speaks when in a waveform, and whose voice it is; no network, no disk."""
