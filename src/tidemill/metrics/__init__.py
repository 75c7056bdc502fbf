"""Figures of workers, for Prometheus over HTTP, and whether they are well."""
