"""The whole service on one machine: set up, run, demonstrate. Production uses `compose.yaml` instead."""
