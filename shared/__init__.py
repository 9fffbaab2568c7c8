"""What api and worker share: the domain, its ports, and the adapters to Redis, SQL and the disk."""

#: The one place that says it: pyproject.toml, `/healthz` and the API's description read it here.
__version__ = "0.2.0"
