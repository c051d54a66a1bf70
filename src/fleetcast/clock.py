"""The only place where Python reads the time.

Wall-clock time is for people and for rows; time-outs, lanes and deadlines use the monotonic clock, which never jumps.
The database has its own clock, `fleetcast_now()`, and whatever is compared with a row is compared there.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Clock:
    """Two readings of time. `monotonic` is in seconds and only meaningful as a difference.

    `offset` moves the wall clock; it exists for tests and is refused in production mode (see settings).
    """

    offset: timedelta = timedelta(0)
    read: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic

    def now(self) -> datetime:
        """The current instant in UTC."""
        return datetime.fromtimestamp(self.read(), tz=UTC) + self.offset
