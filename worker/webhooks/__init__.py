"""Webhooks: sent, judged, and noted."""
