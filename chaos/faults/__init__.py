"""The faults, by what they break; each gets a stage, and tells it when it began and ended."""
