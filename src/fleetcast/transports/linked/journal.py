"""Events of one device that are not durable yet, in a file beside its session.

WhatsApp takes what a client has heard for delivered. So what a device hears is written down before anybody is told,
and told again after whatever crashed, until it is confirmed. A process that is killed loses nothing that was written;
a machine that loses its power may lose the last moment.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fleetcast.transports.base import Inbound
from fleetcast.transports.linked.protocol import BrokenFrame, decode, encode

ROOM = 500
"""Lines of confirmed events after which the file is written anew."""


class Journal:
    """The file of one device. Only the process that holds the session opens it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: dict[str, bytes] = {}
        self._lines = 0
        with suppress(FileNotFoundError):
            for line in path.read_bytes().splitlines(keepends=True):
                with suppress(BrokenFrame):  # the last one, of a process that was killed as it wrote
                    self._waiting[decode(line).event_id] = line
                    self._lines += 1

    def waiting(self) -> list[Inbound]:
        """What nobody has confirmed, in the order in which it came."""
        return [decode(line) for line in self._waiting.values()]

    def keep(self, event: Inbound) -> bool:
        """Write an event down. False when it waits already."""
        if event.event_id in self._waiting:
            return False
        line = encode(event)
        self._waiting[event.event_id] = line
        self._append(line)
        return True

    def confirm(self, events: Iterable[str]) -> None:
        """These need not be told again."""
        for event in events:
            self._waiting.pop(event, None)
        if not self._waiting and self._lines:
            with suppress(FileNotFoundError):
                os.truncate(self._path, 0)
            self._lines = 0
        elif self._lines > len(self._waiting) + ROOM:
            half = self._path.with_suffix(".events.new")
            half.write_bytes(b"".join(self._waiting.values()))
            half.replace(self._path)
            self._lines = len(self._waiting)

    def _append(self, line: bytes) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)
        self._lines += 1
