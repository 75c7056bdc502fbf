"""Tests of what ties Tidemill to other libraries."""
