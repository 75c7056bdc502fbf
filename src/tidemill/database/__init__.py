"""Connections, the embedded server, migrations, notifications and SQL files."""
