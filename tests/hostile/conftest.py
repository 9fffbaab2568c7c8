from tests.integration.conftest import redis, redis_server

__all__ = ["redis", "redis_server"]
