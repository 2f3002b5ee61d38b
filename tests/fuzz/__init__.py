"""Every decoder under hostile bytes: in short with the tests, for minutes with `make fuzz`."""
