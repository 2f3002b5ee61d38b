"""The version, in one place: the package metadata and the command read it."""

__version__ = "0.1.0"
