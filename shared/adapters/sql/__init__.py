"""SQL database of clients, keys and secrets, which outlive jobs."""
