"""What api and worker share: the domain, its ports, and the adapters to Redis, SQL and the disk."""
