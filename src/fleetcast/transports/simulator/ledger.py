"""The ledger: what the simulator accepted and sealed, one JSON line each, on disk before anybody is answered.

It is the judge of every fault test, so it is as plain as can be: an append-only file, written by one process, readable
with any text tool. It knows nothing of connections or behaviour.

    {"kind": "accepted", "reference": …, "at": …, "device": …, "recipient": …, "provider_id": …, "sha256": …}
    {"kind": "sealed",   "reference": …, "at": …}     proof of absence was given: refused from now on
    {"kind": "late",     "reference": …, "at": …, …}  a sealed reference that arrived after all, and was refused

`at` is seconds since 1970. There is at most one `accepted` line per reference. A last line without its line end was
never answered: readers leave it out and the next simulator cuts it off.
"""

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from fleetcast.domain.identifiers import Reference
from fleetcast.errors import ConfigurationError


class RecordKind(StrEnum):
    """What a line says."""

    ACCEPTED = "accepted"
    SEALED = "sealed"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the ledger. A seal knows only its reference."""

    kind: RecordKind
    reference: str
    at: float
    """Seconds since 1970 at which the message or the question reached the simulator."""
    device: int = 0
    recipient: str = ""
    provider_id: str = ""
    sha256: str = ""
    """`content_sha256` of what was to be sent."""

    def line(self) -> bytes:
        """The record as it stands in the file."""
        return json.dumps({k: v for k, v in asdict(self).items() if v not in (0, "")}).encode("ascii") + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Read one line. Raises ValueError."""
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValueError("not an object")
        try:
            return cls(**(fields | {"kind": RecordKind(fields["kind"])}))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a record: {error}") from error


def content_sha256(text: str, media_sha256: str | None) -> str:
    """What was said, as one hash: the text in UTF-8, a zero byte, and the picture's own SHA-256 or nothing."""
    said = text.encode("utf-8", errors="surrogatepass") + b"\0" + (media_sha256 or "").encode("ascii")
    return hashlib.sha256(said).hexdigest()


def provider_id_of(reference: str) -> str:
    """The simulator's own name of a message. It follows from the reference, so that no restart can forget it."""
    return "sim." + hashlib.blake2b(reference.encode(), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class LedgerSummary:
    """What a judge wants to know first."""

    accepted: int
    """Lines `accepted`."""
    references: int
    """Different references among them."""
    duplicates: dict[str, int]
    """References accepted more than once, with how often. Must be empty."""
    seals: int
    late_refusals: int
    accepted_after_seal: tuple[str, ...]
    """References accepted although sealed before. Must be empty."""

    @classmethod
    def of(cls, records: Iterable[Record]) -> Self:
        """Count the records in their order."""
        times: Counter[str] = Counter()
        sealed: set[str] = set()
        broken: list[str] = []
        late = 0
        for record in records:
            match record.kind:
                case RecordKind.ACCEPTED:
                    times[record.reference] += 1
                    if record.reference in sealed:
                        broken.append(record.reference)
                case RecordKind.SEALED:
                    sealed.add(record.reference)
                case RecordKind.LATE:
                    late += 1
        repeated = {reference: n for reference, n in times.items() if n > 1}
        return cls(times.total(), len(times), repeated, len(sealed), late, tuple(broken))


def accepted_more_than_once(records: Iterable[Record], key: Callable[[Record], str]) -> dict[str, list[Record]]:
    """Accepted records that share a key, by key: for judges that compare messages or recipients, not attempts."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.kind is RecordKind.ACCEPTED:
            found.setdefault(key(record), []).append(record)
    return {shared: same for shared, same in found.items() if len(same) > 1}


class Ledger:
    """The file, opened by the one process that writes it, and what it says about references.

    The sets are updated the moment a record is made; whoever answers because of them waits until it is on disk (see
    `commit`). Raises ConfigurationError when another process holds the file or a line cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self.accepted: set[str] = set()
        self.sealed: set[str] = set()
        self.rows = 0
        """Lines known to be on disk."""
        self.late_refusals = 0

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(f"The ledger {self._path} cannot be opened: {error.strerror}.") from error
        try:
            self._lock()
            self._load()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                f"The ledger {self._path} belongs to another simulator that is running. Stop it, or name another file."
            ) from error

    def _load(self) -> None:
        whole = 0
        for record, end in _records(self._path):
            self.note(record)
            self.rows += 1
            whole = end
        if whole < os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, whole)
        os.fsync(self._fd)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # or a crash could forget that the file exists
        finally:
            os.close(folder)

    def note(self, record: Record) -> None:
        """Know a record from now on; the caller sees to it that it is written."""
        match record.kind:
            case RecordKind.ACCEPTED:
                self.accepted.add(record.reference)
            case RecordKind.SEALED:
                self.sealed.add(record.reference)
            case RecordKind.LATE:
                self.late_refusals += 1

    def write(self, lines: Sequence[bytes]) -> None:
        """Append the lines and wait until the disk has them. Raises OSError; nothing may be answered then."""
        rest = memoryview(b"".join(lines))
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        os.fsync(self._fd)
        self.rows += len(lines)

    @staticmethod
    def read(path: Path) -> Iterator[Record]:
        """Every whole record of a ledger, oldest first, also while a simulator writes it.

        Raises ConfigurationError for a line that cannot be read, unless it is the unfinished last one.
        """
        for record, _ in _records(path):
            yield record

    @staticmethod
    def find(path: Path, references: Iterable[Reference]) -> dict[str, Record]:
        """The `accepted` records of these references, by reference."""
        wanted = set(references)
        return {r.reference: r for r in Ledger.read(path) if r.kind is RecordKind.ACCEPTED and r.reference in wanted}


def _records(path: Path) -> Iterator[tuple[Record, int]]:
    """Records with the offset at which each ends. A last line without its line end is left out."""
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                record = Record.parse(line)
            except ValueError as error:
                raise ConfigurationError(
                    f"Line {number} of the ledger {path} cannot be read ({error}). A ledger is evidence and is never "
                    "repaired by guessing: keep the file and start with another one."
                ) from error
            yield record, end
