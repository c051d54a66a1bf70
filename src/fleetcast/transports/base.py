"""The contract between the sender and a way to WhatsApp, on one screen.

Everything above this line of the code knows only these types; a transport knows nothing of campaigns, leads or SQL.
`tests/transports/contract.py` is the suite that every transport passes, the simulator first of all.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, Phone, Reference
from fleetcast.domain.pairing import Code


@dataclass(frozen=True, slots=True)
class DeviceHandle:
    """A device as a transport sees it."""

    id: DeviceId
    phone: Phone | None = None
    """The number's own identity, once known."""


@dataclass(frozen=True, slots=True)
class Media:
    """A picture, video, audio or document to send, already sniffed and bounded."""

    sha256: str
    mime: str
    filename: str
    data: bytes
    width: int | None = None
    """Pixels, of a picture or video; None where there is nothing to see."""
    height: int | None = None
    duration_ms: int | None = None
    """Of a video or audio."""
    thumbnail: bytes | None = field(default=None, repr=False)
    """A small JPEG of a video, where there is one."""


class Outbound(NamedTuple):
    """One message, rendered: what goes out is exactly this."""

    device: DeviceId
    recipient: Phone
    reference: Reference
    """Ours, of this attempt; carried to the provider where it can carry one."""
    text: str
    media: Media | None = None
    is_answer: bool = False
    """To somebody who wrote lately: allowed while the provider lets the device begin nothing new."""


class Accepted(NamedTuple):
    """The provider took the message. `provider_id` is its name of it, unique per device."""

    provider_id: str


@dataclass(frozen=True, slots=True)
class PairingOrder:
    """A person wants a device linked to a phone."""

    device: DeviceId
    number: int
    """Of the order. The same again is the same wish; a higher one replaces it, codes and all."""
    phone: Phone | None = None
    """Of the phone into which a code is typed; None: it reads a QR code."""


class EventKind(StrEnum):
    """What can come in."""

    RECEIPT = "receipt"
    REPLY = "reply"
    ECHO = "echo"
    STATE = "state"
    PAIRING_CODE = "pairing_code"
    PAIRED = "paired"
    PAIRING_ENDED = "pairing_ended"


class ReceiptKind(StrEnum):
    """What a receipt says. `failed` can come after `accepted`."""

    ACCEPTED = "accepted"
    """The answer to a send for which nobody waited any more; always with our reference."""
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The provider's word on a message already accepted; may come early, late, repeated or out of order."""

    event_id: str
    device: DeviceId
    provider_id: str
    kind: ReceiptKind
    at: datetime
    reference: Reference | None = None
    """Ours, when the provider gives it back: evidence even where the answer to the send was lost."""
    recipient: Phone | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A message from a person to one of our devices."""

    event_id: str
    device: DeviceId
    sender: Phone
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class OwnEcho:
    """A message that was typed on the device's own phone, or sent by another device of it: none of ours, so receipts
    for it are evidence of nothing. What it says is nobody's business.
    """

    event_id: str
    device: DeviceId
    provider_id: str
    at: datetime
    recipient: Phone | None = None


@dataclass(frozen=True, slots=True)
class StateChange:
    """A device's connection changed. `reason` is in plain words; `until` bounds a restriction."""

    event_id: str
    device: DeviceId
    state: DeviceState
    at: datetime
    reason: str = ""
    until: datetime | None = None
    may_answer: bool = False
    """While it is restricted: whether people who wrote may be answered."""
    replaced: bool = False
    """Another session took the device over. It is this session that ended: the device may be well in the new one."""


@dataclass(frozen=True, slots=True)
class PairingCode:
    """A code to show to a phone, in place of the one before. One that is lost is not repeated: the next one comes."""

    event_id: str
    device: DeviceId
    code: Code
    at: datetime


@dataclass(frozen=True, slots=True)
class Paired:
    """A phone is linked. The session is not open yet: that is `open`, as for any device."""

    event_id: str
    device: DeviceId
    order: int
    phone: Phone
    jid: str
    """WhatsApp's name of this linked device."""
    lid: str | None
    """WhatsApp's name of the account that says nothing of its number, where it gives one."""
    at: datetime


@dataclass(frozen=True, slots=True)
class PairingEnded:
    """Nothing came of an order. `reason` is in plain words."""

    event_id: str
    device: DeviceId
    order: int
    reason: str
    at: datetime


PairingNews = PairingCode | Paired | PairingEnded
Inbound = Receipt | Reply | OwnEcho | StateChange | PairingNews


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Inbound events in the order in which they came. `token` is handed back once they are durable."""

    events: tuple[Inbound, ...]
    token: object = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of a provider that can be asked about an attempt.

    `provider_id` None means proof of absence: the provider sealed the reference and will refuse it from now on.
    """

    reference: Reference
    provider_id: str | None


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a node may open a device's session, and with what."""

    proxy: str | None = field(default=None, repr=False)
    """Address through which the device connects, with its password if it has one."""
    copy: bytes | None = field(default=None, repr=False)
    """The session, where it comes from another node or was lost here."""
    elsewhere: str = ""
    """The node that has the session and has not handed it over; empty: it may be opened."""


class SessionKeeper(Protocol):
    """Keeps account of which node has which session, for transports whose sessions are files. Raises Unavailable."""

    async def admit(self, device: DeviceId, *, has_file: bool) -> Admission:
        """This node wants to open the session. From now on it is here, and any copy is out of date."""

    async def link(self, device: DeviceId) -> Admission:
        """A new session is about to be made here, in place of any other."""

    async def keep(self, device: DeviceId, copy: bytes) -> None:
        """The session is closed here, and looks like this."""

    async def forget(self, device: DeviceId) -> None:
        """There is no session any more."""


class Transport(Protocol):
    """One way to WhatsApp. Safe to use from one event loop; every method may be called in any order after `start`."""

    grace: float
    """Seconds after a lost lease before an attempt of another process counts as orphaned."""
    doubt_window: float
    """Seconds an attempt stays in doubt before it is called unconfirmed."""

    async def start(self) -> None:
        """Connect what all devices share. Raises `fleetcast.errors.Unavailable`."""

    async def stop(self) -> None:
        """Close everything; open sends end with `Unknown` or `NotSent`. Idempotent."""

    async def open(self, device: DeviceHandle) -> None:
        """Bring the device's session up. Its state arrives as a StateChange. Idempotent."""

    async def close(self, device: DeviceId) -> None:
        """End the device's session without logging it out. Idempotent."""

    async def pair(self, order: PairingOrder) -> None:
        """Have a phone linked to a device that has none, now or as soon as WhatsApp can be reached. Idempotent.

        Codes come as PairingCode until a phone took one (Paired) or nobody is waited for any more (PairingEnded). An
        order that was carried out already is answered with Paired once more. A session that is open is given up.
        """

    async def stop_pairing(self, device: DeviceId) -> None:
        """Show no more codes; nothing is said about it. Idempotent."""

    async def log_out(self, device: DeviceHandle, timeout: float) -> None:
        """Unlink the device at WhatsApp within `timeout` seconds, whatever becomes of its session. Idempotent.

        No StateChange says so: who asked knows. Raises `fleetcast.errors.Unavailable`: then it is asked again.
        """

    async def send(self, message: Outbound, timeout: float) -> Accepted:
        """Send one message within `timeout` seconds.

        Raises a `fleetcast.transports.errors.SendError`, never anything else: a time-out is `Unknown`.
        """

    def events(self) -> AsyncIterator[EventBatch]:
        """Inbound events until `stop`, for one reader. A batch that is not confirmed comes again after a reconnect."""

    async def confirm(self, batch: EventBatch) -> None:
        """The batch is durable and need not be repeated."""

    async def health(self) -> bool:
        """Whether the shared connection answers now."""

    async def find(self, references: Sequence[Reference]) -> list[Finding]:
        """Ask what became of attempts. What the answer leaves out is not known; it is empty where nobody answers."""
