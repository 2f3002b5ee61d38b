"""The backend of a single machine: a server process, and clients that call it."""

from backends.manager.client import ManagerBackend
from backends.manager.server import StoreServer

__all__ = ["ManagerBackend", "StoreServer"]
