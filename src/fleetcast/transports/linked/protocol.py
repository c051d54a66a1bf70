"""What travels between the transport and its children: frozen dataclasses, one line of JSON each, over a socket pair.

Both sides share this module and nothing else of each other. A line may be followed by as many bytes as it says: the
contents of a file to send. Times of `deadline` are of the monotonic clock, which parent and child share.

    parent → child   Hold, Drop, Send, GiveUp, Confirm, Link, LogOut, Ping, Stop
    child → parent   Hello, Doing, Begun, Sent, Refused, Done, Told
"""

import base64
import json
from asyncio import IncompleteReadError, LimitOverrunError, StreamReader, StreamWriter
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any, Self, get_args, get_origin, get_type_hints

from fleetcast.domain.identifiers import DeviceId, Phone
from fleetcast.domain.pairing import Code
from fleetcast.transports.base import (
    Inbound,
    Media,
    Outbound,
    OwnEcho,
    Paired,
    PairingCode,
    PairingEnded,
    Receipt,
    Reply,
    StateChange,
)
from fleetcast.transports.linked.happenings import Incoming, Marks

VERSION = 2
LONGEST_LINE = 2 * 1024 * 1024
"""Bytes; a text may have 65,536 characters, each of twelve bytes at most."""


class BrokenFrame(Exception):
    """The other side sent what this version cannot read."""


class Verdict(StrEnum):
    """Why a send did not end in acceptance; the parent makes a SendError of it."""

    RECIPIENT = "recipient"
    CONTENT = "content"
    DEVICE = "device"
    SLOW_DOWN = "slow_down"
    NOT_SENT = "not_sent"
    NOT_OPEN = "not_open"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class File:
    """A file to send; its bytes follow the line where the child has asked for them."""

    sha256: str
    mime: str
    filename: str
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
    thumbnail: str | None = None
    """Base64; only where the bytes follow."""

    @classmethod
    def of(cls, media: Media) -> Self:
        """A file as it is named where its bytes do not follow."""
        return cls(media.sha256, media.mime, media.filename, media.width, media.height, media.duration_ms)

    def complete(self, media: Media) -> Self:
        """The same, for where they do."""
        small = None if media.thumbnail is None else base64.b64encode(media.thumbnail).decode("ascii")
        return replace(self, thumbnail=small)


@dataclass(frozen=True, slots=True)
class Hold:
    """Open a device's session and keep it up."""

    device: DeviceId
    session: str
    """Path of its file."""
    proxy: str | None


@dataclass(frozen=True, slots=True)
class Drop:
    """End a device's session without logging it out; answered with Done once nothing holds its file."""

    number: int
    device: DeviceId


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message. Its library call begins before `deadline` or never."""

    number: int
    device: DeviceId
    recipient: Phone
    reference: str
    text: str
    file: File | None
    is_answer: bool
    deadline: float

    @classmethod
    def of(cls, message: Outbound, deadline: float, number: int) -> Self:
        """The order to send a message, as a number among those of a child."""
        media = message.media
        file = None if media is None else File.of(media)
        to, reference, text = message.recipient, message.reference, message.text
        return cls(number, message.device, to, reference, text, file, message.is_answer, deadline)


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nobody waits for this send any more: it must not begin, and a late answer becomes an event."""

    number: int


@dataclass(frozen=True, slots=True)
class Confirm:
    """These events are durable."""

    device: DeviceId
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """Have a phone linked: make a session file in `session`, and tell Paired once it is whole."""

    device: DeviceId
    order: int
    phone: Phone | None
    session: str
    proxy: str | None
    first_seconds: float
    """How long the first QR code is shown."""
    code_seconds: float
    codes: int
    """So many are shown at most."""
    patience: float
    """Seconds in all."""


@dataclass(frozen=True, slots=True)
class LogOut:
    """Unlink a device at WhatsApp; answered with Done."""

    number: int
    device: DeviceId
    session: str
    proxy: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Ping:
    """Answered with Done. A child that hears none for long ends: its parent stands still, or is gone."""

    number: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End every session in order, and then the process."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The library is loaded."""

    version: int


@dataclass(frozen=True, slots=True)
class Doing:
    """What the library is occupied with: whoever kills the process is likely to be this device. None: it is over."""

    device: DeviceId | None


@dataclass(frozen=True, slots=True)
class Begun:
    """From now on the message may leave."""

    number: int


@dataclass(frozen=True, slots=True)
class Sent:
    """WhatsApp took the message."""

    number: int
    provider_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It did not, or nobody knows."""

    number: int
    verdict: Verdict
    code: str
    detail: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class WantsFile:
    """The bytes of this send's file are needed: send it again with them. Nothing has left."""

    number: int


@dataclass(frozen=True, slots=True)
class Done:
    """An order is carried out; `problem` says in plain words why not."""

    number: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """An event. `kept`: the child repeats it, also to another parent, until it is confirmed."""

    event: Inbound
    kept: bool


ToChild = Hold | Drop | Send | GiveUp | Confirm | Link | LogOut | Ping | Stop
ToParent = Hello | Doing | Begun | Sent | Refused | WantsFile | Done | Told
Frame = ToChild | ToParent

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *get_args(Frame),
        *(File, Code),
        *(Receipt, Reply, OwnEcho, StateChange, PairingCode, Paired, PairingEnded),
        *(Marks, Incoming),  # as they are written down
    )
}
_HINTS = {name: get_type_hints(kind) for name, kind in _KINDS.items()}


def encode(value: object) -> bytes:
    """One line. Text is escaped to ASCII, so that no character can end it."""
    return json.dumps(_plain(value), separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> Any:
    """What a line says. Raises BrokenFrame."""
    try:
        found = json.loads(line, object_hook=_made)
    except (ValueError, TypeError, KeyError) as error:
        raise BrokenFrame(f"a line cannot be read: {error!r}") from error
    if not is_dataclass(found):
        raise BrokenFrame("a line says nothing that is known")
    return found


def _plain(value: object) -> Any:
    if is_dataclass(value):
        told: dict[str, Any] = {"$": type(value).__name__}
        return told | {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return {"$": "at", "iso": value.isoformat()}
    return value


def _made(told: dict[str, Any]) -> Any:
    name = told.pop("$")
    if name == "at":
        return datetime.fromisoformat(told["iso"])
    return _KINDS[name](**{key: _fitting(value, _HINTS[name][key]) for key, value in told.items()})


def _fitting(value: Any, hint: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    return tuple(value) if get_origin(hint) is tuple else value


class Wire:
    """One end of the connection."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        writer.transport.set_write_buffer_limits(high=0)  # `left` waits until nothing is buffered here

    def write(self, frame: Frame, data: bytes | None = None) -> None:
        """Put a frame on its way. Silent when nobody is there any more: the reader notices."""
        if self._writer.is_closing():
            return
        if data is None:
            self._writer.write(encode(frame))
        else:
            self._writer.write(b"%d " % len(data) + encode(frame) + data)

    async def left(self) -> bool:
        """Wait until the kernel has all that was written: from then on the other side gets it, whatever becomes of us.

        False when the other side is gone.
        """
        try:
            await self._writer.drain()
        except OSError:
            return False
        return not self._writer.is_closing()

    async def read(self) -> tuple[Any, bytes | None] | None:
        """The next frame and its bytes; None when the other side is gone. Raises BrokenFrame."""
        try:
            line = await self._reader.readuntil(b"\n")
            if line[:1] == b"{":
                return decode(line), None
            length, _, line = line.partition(b" ")
            return decode(line), await self._reader.readexactly(int(length))
        except (IncompleteReadError, OSError):
            return None
        except (LimitOverrunError, ValueError) as error:
            raise BrokenFrame(str(error)) from error

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
