"""What it costs, measured beside others."""
