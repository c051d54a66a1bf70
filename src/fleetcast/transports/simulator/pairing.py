"""Linking devices to simulated phones: codes that are renewed, a phone that takes one, and who is linked since.

A pairing belongs to the connection that asked for it and ends with it: whoever has the device next asks again. All of
it lives in memory, as do the devices.
"""

import base64
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, Phone
from fleetcast.domain.pairing import Code, CodeKind
from fleetcast.errors import Conflict, InvalidInput
from fleetcast.transports.base import Paired, PairingCode, PairingEnded
from fleetcast.transports.simulator.behaviour import draw
from fleetcast.transports.simulator.devices import Devices, Listener
from fleetcast.transports.simulator.run import Run

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTVWXYZ"
"""Of codes that people type: no letter looks like a digit."""
TYPED = 8
QUICKEST = 0.02
"""Seconds for which a code is shown at least, whatever the behaviour says."""
NOBODY = "no phone took a code in time"


@dataclass(slots=True, eq=False)
class _UnderWay:
    """One device that waits for a phone."""

    device: DeviceId
    order: int
    phone: Phone | None
    listener: Listener
    turn: int
    """Of all that were begun: no two ever show the same code."""
    code: str = ""
    shown: int = 0


class Pairings:
    """All pairings of one run."""

    def __init__(self, run: Run, devices: Devices) -> None:
        self._run = run
        self._devices = devices
        self._under_way: dict[DeviceId, _UnderWay] = {}
        self._linked: dict[DeviceId, Paired] = {}
        """What was told when the phone was linked."""
        self._secret = f"{run.seed}|{run.clock.now().timestamp():.6f}"

    def begin(self, listener: Listener, device_id: DeviceId, order: int, phone: Phone | None) -> None:
        """Show codes for a device, in place of those of an earlier order. Idempotent."""
        done = self._linked.get(device_id)
        if done is not None and done.order == order:
            name = self._devices.event_name("paired", device_id)
            listener.push(replace(done, event_id=name, at=self._run.clock.now()))
            return
        before = self._under_way.get(device_id)
        if before is not None and before.listener is listener and before.order == order:
            return
        self._devices.unlink(device_id, "another phone is being linked")
        self._run.counts["pairings"] += 1
        turn = self._run.counts["pairings"]
        under_way = self._under_way[device_id] = _UnderWay(device_id, order, phone, listener, turn)
        self._show(under_way)

    def stop(self, listener: Listener, device_id: DeviceId) -> None:
        """Show none any more, if they are the listener's."""
        under_way = self._under_way.get(device_id)
        if under_way is not None and under_way.listener is listener:
            del self._under_way[device_id]

    def lose(self, listener: Listener) -> None:
        """The listener is gone, and its codes with it."""
        self._under_way = {d: u for d, u in self._under_way.items() if u.listener is not listener}

    def unlink(self, device_id: DeviceId) -> None:
        """The device is logged out, as whoever has it wanted."""
        self._under_way.pop(device_id, None)
        self._linked.pop(device_id, None)
        self._devices.unlink(device_id, "logged out")

    def take(self, code: str, phone: Phone | None) -> DeviceId:
        """A phone takes the code that is shown. Raises Conflict for one that is not shown now, or not to this phone."""
        typed = "".join(c for c in code.upper() if c in ALPHABET)
        for under_way in self._under_way.values():
            if under_way.code == (code.strip() if under_way.phone is None else typed):
                if None not in (phone, under_way.phone) and phone != under_way.phone:
                    raise InvalidInput("phone", f"this code is for {under_way.phone}")
                self._link(under_way, under_way.phone or phone or self.number_of(under_way.device))
                return under_way.device
        raise Conflict("No device shows this code now: it was taken, or another one is shown in its place by now.")

    def number_of(self, device_id: DeviceId) -> Phone:
        """The number of the phone that belongs to a device; nobody's, for nothing leaves this machine."""
        known = self._linked.get(device_id)
        digits = int(draw(self._run.seed, "number", device_id) * 10**8)
        return known.phone if known is not None else Phone(f"+6011{digits:08}")

    def _link(self, under_way: _UnderWay, phone: Phone) -> None:
        device_id = under_way.device
        del self._under_way[device_id]
        lid = f"{int(draw(self._run.seed, 'lid', phone) * 10**15):015}@lid"
        name, now = self._devices.event_name("paired", device_id), self._run.clock.now()
        jid = f"{phone[1:]}:{under_way.order}@s.whatsapp.net"
        told = self._linked[device_id] = Paired(name, device_id, under_way.order, phone, jid, lid, now)
        self._run.counts["paired"] += 1
        self._devices.set_state(device_id, DeviceState.ONLINE, "")
        under_way.listener.push(told)

    def _show(self, under_way: _UnderWay) -> None:
        """The next code, or the end of waiting."""
        if self._under_way.get(under_way.device) is not under_way:
            return
        each, most = max(QUICKEST, self._run.behaviour.code_seconds), max(1, round(self._run.behaviour.codes))
        if under_way.phone is not None:
            each, most = each * most, 1
        now = self._run.clock.now()
        if under_way.shown >= most:
            del self._under_way[under_way.device]
            name = self._devices.event_name("pairing-ended", under_way.device)
            under_way.listener.push(PairingEnded(name, under_way.device, under_way.order, NOBODY, now))
            return
        under_way.shown += 1
        kind = CodeKind.QR if under_way.phone is None else CodeKind.PHONE
        under_way.code = self._code(under_way, kind)
        name = self._devices.event_name("pairing-code", under_way.device)
        code = Code(under_way.order, kind, under_way.code, each)
        under_way.listener.push(PairingCode(name, under_way.device, code, now))
        self._run.schedule.after(each, partial(self._show, under_way))

    def _code(self, under_way: _UnderWay, kind: CodeKind) -> str:
        """As long, and of the same characters, as WhatsApp's."""
        name = f"{self._secret}|{under_way.turn}|{under_way.shown}"
        if kind is CodeKind.PHONE:
            drawn = blake2b(name.encode(), digest_size=TYPED).digest()
            return "".join(ALPHABET[byte % len(ALPHABET)] for byte in drawn)
        ref, *keys = (
            base64.b64encode(blake2b(f"{name}|{part}".encode(), digest_size=size).digest()).decode()
            for part, size in (("ref", 64), ("noise", 32), ("identity", 32), ("secret", 32))
        )
        return ",".join((f"2@{ref}", *keys))
