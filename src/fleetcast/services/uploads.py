"""The folder of lead files that were sent to this node: how they arrive, what they are called, how long they stay.

    RANDOM.part                        still arriving
    IMPORT.WORKSPACE.RANDOM.leads      its import is noted and has not ended
    IMPORT.WORKSPACE.RANDOM.rejected   the rows it refused, for a day

Names are made of numbers and chance, never of what somebody calls a file, and say all that going on needs: the rest is
in the import's row. Nobody but their owner can read them.
"""

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import Unavailable

FOLDER = "uploads"
KEPT_SECONDS = 86_400.0
"""Of refused rows after their import, and of what never arrived whole."""
_PIECE = 1 << 20
"""Bytes written at a time."""
_NAME = re.compile(r"([0-9]+)\.([0-9]+)\.([0-9a-f]{32})\.leads")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file whose import is noted."""

    folder: Path
    workspace_id: WorkspaceId
    import_id: int
    token: str

    @property
    def leads(self) -> Path:
        """What was sent."""
        return self.folder / f"{self.import_id}.{self.workspace_id}.{self.token}.leads"

    @property
    def rejected(self) -> Path:
        """Where its refused rows are."""
        return self.leads.with_suffix(".rejected")

    def drop(self, *, rejected: bool = False) -> None:
        """The import has ended; with `rejected` nobody asks for its refused rows either."""
        for path in (self.leads, self.rejected) if rejected else (self.leads,):
            with suppress(OSError):  # whoever finds it later tries again
                path.unlink()


class Uploads:
    """The folder of one node."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER

    @asynccontextmanager
    async def receive(self, content: AsyncIterator[bytes]) -> AsyncIterator[Path]:
        """The content as a file, safe on the disk; it is gone when the block ends, unless `keep` took it.

        Memory does not grow with it. Raises Unavailable when the disk does not take it.
        """
        path = self._folder / f"{secrets.token_hex(16)}.part"
        with _disk():
            file = await asyncio.to_thread(self._made, path)
        try:
            try:
                held = bytearray()
                async for piece in content:
                    held += piece
                    if len(held) >= _PIECE:
                        await _write(file, held)
                await _write(file, held)
                with _disk():
                    await asyncio.to_thread(os.fsync, file.fileno())
            finally:
                file.close()
            yield path
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    def _made(self, path: Path) -> FileIO:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def keep(self, path: Path, workspace_id: WorkspaceId, import_id: int) -> Upload:
        """Call a received file by its import, so that it is found again after a crash. Raises Unavailable."""
        made = Upload(self._folder, workspace_id, import_id, path.stem)
        with _disk():
            path.rename(made.leads)
            made.rejected.touch(0o600)
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return made

    def all(self) -> list[Upload]:
        """Files whose imports have not ended, as far as this node knows; the oldest import first."""
        names = (_NAME.fullmatch(path.name) for path in self._paths())
        found = [Upload(self._folder, WorkspaceId(int(m[2])), int(m[1]), m[3]) for m in names if m]
        return sorted(found, key=lambda upload: upload.import_id)

    def rejected(self, workspace_id: WorkspaceId, import_id: int, now: float) -> Path | None:
        """The refused rows of an import, while they are kept here. `now` in Unix seconds."""
        for path in self._folder.glob(f"{import_id}.{workspace_id}.*.rejected"):
            if path.stat().st_size and not _old(path, now):
                return path
        return None

    def sweep(self, now: float, busy: Collection[int]) -> None:
        """Delete what was kept long enough. `busy`: imports whose refused rows are still being written."""
        at_work = {str(each) for each in busy}
        for path in self._paths():
            if path.suffix in {".part", ".rejected"} and path.name.split(".")[0] not in at_work:
                with suppress(OSError):
                    if _old(path, now):
                        path.unlink()

    def _paths(self) -> list[Path]:
        try:
            return list(self._folder.iterdir())
        except OSError:  # nothing was ever sent
            return []


def _old(path: Path, now: float) -> bool:
    return path.stat().st_mtime < now - KEPT_SECONDS


async def _write(file: FileIO, held: bytearray) -> None:
    with _disk():
        await asyncio.to_thread(_all_of_it, file, bytes(held))
    held.clear()


def _all_of_it(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"The file cannot be kept in the data directory ({error.strerror}): make room there, then send it again."
        ) from error
