"""The command `pump`: one file a subcommand."""
