"""What arrived at the phones: every message, decrypted, in the order of arrival. Only ever appended to.

This is the judge of proofs about linked devices: what it has twice arrived twice, what it has not never arrived. One
line of JSON a message, in one file for all phones, readable while the testbed runs and after it ended.
"""

import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

UNREADABLE: Final = "unreadable"
"""The kind of a message that its recipient cannot decrypt, or whose file does not open."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message at one phone."""

    number: str
    """Of the phone."""
    sender: str
    """Number, colon, device: 0 is a message typed on a phone."""
    id: str
    kind: str
    """text, image, …; UNREADABLE if it could not be decrypted or its file not opened."""
    text: str
    """The text or caption; of what is unreadable, why."""
    file_sha256: str
    file_name: str
    mime: str
    seen: str
    """Hash of what a person sees: two messages that look alike have the same."""
    plain: str
    """The decrypted protobuf, base64: exactly as delivered."""
    at: float
    copy: int = 1
    """How often this id came from this sender to this phone, this time included. A phone shows it once."""
    seconds: int = 0
    """How long the phone says that a video or audio lasts."""
    copied_to: str = ""
    """Set in the copies that the sender's own phone gets: whom the message was for."""


@dataclass(frozen=True, slots=True)
class Double:
    """Something that came to a phone more than once."""

    number: str
    by: str
    """`id`: the same message again, which a phone shows once. `content`: another id, which a person sees twice."""
    what: str
    """The id, or the hash of what was seen."""
    times: int
    ids: tuple[str, ...]


class Record:
    """The arrivals of all phones. `with Record(path) as record:`; what the file held before is read first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._by_number: defaultdict[str, list[Arrival]] = defaultdict(list)
        self._copies: Counter[tuple[str, str, str]] = Counter()
        self.total = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._keep(Arrival(**json.loads(line)))
        self._file = path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def copies(self, number: str, sender: str, message: str) -> int:
        """How often this message came so far."""
        return self._copies[number, sender, message]

    def append(self, arrival: Arrival) -> None:
        """Keep one more; it is in the file when this returns."""
        self._file.write(json.dumps(asdict(arrival), separators=(",", ":")) + "\n")
        self._file.flush()
        self._keep(arrival)

    def _keep(self, arrival: Arrival) -> None:
        self._by_number[arrival.number].append(arrival)
        self._copies[arrival.number, arrival.sender, arrival.id] += 1
        self.total += 1

    def at(self, number: str, *, since: int = 0) -> list[Arrival]:
        """What came to a phone, without the first `since`."""
        return self._by_number.get(number, [])[since:]

    def first(self, number: str, sender: str, message: str) -> Arrival | None:
        """The first copy of a message."""
        return next((a for a in self._by_number.get(number, ()) if a.sender == sender and a.id == message), None)

    def doubles(self) -> list[Double]:
        """Everything that came to a phone more than once; copies for senders' own phones are left out."""
        found = []
        for number, arrivals in self._by_number.items():
            ids: Counter[tuple[str, str]] = Counter()
            seen: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
            for arrival in arrivals:
                if arrival.copied_to:
                    continue
                ids[arrival.sender, arrival.id] += 1
                if arrival.copy == 1 and arrival.kind != UNREADABLE:  # nobody knows what is in that
                    seen[arrival.sender.partition(":")[0], arrival.seen].append(arrival.id)
            found += [Double(number, "id", mark, times, (mark,)) for (_, mark), times in ids.items() if times > 1]
            found += [
                Double(number, "content", what, len(same), tuple(same))
                for (_, what), same in seen.items()
                if len(same) > 1
            ]
        return found
