"""The transport of linked devices: which are open, in which child, and what is heard of them.

Nothing is started before the first device is opened or linked. Sessions are files of this node; who has which one is
the keeper's account, and a device whose session is elsewhere is not opened here.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random

import structlog

from fleetcast.clock import Clock
from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, Phone, Reference
from fleetcast.errors import ConfigurationError, Unavailable
from fleetcast.transports.base import (
    Accepted,
    DeviceHandle,
    EventBatch,
    Finding,
    Inbound,
    Outbound,
    Paired,
    PairingOrder,
    SessionKeeper,
    StateChange,
)
from fleetcast.transports.errors import ContentRefused, DeviceRefused, NotSent, SessionLost
from fleetcast.transports.linked import words
from fleetcast.transports.linked.custody import Custody
from fleetcast.transports.linked.files import DeviceFiles
from fleetcast.transports.linked.fleet import PER_CHILD, Fleet, Tasks
from fleetcast.transports.linked.pairings import Pairings
from fleetcast.transports.linked.process import ChildProcess
from fleetcast.transports.linked.protocol import Confirm, Drop, Hold, LogOut, Send

log = structlog.get_logger()

FIRST_BYTE_SECONDS = 5.0
"""A message that was not begun so long after it was handed over never is."""
QUIET_SECONDS = 5.0
"""A device that was opened and said nothing for so long is connecting: nothing is to be sent until it has."""
FRESH_SECONDS = 15.0
"""A state that was told so lately is not told again to who opens an open device."""
CLOSE_SECONDS = 10.0
FIRST_LOOK, LONGEST_LOOK = 2.0, 60.0
"""Seconds between looks for a session that is elsewhere, or after what could not be opened, doubling."""
LOG_OUT_PAUSE = 30.0
"""Seconds between attempts to unlink a device that WhatsApp does not let in."""
MAX_TEXT = 65_536
BATCH = 1_000


@dataclass(slots=True, eq=False)
class _Device:
    """A device that is wanted open."""

    id: DeviceId
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    child: ChildProcess | None = None
    placed: asyncio.Event = field(default_factory=asyncio.Event)
    state: DeviceState | None = None
    reason: str = ""
    told: StateChange | None = None
    told_at: float = 0.0
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class _Arrived:
    event: Inbound
    child: ChildProcess | None
    """That tells it again if it dies before the event is confirmed."""


class LinkedTransport:
    """The `Transport` of linked devices. `folder`: of sessions. `environment`: more variables for the children."""

    grace = 100.0
    """The library waits up to 75 s for WhatsApp's word, and a zombie's child ends within 20."""
    doubt_window = 3600.0

    def __init__(
        self,
        folder: Path,
        *,
        keeper: SessionKeeper | None = None,
        environment: Mapping[str, str] | None = None,
        per_child: int = PER_CHILD,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self._folder = folder
        self._custody = Custody(folder, keeper)
        self._environment = dict(environment or {})
        self._per_child = per_child
        self._clock = clock or Clock()
        self._random = random or Random()
        self._running = False
        self._devices: dict[DeviceId, _Device] = {}
        self._replaced: set[DeviceId] = set()
        """Their sessions were opened elsewhere: not again before they were closed here."""
        self._log_out_again: dict[DeviceId, float] = {}
        self._arrived: deque[_Arrived] = deque()
        self._news = asyncio.Event()
        self._numbers = itertools.count(1)
        self._tasks = Tasks()
        self._fleet = self._new_fleet()
        self.pairings = Pairings(folder, self._environment, self._random, self._tasks, self._clock, self._hear)

    def _new_fleet(self) -> Fleet:
        return Fleet(self._environment, self._per_child, self._random, self._tasks, self._told, self._lost)

    # the whole

    async def start(self) -> None:
        """Be ready to open devices. Idempotent. Raises ConfigurationError when the folder cannot be used."""
        if self._running:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
        except OSError as error:
            raise ConfigurationError(f"Sessions cannot be kept in {self._folder}: {error.strerror}.") from error
        self._running = True
        self._fleet = self._new_fleet()
        self._tasks.start(self._fleet.watch(), "watch over linked children")

    async def stop(self) -> None:
        """Close everything; open sends end at once. Leaves copies of the sessions that were open. Idempotent."""
        if not self._running:
            return
        self._running = False
        self._news.set()
        held = [d.id for d in self._devices.values() if d.child is not None]
        for device in self._devices.values():
            device.wanted = False
            device.placed.set()
        self._devices.clear()
        self._replaced.clear()
        await self.pairings.stop_all()
        await self._fleet.stop()
        await self._tasks.end()
        self._arrived = deque(a for a in self._arrived if a.child is None)
        await self._custody.copy_all(held)

    @property
    def processes(self) -> list[ChildProcess]:
        """The children that hold sessions."""
        return list(self._fleet.children)

    def files_of(self, device: DeviceId) -> DeviceFiles:
        """Where the device's session lies: for those who bring sessions that were made elsewhere."""
        return self._custody.files(device)

    async def health(self) -> bool:
        """Whether every child answers now."""
        if not self._running:
            return False
        pairing = await asyncio.gather(*(child.answers(2.0) for child in self.pairings.processes if child.is_ready))
        return await self._fleet.answers(2.0) and all(pairing)

    # devices

    async def open(self, device: DeviceHandle) -> None:
        """Bring the device's session up. Idempotent."""
        if not self._running:
            return
        if device.id in self._replaced:
            self._say(device.id, DeviceState.OFFLINE, words.REPLACED)
            return
        known = self._devices.get(device.id)
        if known is None:
            made = self._devices[device.id] = _Device(device.id)
            self._tasks.start(self._bring(made), f"open device {device.id}")
        elif known.told is not None and self._clock.monotonic() - known.told_at > FRESH_SECONDS:
            # Who asks again may have learnt otherwise meanwhile: a sender that had lost its leases without noticing.
            known.told_at, now = self._clock.monotonic(), self._clock.now()
            name = f"state-{device.id}-{now.timestamp():.6f}-{next(self._numbers)}"
            self._hear(replace(known.told, event_id=name, at=now))

    async def close(self, device: DeviceId) -> None:
        """End the device's session without logging it out, and leave a copy of it. Idempotent."""
        self._replaced.discard(device)
        if await self._release(device):
            await self._custody.copy(device)

    async def _release(self, device_id: DeviceId) -> bool:
        """Close a session; whether one was open."""
        device = self._devices.pop(device_id, None)
        if device is None:
            return False
        device.wanted = False
        async with device.turn:
            device.placed.set()
            child, device.child = device.child, None
            if child is None:
                return False
            child.devices.discard(device_id)
            try:
                await child.ask(lambda number: Drop(number, device_id), CLOSE_SECONDS)
            except Unavailable as error:
                log.warning("a session was not closed in order", device_id=device_id, error=str(error))
                child.kill()  # its file must be free
                await child.gone.wait()
        return True

    async def _bring(self, device: _Device) -> None:
        """Open a device, as often as it takes."""
        pause = FIRST_LOOK
        while True:
            async with device.turn:
                if not device.wanted or device.child is not None:
                    return
                try:
                    reason = await self._admitted(device)
                except Unavailable as error:
                    log.warning("a device cannot be opened yet", device_id=device.id, error=str(error))
                    reason = words.tried_again(str(error).rstrip(".")[:300])
            if reason is None:
                break
            self._say(device.id, DeviceState.OFFLINE, reason)
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_LOOK)
        await asyncio.sleep(QUIET_SECONDS)
        if device.wanted and device.state is None and self._devices.get(device.id) is device:
            self._say(device.id, DeviceState.CONNECTING, words.CONNECTING)

    async def _admitted(self, device: _Device) -> str | None:
        """Hand a device to a child; else why not, where it may be tried again. Raises Unavailable."""
        files, admission = self._custody.files(device.id), await self._custody.admit(device.id)
        if admission.elsewhere:
            return (
                f"its session is on {admission.elsewhere}, which has not handed it over: start Fleetcast there, or log "
                "the device out here and link it again"
            )
        if not files.is_paired:
            device.placed.set()
            self._say(device.id, DeviceState.LOGGED_OUT, words.NO_SESSION)
            return None
        child = device.child = await self._fleet.place(device.id)
        child.write(Hold(device.id, str(files.session), admission.proxy))
        device.placed.set()
        return None

    def _lost(self, devices: set[DeviceId], pause: float) -> None:
        """Their child is gone. What nobody has read yet of what it told is told again."""
        self._arrived = deque(a for a in self._arrived if a.child is None or not a.child.gone.is_set())
        for device_id in devices:
            device = self._devices.get(device_id)
            if device is None or device.child is None or not device.child.gone.is_set():
                continue
            device.child = None
            device.placed.clear()
            reason = words.CHILD_ENDED
            if self._fleet.keeps_killing(device_id):
                reason = words.KEEPS_KILLING
            self._say(device_id, DeviceState.OFFLINE, reason)
            self._tasks.start(self._bring_later(device, pause), f"open device {device_id} again")

    async def _bring_later(self, device: _Device, pause: float) -> None:
        await asyncio.sleep(pause)
        await self._bring(device)

    # linking to phones

    async def pair(self, order: PairingOrder) -> None:
        """Have a phone linked. Idempotent."""
        if not self._running or self.pairings.is_under_way(order):
            return
        await self.pairings.stop(order.device)
        self._replaced.discard(order.device)
        await self._release(order.device)
        files = self._custody.files(order.device)
        notes = files.read_notes()
        if files.is_paired and notes.order == order.number:
            name = f"paired-again-{self._clock.now().timestamp():.6f}-{next(self._numbers)}"
            phone, now = Phone(notes.phone), self._clock.now()
            self._hear(Paired(name, order.device, order.number, phone, notes.jid, notes.lid, now))
            return
        self.pairings.begin(order, await self._custody.link(order.device))

    async def stop_pairing(self, device: DeviceId) -> None:
        """Show no more codes. Idempotent."""
        await self.pairings.stop(device)

    async def log_out(self, device: DeviceHandle, timeout: float) -> None:
        """Unlink the device at WhatsApp. Idempotent. Raises Unavailable."""
        if not self._running:
            raise Unavailable("Linked devices are not running here.")
        await self.pairings.stop(device.id)
        self._replaced.discard(device.id)
        await self._release(device.id)
        files, now = self._custody.files(device.id), self._clock.monotonic()
        if files.is_paired and not (admission := await self._custody.admit(device.id)).elsewhere:
            if now < self._log_out_again.get(device.id, 0.0):
                raise Unavailable("The device is not logged out yet; it is tried again soon.")
            self._log_out_again[device.id] = now + LOG_OUT_PAUSE
            child = await self._fleet.any_child()
            problem = await child.ask(
                lambda number: LogOut(number, device.id, str(files.session), admission.proxy, timeout), timeout + 2.0
            )
            if problem:
                raise Unavailable(f"The device is not logged out yet: {problem}.")
        self._log_out_again.pop(device.id, None)
        await self._custody.forget(device.id)

    # messages

    async def send(self, message: Outbound, timeout: float) -> Accepted:
        """Send one message within `timeout` seconds. Raises a SendError."""
        if not self._running:
            raise NotSent("disconnected", "linked devices are not running here")
        if len(message.text) > MAX_TEXT:
            raise ContentRefused("too_long", f"a text may have {MAX_TEXT} characters")
        device = self._devices.get(message.device)
        if device is None:
            raise SessionLost("not_open", "the device's session is not open")
        deadline = self._clock.monotonic() + min(timeout, FIRST_BYTE_SECONDS)
        try:
            async with asyncio.timeout(min(timeout, FIRST_BYTE_SECONDS)):
                await device.placed.wait()
        except TimeoutError:
            pass
        child = device.child
        if child is None:
            if device.state in (DeviceState.LOGGED_OUT, DeviceState.BANNED):
                raise DeviceRefused(device.state, device.reason)
            raise NotSent("disconnected", device.reason or "the device is being opened")
        return await child.send(partial(Send.of, message, deadline), message.media, timeout)

    async def find(self, references: Sequence[Reference]) -> list[Finding]:
        """Nobody can be asked: the library takes no name of ours."""
        return []

    # events

    async def events(self) -> AsyncIterator[EventBatch]:
        """Inbound events until `stop`. For one reader at a time."""
        while self._running:
            if not self._arrived:
                self._news.clear()
                await self._news.wait()
                continue
            some = [self._arrived.popleft() for _ in range(min(BATCH, len(self._arrived)))]
            kept = tuple((a.event.device, a.event.event_id) for a in some if a.child is not None)
            yield EventBatch(tuple(a.event for a in some), kept)

    async def confirm(self, batch: EventBatch) -> None:
        """The batch is durable: whoever holds its devices need not repeat it."""
        by_device: dict[DeviceId, list[str]] = {}
        if isinstance(batch.token, tuple):
            for device_id, event_id in batch.token:
                by_device.setdefault(device_id, []).append(event_id)
        for device_id, events in by_device.items():
            device = self._devices.get(device_id)
            if device is not None and device.child is not None:
                device.child.write(Confirm(device_id, tuple(events)))

    def _told(self, child: ChildProcess, event: Inbound, kept: bool) -> None:
        if isinstance(event, StateChange):
            device = self._devices.get(event.device)
            if device is None or device.child is not child:
                return  # it is closed, or lives elsewhere by now
            device.state, device.reason = event.state, event.reason
            device.told, device.told_at = event, self._clock.monotonic()
            if event.replaced:
                self._replaced.add(event.device)
                self._tasks.start(self._release(event.device), f"let go of device {event.device}")
            elif event.state in (DeviceState.LOGGED_OUT, DeviceState.BANNED):
                self._tasks.start(self._custody.is_over(event.device), f"forget the session of device {event.device}")
        self._arrived.append(_Arrived(event, child if kept else None))
        self._news.set()

    def _hear(self, event: Inbound) -> None:
        self._arrived.append(_Arrived(event, None))
        self._news.set()

    def _say(self, device_id: DeviceId, state: DeviceState, reason: str) -> None:
        now = self._clock.now()
        name = f"state-{device_id}-{now.timestamp():.6f}-{next(self._numbers)}"
        change = StateChange(name, device_id, state, now, reason)
        device = self._devices.get(device_id)
        if device is not None:
            if (device.state, device.reason) == (state, reason):
                return
            device.state, device.reason = state, reason
            device.told, device.told_at = change, self._clock.monotonic()
        self._hear(change)
