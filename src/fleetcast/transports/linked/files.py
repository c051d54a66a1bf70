"""The files of a device on its node: where they lie, what is noted beside a session, who may open it.

    7.db        the session: whoever has it is this linked device
    7.json      what the library does not keep: which order made it, until when the number is restricted
    7.events    events that are not durable yet
    7.lock      held by the one process that has the session open
    7.new.db    a session that is just being paired

Every file is closed to others (0600). Both the transport and its children know these names.
"""

import fcntl
import json
import os
import sqlite3
import zlib
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from fleetcast.domain.identifiers import DeviceId, Phone


@dataclass(frozen=True, slots=True)
class Notes:
    """What is noted beside a session."""

    order: int = 0
    """Of the pairing that made it."""
    phone: str = ""
    jid: str = ""
    lid: str | None = None
    restricted_until: str = ""
    """ISO; empty: it is not."""
    restricted_why: str = ""
    may_answer: bool = False
    """Whether people who wrote may be answered meanwhile: the number is connected."""
    locks: int = 0
    """How often in a row new chats were locked."""

    @property
    def until(self) -> datetime | None:
        """The end of the restriction."""
        return datetime.fromisoformat(self.restricted_until) if self.restricted_until else None

    def restricted(self, until: datetime | None, why: str = "", *, may_answer: bool = False) -> "Notes":
        """The same with another restriction, or none."""
        return replace(
            self,
            restricted_until="" if until is None else until.isoformat(),
            restricted_why=why,
            may_answer=may_answer,
        )


class DeviceFiles:
    """The files of one device in the folder of sessions."""

    def __init__(self, folder: Path, device: DeviceId) -> None:
        self.session = folder / f"{device}.db"
        self.fresh = folder / f"{device}.new.db"
        self.notes = folder / f"{device}.json"
        self.events = folder / f"{device}.events"
        self.lock = folder / f"{device}.lock"

    @classmethod
    def of(cls, session: str) -> "DeviceFiles":
        """By the path of its session."""
        path = Path(session)
        return cls(path.parent, DeviceId(int(path.stem)))

    @property
    def is_paired(self) -> bool:
        """Whether there is a session."""
        return self.session.exists()

    def read_notes(self) -> Notes:
        """What is noted; nothing where nothing can be read."""
        try:
            return Notes(**json.loads(self.notes.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return Notes()

    def write_notes(self, notes: Notes) -> None:
        """Note it, whole or not at all."""
        half = self.notes.with_suffix(".json.new")
        _write(half, json.dumps(asdict(notes)).encode())
        half.replace(self.notes)

    def forget(self) -> None:
        """There is no session any more. Events that are not durable yet stay."""
        for path in (self.session, self.notes, *_beside(self.session)):
            path.unlink(missing_ok=True)

    def forget_fresh(self) -> None:
        """Nothing came of a pairing."""
        for path in (self.fresh, *_beside(self.fresh)):
            path.unlink(missing_ok=True)

    def adopt(self, notes: Notes) -> None:
        """The session that was just paired is the device's from now on."""
        self.forget()
        self.write_notes(notes)
        self.fresh.replace(self.session)

    # copies

    def copied(self) -> bytes:
        """The session and its notes, as one piece to keep elsewhere. Nobody may have it open."""
        with closing(sqlite3.connect(f"file:{self.session}?mode=ro", uri=True)) as file:
            session = file.serialize()
        notes = json.dumps(asdict(self.read_notes())).encode()
        return zlib.compress(len(notes).to_bytes(4, "big") + notes + session)

    def restore(self, copy: bytes) -> None:
        """Bring a session back from such a piece."""
        plain = zlib.decompress(copy)
        length = int.from_bytes(plain[:4], "big")
        half = self.session.with_suffix(".db.new")
        _write(half, plain[4 + length :])
        self.write_notes(Notes(**json.loads(plain[4 : 4 + length])))
        half.replace(self.session)


class Held:
    """A session that this process alone has open, or tries to. The kernel lets go of it when the process dies."""

    def __init__(self, lock: Path) -> None:
        self._path = lock
        self._handle: int | None = None

    def take(self) -> bool:
        """Whether it is ours now."""
        if self._handle is not None:
            return True
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def give_back(self) -> None:
        """Others may have it."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def number(user: str) -> Phone:
    """A number as WhatsApp writes it, as ours."""
    return Phone(f"+{user}")


def _beside(session: Path) -> tuple[Path, ...]:
    """What SQLite keeps beside a file while it is open."""
    return tuple(session.with_name(session.name + end) for end in ("-journal", "-wal", "-shm"))


def _write(path: Path, data: bytes) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
