"""An audit of Python code, as an organism of three listeners."""
