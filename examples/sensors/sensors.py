"""Readings: `python sensors.py` a week of ten sensors, `... late` three days of one that was offline."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import sin

from tidemill import App

app = App()

STEP = timedelta(minutes=5)


def readings(sensor: int, days: int) -> Iterator[tuple[datetime, int, float]]:
    """What a sensor measured in so many days before today."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for n in range(days * (timedelta(days=1) // STEP)):
        time = today - timedelta(days=days) + n * STEP
        yield time, sensor, round(20 + sensor + 5 * sin(time.timestamp() / 13751), 1)


def load(table: str, sensors: range, days: int) -> int:
    """Copies readings into a table."""
    loaded = 0
    with app.sync.connection() as connection:
        with connection.cursor().copy(f"COPY {table} (time, sensor, temperature) FROM STDIN") as copy:
            for sensor in sensors:
                for reading in readings(sensor, days):
                    copy.write_row(reading)
                    loaded += 1
        # Otherwise a worker makes the chunks of past days, within the hour.
        connection.execute("SELECT tidemill.make_chunks('readings')")
    return loaded


if __name__ == "__main__":
    if sys.argv[1:] == ["late"]:
        # Sensor 10 sends again what is there already.
        print(f"{load('late_readings', range(10, 12), 3):,} late readings are staged")
    else:
        print(f"{load('readings', range(1, 11), 7):,} readings are loaded")
