"""Devices as the simulated WhatsApp sees them: who has the session, the connection's state, events on their way back.

A device belongs to the connection that opened it last, as with WhatsApp. Its events wait here while nobody has it open
or it is offline, and come again until they are confirmed. All of it lives in memory: after a restart of the simulator
every device is online, and receipts that were still to come are lost.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, Phone
from fleetcast.transports.base import Inbound, Receipt, Reply, StateChange
from fleetcast.transports.simulator.behaviour import Behaviour, SendOutcome, draw, draw_between
from fleetcast.transports.simulator.run import Run

MAX_EVENTS = 500_000
"""Receipts and replies kept for clients that do not confirm; further ones are counted and dropped."""


class Listener(Protocol):
    """Who opened a device: gets its events."""

    def push(self, event: Inbound) -> None:
        """Take an event and keep it until it is confirmed."""


@dataclass(frozen=True, slots=True)
class Forced:
    """An ordered outcome. Without `seconds`, what is slow or late stays where it is until released."""

    outcome: SendOutcome
    seconds: float | None


@dataclass(slots=True)
class Device:
    """One number."""

    id: DeviceId
    state: DeviceState = DeviceState.ONLINE
    reason: str = ""
    until: datetime | None = None
    answers: bool = False
    """While it is restricted: people who wrote may be answered."""
    listener: Listener | None = None
    changes: int = 0
    """Grows with every change and plan: a timer that belongs to an older number does nothing."""
    drops: int = 0
    """Planned disconnects so far; names the draws of the next."""
    forced: deque[Forced] = field(default_factory=deque)
    parked: list[Inbound] = field(default_factory=list)
    """Events that wait until somebody has the device open and it is connected."""

    @property
    def connected(self) -> bool:
        """Whether events come through now, provided that somebody listens."""
        return self.state in (DeviceState.ONLINE, DeviceState.RESTRICTED)

    def takes(self, *, is_answer: bool) -> bool:
        """Whether a message may leave now."""
        return self.state is DeviceState.ONLINE or (is_answer and self.answers and self.connected)


class Devices:
    """All devices of one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._devices: dict[DeviceId, Device] = {}
        self._numbers = itertools.count(1)
        self._began = f"{run.clock.now().timestamp():.6f}"
        self.kept_events = 0
        """Receipts and replies not yet confirmed, wherever they wait."""

    def get(self, device_id: DeviceId) -> Device:
        """The device; any id is one."""
        known = self._devices.get(device_id)
        if known is None:
            known = self._devices[device_id] = Device(device_id)
        return known

    def opened_by(self, listener: Listener, device_id: DeviceId) -> Device | None:
        """The device if this listener has its session."""
        device = self._devices.get(device_id)
        return device if device is not None and device.listener is listener else None

    def census(self) -> dict[str, int]:
        """How many devices are open, and in which states these are."""
        found = {"open": 0}
        for device in self._devices.values():
            if device.listener is not None:
                found["open"] += 1
                found[device.state] = found.get(device.state, 0) + 1
        return found

    # sessions

    def open(self, listener: Listener, device_id: DeviceId) -> None:
        """Give the device's session to the listener; whoever had it is told and loses it. Idempotent."""
        device = self.get(device_id)
        if device.listener is listener:
            return
        if device.listener is not None:
            self._run.counts["replaced"] += 1
            device.listener.push(self._replaced_event(device))
        device.listener = listener
        listener.push(self._state_event(device))
        self._unpark(device)
        self._plan_disconnect(device)

    def close(self, listener: Listener, device_id: DeviceId) -> None:
        """End the session if it is the listener's."""
        device = self.opened_by(listener, device_id)
        if device is not None:
            device.listener = None

    def lose(self, listener: Listener, unconfirmed: Iterable[Inbound]) -> None:
        """The listener is gone: its devices are free, and what it did not confirm will come again."""
        for device in self._devices.values():
            if device.listener is listener:
                device.listener = None
        for event in unconfirmed:
            if isinstance(event, Receipt | Reply):  # the next open tells the state anew, the same order its outcome
                self._hand_over(event)

    # states

    def set_state(
        self,
        device_id: DeviceId,
        state: DeviceState,
        reason: str,
        seconds: float | None = None,
        *,
        answers: bool = False,
    ) -> None:
        """Change a device's state and tell its listener; with `seconds`, it is online again after them."""
        device = self.get(device_id)
        device.state, device.reason = state, reason
        device.answers = answers and state is DeviceState.RESTRICTED
        device.until = self._run.clock.now() + timedelta(seconds=seconds) if seconds is not None else None
        device.changes += 1
        if device.listener is not None:
            device.listener.push(self._state_event(device))
        self._unpark(device)
        if seconds is not None:
            self._after(device, seconds, DeviceState.ONLINE, "", None)
        self._plan_disconnect(device)

    def unlink(self, device_id: DeviceId, reason: str) -> None:
        """No phone is linked to the device any more, as whoever has it open wanted: nobody is told."""
        device = self.get(device_id)
        device.state, device.reason, device.until, device.listener = DeviceState.LOGGED_OUT, reason, None, None
        device.changes += 1

    def behave(self, behaviour: Behaviour) -> None:
        """Behave so from now on; messages that already arrived keep their fate."""
        self._run.behaviour = behaviour
        for device in self._devices.values():
            self._plan_disconnect(device)

    def _after(self, device: Device, wait: float, state: DeviceState, reason: str, seconds: float | None) -> None:
        """Change the state in `wait` seconds, unless something else changes it first."""
        change = device.changes

        def due() -> None:
            if device.changes == change:
                self.set_state(device.id, state, reason, seconds)

        self._run.schedule.after(wait, due)

    def _plan_disconnect(self, device: Device) -> None:
        if device.state is not DeviceState.ONLINE or device.listener is None:
            return
        device.changes += 1  # voids the plan made before
        rate = self._run.behaviour.disconnects_per_hour
        if rate > 0:
            device.drops += 1
            name, seed = f"{device.id}/{device.drops}", self._run.seed
            wait = 0.001 + 2 * draw(seed, "disconnect", name) * 3600 / rate
            away = draw_between(seed, "offline for", name, self._run.behaviour.offline_for)
            self._after(device, wait, DeviceState.OFFLINE, "the connection was lost", away)

    # events

    def announce(self, event: Receipt | Reply) -> None:
        """Send an event to whoever has the device open, now or later."""
        if self.kept_events >= MAX_EVENTS:
            self._run.counts["events_dropped"] += 1
            return
        self.kept_events += 1
        self._hand_over(event)

    def reply(self, device_id: DeviceId, sender: Phone, text: str, event_id: str | None = None) -> None:
        """A person writes to the device."""
        self._run.counts["replies"] += 1
        name = event_id or self.event_name("reply", device_id)
        self.announce(Reply(name, device_id, sender, text, self._run.clock.now()))

    def confirmed(self, events: Sequence[Inbound]) -> None:
        """A listener has these durably."""
        self.kept_events -= sum(1 for event in events if isinstance(event, Receipt | Reply))
        self._run.counts["events_confirmed"] += len(events)

    def _hand_over(self, event: Inbound) -> None:
        device = self.get(event.device)
        if device.listener is not None and device.connected:
            device.listener.push(event)
        else:
            device.parked.append(event)

    def _unpark(self, device: Device) -> None:
        if device.parked and device.listener is not None and device.connected:
            events, device.parked = device.parked, []
            for event in events:
                device.listener.push(event)

    def _state_event(self, device: Device) -> StateChange:
        name, now = self.event_name("state", device.id), self._run.clock.now()
        return StateChange(name, device.id, device.state, now, device.reason, device.until, device.answers)

    def _replaced_event(self, device: Device) -> StateChange:
        name, now = self.event_name("state", device.id), self._run.clock.now()
        return StateChange(name, device.id, DeviceState.OFFLINE, now, "replaced", replaced=True)

    def event_name(self, kind: str, device_id: DeviceId) -> str:
        """A name for an event that belongs to no message; differs between runs."""
        return f"{kind}-{device_id}-{self._began}-{next(self._numbers)}"
