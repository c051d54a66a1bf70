"""The transport whose WhatsApp is the simulator: one connection to its process for all devices.

When the connection is lost, open sends end (`Unknown` if the bytes may have left, else `NotSent`), every open device is
reported offline, and the connection is tried again with growing, jittered pauses; then the devices are opened again and
unconfirmed events come a second time. There is no task per message or device.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import structlog

from fleetcast.clock import Clock
from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, Reference
from fleetcast.domain.message import Reason
from fleetcast.errors import Unavailable
from fleetcast.transports.base import (
    Accepted,
    DeviceHandle,
    EventBatch,
    Finding,
    Inbound,
    Outbound,
    Paired,
    PairingEnded,
    PairingOrder,
    StateChange,
)
from fleetcast.transports.errors import (
    ContentRefused,
    DeviceRefused,
    NotSent,
    OptedOut,
    RecipientRefused,
    SendError,
    SessionLost,
    Unknown,
)
from fleetcast.transports.simulator.link import Link, NoAnswer
from fleetcast.transports.simulator.protocol import BrokenFrame, Frame, event_from_frame

log = structlog.get_logger()

PATIENCE = 5.0
"""Seconds that `start` waits for the simulator."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between attempts to reach a lost simulator, doubling; each is drawn between half of it and all."""
QUESTION_SECONDS = 10.0
QUESTIONS_AT_ONCE = 500
MAX_TEXT = 65_536
"""Characters of a text, as at WhatsApp."""
BATCH = 1_000
"""Events in one batch, roughly: frames are never split."""


@dataclass(frozen=True, slots=True)
class _Arrived:
    """Events in the order in which they came. Those made here, not by the simulator, have no batch number."""

    events: tuple[Inbound, ...]
    link: Link | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    """What to confirm, and to whom: after a reconnect the same events come again under other numbers."""

    link: Link | None
    numbers: tuple[int, ...]


class SimulatorTransport:
    """The `Transport` of simulated devices."""

    grace = 10.0
    doubt_window = 600.0
    """Only matters if the simulator never comes back: its ledger answers every question."""

    def __init__(self, socket: Path, *, clock: Clock | None = None, random: Random | None = None) -> None:
        self._socket = socket
        self._clock = clock or Clock()
        self._random = random or Random()
        self._link: Link | None = None
        self._devices: dict[DeviceId, DeviceHandle] = {}
        self._pairings: dict[DeviceId, PairingOrder] = {}
        self._arrived: deque[_Arrived] = deque()
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)

    # the connection

    async def start(self) -> None:
        """Connect. Raises Unavailable when nobody listens on the socket for a few seconds."""
        if self._keeper is not None:
            return
        self._stopping.clear()
        deadline = self._clock.monotonic() + PATIENCE
        while self._link is None:
            try:
                await self._connect()
            except OSError as error:
                if self._clock.monotonic() >= deadline:
                    raise Unavailable(
                        f"The simulator does not answer on {self._socket}. Start it with `fleetcast simulator`, or "
                        "name its socket with FLEETCAST_SIMULATOR_SOCKET."
                    ) from error
                await asyncio.sleep(FIRST_PAUSE)
        self._keeper = asyncio.create_task(self._keep_connected(), name="simulator connection")

    async def stop(self) -> None:
        """Close the connection; open sends end with `Unknown` or `NotSent`. Idempotent."""
        self._stopping.set()
        self._news.set()
        self._devices.clear()
        self._pairings.clear()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        if self._link is not None:
            await self._link.end()

    async def _connect(self) -> None:
        link = await Link.connect(self._socket, self._told, self._connection_lost)
        if link.closed.is_set():
            raise ConnectionResetError("the simulator closed the connection")
        self._link = link
        for device in self._devices.values():
            self._ask_to_open(link, device)
        for order in self._pairings.values():
            self._ask_to_pair(link, order)

    async def _keep_connected(self) -> None:
        pause = FIRST_PAUSE
        while True:
            if self._link is not None:
                await self._link.closed.wait()
                pause = FIRST_PAUSE
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)
            try:
                await self._connect()
            except (OSError, Unavailable) as error:
                log.debug("the simulator does not answer yet", socket=str(self._socket), error=str(error))

    def _connection_lost(self) -> None:
        if self._link is None:
            return  # it never got as far as the hello
        self._link = None
        # What nobody has read yet comes again; what was made here would not.
        self._arrived = deque(arrived for arrived in self._arrived if arrived.link is None)
        if self._stopping.is_set():
            return
        log.warning("the connection to the simulator was lost", socket=str(self._socket), devices=len(self._devices))
        now = self._clock.now()
        reason = "the simulator does not answer"
        lost = [
            StateChange(
                f"lost-{device}-{now.timestamp():.6f}-{next(self._numbers)}", device, DeviceState.OFFLINE, now, reason
            )
            for device in self._devices
        ]
        if lost:
            self._arrived.append(_Arrived(tuple(lost)))
            self._news.set()

    async def health(self) -> bool:
        """Whether the simulator answers now."""
        if self._link is None:
            return False
        try:
            await self._link.ask({"t": "ping"}, 2.0)
        except NoAnswer:
            return False
        return True

    # devices

    async def open(self, device: DeviceHandle) -> None:
        """Bring the device's session up, now or as soon as the simulator answers again. Idempotent."""
        self._devices[device.id] = device
        if self._link is not None:
            self._ask_to_open(self._link, device)

    async def close(self, device: DeviceId) -> None:
        """End the device's session. Idempotent."""
        if self._devices.pop(device, None) is not None and self._link is not None:
            self._link.write({"t": "close", "device": device})

    def _ask_to_open(self, link: Link, device: DeviceHandle) -> None:
        link.write({"t": "open", "device": device.id, "phone": device.phone})

    # linking to phones

    async def pair(self, order: PairingOrder) -> None:
        """Have a phone linked, now or as soon as the simulator answers again. Idempotent."""
        await self.close(order.device)
        self._pairings[order.device] = order
        if self._link is not None:
            self._ask_to_pair(self._link, order)

    def _ask_to_pair(self, link: Link, order: PairingOrder) -> None:
        link.write({"t": "pair", "device": order.device, "order": order.number, "phone": order.phone})

    async def stop_pairing(self, device: DeviceId) -> None:
        """Show no more codes. Idempotent."""
        if self._pairings.pop(device, None) is not None and self._link is not None:
            self._link.write({"t": "stop_pairing", "device": device})

    async def log_out(self, device: DeviceHandle, timeout: float) -> None:
        """Unlink the device. Idempotent. Raises Unavailable."""
        self._devices.pop(device.id, None)
        if self._link is None:
            raise Unavailable("The simulator does not answer.")
        try:
            await self._link.ask({"t": "log_out", "device": device.id}, timeout)
        except NoAnswer as error:
            raise Unavailable(f"The simulator did not answer: {error.why}.") from error

    # messages

    async def send(self, message: Outbound, timeout: float) -> Accepted:
        """Send one message within `timeout` seconds. Raises a SendError."""
        link = self._link
        if link is None:
            raise NotSent("disconnected", "the simulator does not answer")
        if len(message.text) > MAX_TEXT:
            raise ContentRefused("too_long", f"a text may have {MAX_TEXT} characters")
        media = message.media
        frame: Frame = {
            "t": "send",
            "device": message.device,
            "recipient": message.recipient,
            "reference": message.reference,
            "text": message.text,
            "media": {"sha256": media.sha256, "mime": media.mime, "bytes": len(media.data)} if media else None,
        }
        if message.is_answer:
            frame["answer"] = True
        try:
            answer = await link.ask(frame, timeout)
        except NoAnswer as error:
            if error.left:
                raise Unknown("no_answer", error.why) from error
            raise NotSent("disconnected", error.why) from error
        if answer["t"] == "accepted":
            return Accepted(answer["provider_id"])
        raise _refusal(answer)

    async def find(self, references: Sequence[Reference]) -> list[Finding]:
        """Ask the ledger; unknown references are sealed by the asking. Empty while the simulator does not answer."""
        found: list[Finding] = []
        for start in range(0, len(references), QUESTIONS_AT_ONCE):
            asked = references[start : start + QUESTIONS_AT_ONCE]
            if self._link is None:
                break
            try:
                answer = await self._link.ask({"t": "find", "references": asked}, QUESTION_SECONDS)
            except NoAnswer:
                break
            found.extend(map(Finding, asked, answer["provider_ids"]))
        return found

    # events

    async def events(self) -> AsyncIterator[EventBatch]:
        """Inbound events until `stop`. For one reader at a time."""
        while not self._stopping.is_set():
            events: list[Inbound] = []
            numbers: list[int] = []
            link = None
            while self._arrived and len(events) < BATCH:
                arrived = self._arrived.popleft()
                events.extend(arrived.events)
                if arrived.number is not None:
                    link = arrived.link
                    numbers.append(arrived.number)
            if events:
                yield EventBatch(tuple(events), _Token(link, tuple(numbers)))
            else:
                self._news.clear()
                await self._news.wait()

    async def confirm(self, batch: EventBatch) -> None:
        """The batch is durable. Without effect after a reconnect: its events come again."""
        token = batch.token
        for event in batch.events:
            if isinstance(event, Paired | PairingEnded):
                under_way = self._pairings.get(event.device)
                if under_way is not None and under_way.number == event.order:
                    del self._pairings[event.device]  # from now on a reconnect does not ask for it anew
        if isinstance(token, _Token) and token.numbers and token.link is not None and token.link is self._link:
            token.link.write({"t": "confirm", "batches": token.numbers})

    def _told(self, frame: Frame) -> None:
        if frame["t"] != "events":
            raise BrokenFrame(f"nobody reads frames of the kind {frame['t']!r} here")
        events = tuple(event_from_frame(event) for event in frame["events"])
        for event in events:
            if isinstance(event, StateChange) and event.replaced:
                self._devices.pop(event.device, None)  # somebody else has it now, and is not fought
        self._arrived.append(_Arrived(events, self._link, frame["batch"]))
        self._news.set()


def _refusal(answer: Frame) -> SendError:
    code, detail = str(answer.get("code")), str(answer.get("detail", ""))
    match answer.get("class"):
        case "recipient":
            return RecipientRefused(code, detail)
        case "opted_out":
            return OptedOut(code, detail)
        case "content":
            return ContentRefused(code, detail)
        case "device":
            return DeviceRefused(code, detail)
        case "rate_limited":
            return NotSent(code, detail, reason=Reason.RATE_LIMITED, retry_after=answer.get("retry_after"))
        case "not_sent" if code == "not_open":
            return SessionLost(code, detail)
        case "not_sent":
            return NotSent(code, detail, reason=Reason.TRANSPORT_TROUBLE if code == "sealed" else None)
    return Unknown("unreadable_answer", f"{answer!r:.200}")
