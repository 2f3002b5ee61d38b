"""State that processes share."""
