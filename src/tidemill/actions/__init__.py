"""Actions: what a worker runs on schedules."""
