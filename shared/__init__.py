"""Code that api and worker share: domain, ports, services, dialects, adapters to Redis, SQL, S3 and the disk."""

#: The one place that says it: pyproject.toml, `/healthz` and the API's description read it here.
__version__ = "0.2.0"
