"""Bodies as they go over the wire."""
