"""What the library tells of one session, as values: the words between `library` and the rest of the child."""

from dataclasses import dataclass, field, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Up:
    """Connected and logged in."""


@dataclass(frozen=True, slots=True)
class Down:
    """The connection is gone; the library connects again by itself."""


@dataclass(frozen=True, slots=True)
class Silent:
    """WhatsApp does not answer although the connection seems to stand."""

    times: int
    """In a row."""


@dataclass(frozen=True, slots=True)
class Back:
    """It answers again."""


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """The session is over for good. `reason` is the library's name of it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """The session was opened elsewhere."""


@dataclass(frozen=True, slots=True)
class Banned:
    """The number may not connect for so many seconds. `code` is the library's name of why."""

    code: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """WhatsApp refused the connection."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Outdated:
    """WhatsApp does not take this version of the library any more."""


@dataclass(frozen=True, slots=True)
class Away:
    """WhatsApp ended the stream with a code."""

    code: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The client is over. `problem`: why, where it is not because we ended it."""

    problem: str


@dataclass(frozen=True, slots=True)
class QrCode:
    """A code to scan: a secret while it is valid."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PairedWith:
    """A phone took a code."""

    user: str
    jid: str


@dataclass(frozen=True, slots=True)
class PairingFailed:
    """A phone took a code, and nothing came of it."""

    problem: str


@dataclass(frozen=True, slots=True)
class Marks:
    """Receipts of one person for some messages."""

    ids: tuple[str, ...]
    read: bool
    user: str
    by_lid: bool
    """`user` is a LID, else a number."""
    at: datetime
    entry: int = 0
    """Where it is written down."""

    def written(self, entry: int) -> "Marks":
        """The same, once it is written down."""
        return replace(self, entry=entry)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message of a person, or with `mine` one that our own phone or another device of it sent to that person."""

    id: str
    mine: bool
    user: str
    by_lid: bool
    text: str
    at: datetime
    entry: int = 0
    """Where it is written down."""

    def written(self, entry: int) -> "Incoming":
        """The same, once it is written down."""
        return replace(self, entry=entry)


Happening = (
    Up
    | Down
    | Silent
    | Back
    | LoggedOut
    | Replaced
    | Banned
    | Failed
    | Outdated
    | Away
    | Ended
    | QrCode
    | PairedWith
    | PairingFailed
    | Marks
    | Incoming
)
