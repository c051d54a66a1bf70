"""The file that a server prints to: opened by us, so that its account needs no right on the folder; kept small."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_LARGEST = 16 * 1024 * 1024
_TAIL = 64 * 1024


class ServerLog:
    """One log file. The previous one is kept as `….1` when it has grown past 16 MB at a start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = 0

    def mark(self) -> None:
        """Remember the end: what is printed from now on belongs to the next start."""
        try:
            size = self.path.stat().st_size
            if size > _LARGEST:
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))
                size = 0
        except FileNotFoundError:
            size = 0
        self._mark = size

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor for the child's output."""
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            yield handle
        finally:
            os.close(handle)

    def since_mark(self) -> str:
        """What was printed since, at most the last 64 KB."""
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._mark, end - _TAIL))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
