"""What travels between the simulator and its clients: one JSON object a line over a unix stream socket.

Both sides share this module and nothing else. A connection begins with a hello that carries the version. Afterwards:

    client → server   open, close, pair, stop_pairing, log_out, send, find, ping, order (a control command), confirm
    server → client   answers, which repeat the request's `id`; and `events`, which carry a batch number to confirm

Frames written in one turn of the event loop leave in one write. A frame knows whether it was handed to the socket: only
one that was not can be called "certainly not sent". Pictures do not travel, their SHA-256 does.
"""

import asyncio
import json
import socket
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, Phone, Reference
from fleetcast.domain.pairing import Code, CodeKind
from fleetcast.errors import ConfigurationError
from fleetcast.transports.base import (
    EventKind,
    Inbound,
    OwnEcho,
    Paired,
    PairingCode,
    PairingEnded,
    Receipt,
    ReceiptKind,
    Reply,
    StateChange,
)

VERSION = 2
MAX_FRAME = 1024 * 1024
"""Longest line, in bytes; a longer one ends the connection."""
MAX_SOCKET_PATH = 107
"""Bytes that the kernel keeps for the path of a unix socket."""
Frame = dict[str, Any]


class BrokenFrame(Exception):
    """The other side sent what this version cannot read. The connection ends."""


def encode(frame: Frame) -> bytes:
    """One line. Text is escaped to ASCII, so that no character can end the line."""
    return json.dumps(frame, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> Frame:
    """The frame in one line. Raises BrokenFrame."""
    try:
        frame = json.loads(line)
    except ValueError as error:
        raise BrokenFrame(f"a line is not JSON: {error}") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("t"), str):
        raise BrokenFrame("a line is not an object with a field 't'")
    return frame


def socket_path(path: Path) -> str:
    """The path as the kernel wants it. Raises ConfigurationError for one that is too long."""
    text = str(path)
    length = len(text.encode())
    if length > MAX_SOCKET_PATH:
        raise ConfigurationError(
            f"The path of the simulator's socket is {length} bytes long, a socket's path may have {MAX_SOCKET_PATH}: "
            f"{text}. Choose a shorter one with FLEETCAST_SIMULATOR_SOCKET or FLEETCAST_DATA."
        )
    return text


def somebody_listens(path: Path) -> bool:
    """Whether a process serves the socket now.

    Neither a socket file left by a dead process counts, nor a process that is just dying: the kernel still takes
    connections for it, but nobody greets. One that is too busy to greet within 2 s does count.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(socket_path(path))
            probe.sendall(encode({"t": "hello", "version": VERSION}))
            return bool(probe.recv(1))
        except TimeoutError:
            return True
        except OSError:
            return False


class Outgoing:
    """One frame on its way out. `left` is true from the moment in which the socket may have got its first byte."""

    __slots__ = ("data", "left", "withdrawn")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = False
        self.withdrawn = False


class Lines(asyncio.Protocol):
    """A connection that speaks frames: lines in, coalesced writes out. Each side says what a frame means to it."""

    def __init__(self) -> None:
        self._wire: asyncio.Transport | None = None
        self._tail = b""
        self._out: list[Outgoing] = []
        self._paused = False
        self._flush_planned = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """What was written before may leave now."""
        self._wire = cast("asyncio.Transport", transport)
        self._plan_flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing leaves any more."""
        self._wire = None

    def data_received(self, data: bytes) -> None:
        """Cut bytes into lines."""
        lines = (self._tail + data).split(b"\n") if self._tail else data.split(b"\n")
        self._tail = lines.pop()
        try:
            if len(self._tail) > MAX_FRAME:
                raise BrokenFrame(f"a line is longer than {MAX_FRAME} bytes")
            for line in lines:
                if self._wire is None or self._wire.is_closing():
                    return
                self.frame_received(decode(line))
        except BrokenFrame as error:
            self.broken(str(error))

    def frame_received(self, frame: Frame) -> None:
        """What a frame means; each side says so."""
        raise BrokenFrame(f"nobody reads frames of the kind {frame['t']!r} here")

    def broken(self, problem: str) -> None:
        """The other side sent nonsense: end the connection after what is already written."""
        self.hang_up()

    def write(self, frame: Frame) -> Outgoing:
        """Put a frame into the next write."""
        outgoing = Outgoing(encode(frame))
        self._out.append(outgoing)
        self._plan_flush()
        return outgoing

    def pause_writing(self) -> None:
        """The other side does not keep up: frames wait here, where they can still be withdrawn."""
        self._paused = True

    def resume_writing(self) -> None:
        """It caught up."""
        self._paused = False
        self.flush()

    def _plan_flush(self) -> None:
        if self._out and not self._flush_planned and not self._paused and self._wire is not None:
            self._flush_planned = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Hand everything written so far to the socket in one piece."""
        self._flush_planned = False
        if self._paused or self._wire is None or self._wire.is_closing():
            return
        frames = [frame for frame in self._out if not frame.withdrawn]
        self._out.clear()
        if frames:
            for frame in frames:
                frame.left = True
            self._wire.write(b"".join([frame.data for frame in frames]))

    def abort(self) -> None:
        """Close at once; what has not left never leaves."""
        if self._wire is not None:
            self._wire.abort()

    def hang_up(self) -> None:
        """Close after what is written has left. Idempotent."""
        self.flush()
        if self._wire is not None:
            self._wire.close()


def event_to_frame(event: Inbound) -> Frame:
    """An event as it travels."""
    head = {"id": event.event_id, "device": event.device, "at": event.at.isoformat()}
    match event:
        case Receipt():
            return head | {
                "kind": EventKind.RECEIPT,
                "provider_id": event.provider_id,
                "says": event.kind,
                "reference": event.reference,
                "recipient": event.recipient,
            }
        case Reply():
            return head | {"kind": EventKind.REPLY, "sender": event.sender, "text": event.text}
        case OwnEcho():
            return head | {
                "kind": EventKind.ECHO,
                "provider_id": event.provider_id,
                "recipient": event.recipient,
            }
        case StateChange():
            until = event.until.isoformat() if event.until else None
            return head | {
                "kind": EventKind.STATE,
                "state": event.state,
                "reason": event.reason,
                "until": until,
                "may_answer": event.may_answer,
                "replaced": event.replaced,
            }
        case PairingCode(code=code):
            told = {"order": code.order, "code": code.kind, "text": code.text, "valid_for": code.valid_for}
            return head | {"kind": EventKind.PAIRING_CODE} | told
        case Paired():
            told = {"order": event.order, "phone": event.phone, "jid": event.jid, "lid": event.lid}
            return head | {"kind": EventKind.PAIRED} | told
        case PairingEnded():
            return head | {"kind": EventKind.PAIRING_ENDED, "order": event.order, "reason": event.reason}


def event_from_frame(frame: Frame) -> Inbound:
    """The event in a frame. Raises BrokenFrame."""
    try:
        event_id, device, at = str(frame["id"]), DeviceId(frame["device"]), datetime.fromisoformat(frame["at"])
        match EventKind(frame["kind"]):
            case EventKind.RECEIPT:
                return Receipt(
                    event_id,
                    device,
                    frame["provider_id"],
                    ReceiptKind(frame["says"]),
                    at,
                    reference=Reference(frame["reference"]),
                    recipient=Phone(frame["recipient"]),
                )
            case EventKind.REPLY:
                return Reply(event_id, device, Phone(frame["sender"]), frame["text"], at)
            case EventKind.ECHO:
                return OwnEcho(event_id, device, frame["provider_id"], at, frame["recipient"])
            case EventKind.STATE:
                until = datetime.fromisoformat(frame["until"]) if frame["until"] else None
                state = DeviceState(frame["state"])
                may_answer, replaced = bool(frame.get("may_answer")), bool(frame["replaced"])
                return StateChange(event_id, device, state, at, frame["reason"], until, may_answer, replaced)
            case EventKind.PAIRING_CODE:
                kind, valid_for = CodeKind(frame["code"]), float(frame["valid_for"])
                return PairingCode(event_id, device, Code(int(frame["order"]), kind, frame["text"], valid_for), at)
            case EventKind.PAIRED:
                phone, order = Phone(frame["phone"]), int(frame["order"])
                return Paired(event_id, device, order, phone, frame["jid"], frame["lid"], at)
            case EventKind.PAIRING_ENDED:
                return PairingEnded(event_id, device, int(frame["order"]), frame["reason"], at)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenFrame(f"an event cannot be read: {error!r}") from error
