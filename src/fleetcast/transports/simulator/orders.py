"""Control commands, server side: what tests and people order the simulator to do.

Everything but `stats` makes it misbehave or speaks for other people, so production mode refuses it. Separate from the
session because orders touch everything while messages must not know that orders exist.
"""

import os
from collections.abc import Callable
from typing import Any

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, Phone
from fleetcast.errors import Conflict, InvalidInput
from fleetcast.transports.simulator.behaviour import SendOutcome
from fleetcast.transports.simulator.commit import GroupCommit
from fleetcast.transports.simulator.devices import Devices, Forced
from fleetcast.transports.simulator.ledger import Ledger
from fleetcast.transports.simulator.messages import Messages
from fleetcast.transports.simulator.pairing import Pairings
from fleetcast.transports.simulator.protocol import Frame
from fleetcast.transports.simulator.run import Run

STATES = {
    "disconnect": (DeviceState.OFFLINE, "the connection was lost"),
    "restrict": (DeviceState.RESTRICTED, "WhatsApp restricts the number"),
    "ban": (DeviceState.BANNED, "WhatsApp banned the number"),
    "log_out": (DeviceState.LOGGED_OUT, "logged out on the phone"),
    "bring_back": (DeviceState.ONLINE, ""),
}
"""Order → the state it brings a device to, and the reason told."""


class Orders:
    """Carries out orders. Raises InvalidInput or Conflict; the text goes back to whoever ordered."""

    def __init__(
        self,
        run: Run,
        devices: Devices,
        pairings: Pairings,
        messages: Messages,
        ledger: Ledger,
        commit: GroupCommit,
        *,
        production: bool,
    ) -> None:
        self._run = run
        self._devices = devices
        self._pairings = pairings
        self._messages = messages
        self._ledger = ledger
        self._commit = commit
        self._production = production
        self._known: dict[str, Callable[[Frame], Any]] = {
            "stats": self._stats,
            "behave": self._behave,
            "force": self._force,
            "release": lambda _: self._messages.release(),
            "reply": self._reply,
            "take_code": self._take_code,
            "die": self._die,
            **dict.fromkeys(STATES, self._state),
        }

    def carry_out(self, frame: Frame) -> Any:
        """Do what the frame's `do` names; what it returns is the answer's `result`."""
        name = frame.get("do")
        order = self._known.get(name) if isinstance(name, str) else None
        if order is None:
            raise InvalidInput("do", f"no such order: {name!r}; there are {', '.join(self._known)}")
        if self._production and name != "stats":
            raise Conflict(f"The simulator runs in production mode, where the order {name!r} is refused.")
        return order(frame)

    def _stats(self, _: Frame) -> Any:
        return {
            "counts": dict(self._run.counts),
            "devices": self._devices.census(),
            "kept_events": self._devices.kept_events,
            "held": self._messages.held,
            "scheduled": len(self._run.schedule),
            "behaviour": self._run.behaviour.as_dict(),
            "seed": self._run.seed,
            "ledger": {
                "rows": self._ledger.rows,
                "groups": self._commit.groups,
                "accepted": len(self._ledger.accepted),
                "sealed": len(self._ledger.sealed),
                "late_refusals": self._ledger.late_refusals,
            },
        }

    def _behave(self, frame: Frame) -> Any:
        values = frame.get("values")
        if not isinstance(values, dict):
            raise InvalidInput("values", "an object of values is needed")
        self._devices.behave(self._run.behaviour.changed(values))
        return self._run.behaviour.as_dict()

    def _force(self, frame: Frame) -> None:
        count, seconds = frame.get("count", 1), frame.get("seconds")
        try:
            outcome = SendOutcome(frame["outcome"])
        except (KeyError, ValueError):
            raise InvalidInput("outcome", f"one of {', '.join(SendOutcome)} is needed") from None
        if not isinstance(count, int) or not 1 <= count <= 1_000_000:
            raise InvalidInput("count", "a whole number from 1 to 1000000 is needed")
        queue = self._messages.forced if frame.get("device") is None else self._devices.get(_device(frame)).forced
        queue.extend([Forced(outcome, _seconds(seconds))] * count)

    def _state(self, frame: Frame) -> None:
        state, reason = STATES[frame["do"]]
        answers = frame.get("answers") is True
        self._devices.set_state(_device(frame), state, reason, _seconds(frame.get("seconds")), answers=answers)

    def _reply(self, frame: Frame) -> None:
        sender, text = frame.get("sender"), frame.get("text")
        if not isinstance(sender, str) or not isinstance(text, str):
            raise InvalidInput("reply", "a sender and a text are needed")
        self._devices.reply(_device(frame), Phone(sender), text)

    def _take_code(self, frame: Frame) -> Any:
        code, phone = frame.get("code"), frame.get("phone")
        if not isinstance(code, str) or not isinstance(phone, str | None):
            raise InvalidInput("code", "the text of a code is needed")
        return self._pairings.take(code, None if phone is None else Phone(phone))

    def _die(self, _: Frame) -> None:
        os._exit(70)  # like kill -9: nothing is flushed, nobody is answered


def _device(frame: Frame) -> DeviceId:
    device = frame.get("device")
    if not isinstance(device, int):
        raise InvalidInput("device", "the number of a device is needed")
    return DeviceId(device)


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or not 0 <= value <= 86_400:
        raise InvalidInput("seconds", "a number from 0 to 86400 is needed")
    return float(value)
