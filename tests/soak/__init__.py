"""A long day: memory over time, floods, slow readers."""
