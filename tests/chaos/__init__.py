"""A run under fire: pumps, workers and their children are killed while messages flow."""
