"""The organism and its pump."""
