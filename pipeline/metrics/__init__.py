"""Metrics of a running process: what is counted, and how Prometheus gets it over HTTP."""
