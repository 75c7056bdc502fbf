"""Figures of workers for Prometheus, and whether they are well, over HTTP."""
