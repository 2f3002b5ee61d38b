"""Others, each in its documented best form; every file runs in a venv of its own."""
