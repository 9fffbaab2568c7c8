"""Diarization, voiceprints and comparison of voices, all from waveforms; no network, no disk."""
