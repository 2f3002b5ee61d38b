"""The backend of many machines."""

from backends.redis.backend import RedisBackend

__all__ = ["RedisBackend"]
