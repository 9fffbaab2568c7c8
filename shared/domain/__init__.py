"""Plain values and rules; nothing here knows a framework."""
