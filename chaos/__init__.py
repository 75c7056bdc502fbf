"""The chaos harness: jobs under faults, and what became of them."""
