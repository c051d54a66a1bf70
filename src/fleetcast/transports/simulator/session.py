"""One client's connection, server side: reads requests, writes answers, keeps events until they are confirmed."""

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from fleetcast.domain.identifiers import DeviceId, Phone, Reference
from fleetcast.errors import FleetcastError, InvalidInput
from fleetcast.transports.base import Inbound
from fleetcast.transports.simulator.devices import Devices
from fleetcast.transports.simulator.messages import Message, Messages
from fleetcast.transports.simulator.orders import Orders
from fleetcast.transports.simulator.pairing import Pairings
from fleetcast.transports.simulator.protocol import VERSION, BrokenFrame, Frame, Lines, event_to_frame
from fleetcast.transports.simulator.run import Run

log = structlog.get_logger()

LINGER = 0.02
"""Seconds that events wait for others, so that the client's commits are few."""
BATCH = 500
"""Events in one frame at most."""
WINDOW = 5_000
"""Events under way unconfirmed at most; the rest waits here, not in the client's memory."""


class Session(Lines):
    """Answers one client. It is the `Listener` of the devices that the client opened."""

    def __init__(
        self,
        run: Run,
        devices: Devices,
        pairings: Pairings,
        messages: Messages,
        orders: Orders,
        all_of_them: set["Session"],
    ) -> None:
        super().__init__()
        self._run = run
        self._devices = devices
        self._pairings = pairings
        self._messages = messages
        self._orders = orders
        self._all = all_of_them
        self._greeted = False
        self._waiting: deque[Inbound] = deque()
        self._under_way: dict[int, list[Inbound]] = {}
        self._under_way_count = 0
        self._numbers = itertools.count(1)
        self._deal_planned = False
        all_of_them.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """What was not confirmed goes back to its devices."""
        super().connection_lost(exc)
        self._all.discard(self)
        unconfirmed = [event for batch in self._under_way.values() for event in batch]
        unconfirmed.extend(self._waiting)
        self._under_way.clear()
        self._waiting.clear()
        self._pairings.lose(self)
        self._devices.lose(self, unconfirmed)

    def broken(self, problem: str) -> None:
        """Say what cannot be read, and end."""
        log.warning("a client of the simulator sent what cannot be read", problem=problem)
        self.write({"t": "error", "kind": "invalid", "detail": f"The simulator cannot read this: {problem}."})
        self.hang_up()

    def deafen(self) -> None:
        """Read nothing more: the server is about to end."""
        if self._wire is not None:
            self._wire.pause_reading()

    # requests

    def frame_received(self, frame: Frame) -> None:
        """One request."""
        if not self._greeted:
            self._greet(frame)
            return
        try:
            act = self._understand(frame)
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenFrame(f"{frame['t']}: {error!r}") from error
        act()  # outside: what goes wrong from here on is our own mistake

    def _understand(self, frame: Frame) -> Callable[[], object]:
        """What the request wants done. Raises KeyError, TypeError or ValueError where it cannot be understood."""
        match frame["t"]:
            case "send":
                media = frame.get("media")
                message = Message(
                    DeviceId(int(frame["device"])),
                    Phone(str(frame["recipient"])),
                    Reference(str(frame["reference"])),
                    str(frame["text"]),
                    str(media["sha256"]) if media is not None else None,
                    is_answer=frame.get("answer") is True,
                )
                return partial(self._messages.send, self, message, partial(self._answer, frame["id"]))
            case "confirm":
                return partial(self._confirm, [int(number) for number in frame["batches"]])
            case "open":
                return partial(self._devices.open, self, DeviceId(int(frame["device"])))
            case "close":
                return partial(self._devices.close, self, DeviceId(int(frame["device"])))
            case "pair":
                phone = None if frame["phone"] is None else Phone(str(frame["phone"]))
                order = int(frame["order"])
                return partial(self._pairings.begin, self, DeviceId(int(frame["device"])), order, phone)
            case "stop_pairing":
                return partial(self._pairings.stop, self, DeviceId(int(frame["device"])))
            case "log_out":
                return partial(self._log_out, frame["id"], DeviceId(int(frame["device"])))
            case "find":
                number, references = frame["id"], [Reference(str(reference)) for reference in frame["references"]]
                return partial(self._messages.find, references, partial(self._found, number))
            case "ping":
                return partial(self._answer, frame["id"], {"t": "pong"})
            case "order":
                return partial(self._order, frame["id"], frame)
        raise ValueError("no such request")

    def _greet(self, frame: Frame) -> None:
        if frame["t"] != "hello" or frame.get("version") != VERSION:
            raise BrokenFrame(f"it speaks version {VERSION} and begins with a hello, not {frame!r:.200}")
        self._greeted = True
        self.write({"t": "hello", "version": VERSION, "seed": self._run.seed})

    def _answer(self, number: int, answer: Frame) -> None:
        if self._wire is not None:
            self.write({**answer, "id": number})

    def _found(self, number: int, provider_ids: list[str | None]) -> None:
        self._answer(number, {"t": "found", "provider_ids": provider_ids})

    def _log_out(self, number: int, device_id: DeviceId) -> None:
        self._pairings.unlink(device_id)
        self._answer(number, {"t": "done"})

    def _order(self, number: int, frame: Frame) -> None:
        try:
            result = self._orders.carry_out(frame)
        except FleetcastError as error:
            kind = "invalid" if isinstance(error, InvalidInput) else "refused"
            field = error.field if isinstance(error, InvalidInput) else ""
            problem = error.problem if isinstance(error, InvalidInput) else str(error)
            self._answer(number, {"t": "error", "kind": kind, "field": field, "detail": problem})
        else:
            self._answer(number, {"t": "done", "result": result})

    # events

    def push(self, event: Inbound) -> None:
        """Take an event for the client; it leaves with others after a moment."""
        self._waiting.append(event)
        self._plan_deal()

    def _plan_deal(self) -> None:
        if not self._deal_planned and self._waiting and self._under_way_count < WINDOW:
            self._deal_planned = True
            self._run.schedule.after(LINGER, self._deal)

    def _deal(self) -> None:
        self._deal_planned = False
        while self._wire is not None and self._waiting and self._under_way_count < WINDOW:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            number = next(self._numbers)
            self._under_way[number] = batch
            self._under_way_count += len(batch)
            self.write({"t": "events", "batch": number, "events": [event_to_frame(event) for event in batch]})

    def _confirm(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            batch = self._under_way.pop(number, None)
            if batch is not None:
                self._under_way_count -= len(batch)
                self._devices.confirmed(batch)
        self._plan_deal()
