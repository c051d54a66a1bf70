"""What one device heard and is not durable yet, in a file beside its session.

WhatsApp takes what a client has heard for delivered, and the library confirms it as it tells it. So it is written down
in that very moment, by whichever thread of the library tells it, and told again after whatever crashed, until it is
confirmed. A process that is killed loses nothing that was written; a machine that loses its power may lose the last
moment.
"""

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fleetcast.transports.linked.protocol import BrokenFrame, decode, encode

ROOM = 500
"""Lines of confirmed entries after which the file is written anew."""


class Journal:
    """The file of one device. Only the process that holds the session opens it; `write` is for any thread of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._lines: dict[int, bytes] = {}
        """Entry → its line, of those that wait."""
        self._entry_of: dict[str, int] = {}
        """Event that was told → the entry from which it came."""
        self._left: dict[int, int] = {}
        """Entry → how many of its events are not confirmed."""
        self._last = 0
        self._in_file = 0
        with suppress(FileNotFoundError):
            for line in path.read_bytes().splitlines(keepends=True):
                self._in_file += 1
                with suppress(BrokenFrame):  # the last one, of a process that was killed as it wrote
                    decode(line)
                    self._last += 1
                    self._lines[self._last] = line

    def waiting(self) -> list[tuple[int, Any]]:
        """Entries that nobody has confirmed, in the order in which they were written."""
        return [(entry, decode(line)) for entry, line in self._lines.items()]

    def write(self, value: object) -> int:
        """Write something down: a new entry."""
        line = encode(value)
        with self._lock:
            self._last += 1
            self._lines[self._last] = line
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)
            self._in_file += 1
            return self._last

    def told(self, entry: int, events: Iterable[str]) -> list[str]:
        """These events came of an entry; which of them are not known from another entry already."""
        new = [event for event in dict.fromkeys(events) if event not in self._entry_of]
        self._entry_of.update(dict.fromkeys(new, entry))
        if new:
            self._left[entry] = len(new)
        else:
            self._drop([entry])
        return new

    def confirm(self, events: Iterable[str]) -> None:
        """These need not be told again."""
        done = []
        for event in events:
            entry = self._entry_of.pop(event, None)
            if entry is None:
                continue
            self._left[entry] -= 1
            if not self._left[entry]:
                del self._left[entry]
                done.append(entry)
        self._drop(done)

    def _drop(self, entries: Iterable[int]) -> None:
        with self._lock:
            for entry in entries:
                self._lines.pop(entry, None)
            if not self._lines and self._in_file:
                with suppress(FileNotFoundError):
                    os.truncate(self._path, 0)
                self._in_file = 0
            elif self._in_file > len(self._lines) + ROOM:
                half = self._path.with_suffix(".events.new")
                half.write_bytes(b"".join(self._lines.values()))
                half.replace(self._path)
                self._in_file = len(self._lines)
