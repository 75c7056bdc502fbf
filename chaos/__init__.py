"""Fault injection: Tidemill and its peers under load, while things break around them."""
