"""Tests of counters, progress and what else workers tell the database."""
