"""How soon each end of a connection notices that the other one is gone: the settings of both, in one place.

Without them, a session whose client vanished keeps its locks for hours, and a connection to a
server that vanished stays "open" as long.
"""

from __future__ import annotations

_IDLE_SECONDS = 10
_INTERVAL_SECONDS = 5
_COUNT = 3
_USER_TIMEOUT_MS = 20_000

OF_CLIENT = {
    "keepalives_idle": str(_IDLE_SECONDS),
    "keepalives_interval": str(_INTERVAL_SECONDS),
    "keepalives_count": str(_COUNT),
    "tcp_user_timeout": str(_USER_TIMEOUT_MS),
}
"""Parameters of a conninfo: the client notices that the server is gone."""

OF_SERVER = {
    "tcp_keepalives_idle": str(_IDLE_SECONDS),
    "tcp_keepalives_interval": str(_INTERVAL_SECONDS),
    "tcp_keepalives_count": str(_COUNT),
    "tcp_user_timeout": str(_USER_TIMEOUT_MS),
}
"""Settings of a session: the server notices that the client is gone. Over a Unix socket they do nothing."""
