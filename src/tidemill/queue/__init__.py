"""The queue: adding jobs, and the engine that claims, runs and settles them."""
