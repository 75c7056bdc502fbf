"""What has happened, on its way to the database."""
