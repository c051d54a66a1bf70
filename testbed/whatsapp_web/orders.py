"""What the testbed does on command. Each public method is one order of the control; its arguments are the order's.

The orders play everybody but the client: the person with the phone, the people who get messages, the network, and the
server in a bad mood. What cannot be done is said in a sentence, as ValueError or Refused.
"""

import base64
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from testbed.whatsapp_web import messages
from testbed.whatsapp_web.behaviour import Ack, Behaviour, Receipts, Rule, Treatment
from testbed.whatsapp_web.codes import Refused, Scanned
from testbed.whatsapp_web.door import banned
from testbed.whatsapp_web.identities import SignedIdentity
from testbed.whatsapp_web.nodes import Node
from testbed.whatsapp_web.phones import Ban, Published
from testbed.whatsapp_web.world import Online, World

Answer = Mapping[str, Any]
DONE: Answer = {}


class Machine(Protocol):
    """The server under the world: what happens to all connections at once."""

    def cut_all(self) -> int:
        """Every connection ends without a word; how many there were."""

    async def restart(self, seconds: float) -> int:
        """Be gone for so long; how many connections were cut."""


class Orders:
    """All of them."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine

    # --- the person with the phone ------------------------------------------------------------------------------

    async def scan(self, number: str, code: str) -> Answer:
        """Scan a client's QR code with the phone of this number."""
        scanned = Scanned.read(code)
        for registration in self._world.registrations:
            if registration.shows(scanned.ref):
                companion = await registration.scanned(self._world.phones.get(number), scanned)
                return {"companion": companion.name}
        raise Refused("That code is not valid any more: scan the one that the client shows now.")

    async def enter_code(self, number: str, code: str) -> Answer:
        """Type a client's code of eight characters into the phone of this number."""
        for registration in self._world.registrations:
            if registration.waits_for(number):
                companion = await registration.entered(self._world.phones.get(number), code)
                return {"companion": companion.name}
        raise Refused(f"No client shows a code for {number}.")

    async def enrol(
        self,
        number: str,
        noise: str,
        identity: str,
        registration: int,
        signed: tuple[int, str, str],
        one_time: list[tuple[int, str]],
    ) -> Answer:
        """Link a device without pairing: for session files that are made by the thousand. Bytes are base64."""
        phone, now = self._world.phones.get(number), self._world.now()
        identity_key = base64.b64decode(identity)
        companion = phone.new_companion(noise=base64.b64decode(noise), identity=identity_key)
        device = companion.jid.device
        by_phone = SignedIdentity.by(phone.signal.identity, identity_key, device=device, now=now)
        mark, key, signature = signed
        published = Published(registration.to_bytes(4, "big"), mark, base64.b64decode(key), base64.b64decode(signature))
        companion.publish(published, [(each, base64.b64decode(public)) for each, public in one_time])
        phone.link(companion)
        self._world.counts["enrolled"] += 1
        return {
            "companion": companion.name,
            "lid": str(companion.lid),
            "details": _text(by_phone.details),
            "account": _text(by_phone.account),
            "signature": _text(by_phone.signature),
        }

    async def log_out(self, companion: str) -> Answer:
        """Remove a linked device on the phone."""
        found = self._world.phones.companion(companion)
        phone = self._world.phones.get(found.jid.user)
        del phone.companions[found.jid.device]
        removed = Node("stream:error", {"code": "401"}, [Node("conflict", {"type": "device_removed"})])
        return {"connected": self._end(companion, removed)}

    async def type_on_phone(self, number: str, to: str, text: str) -> Answer:
        """Write to somebody on the phone itself; linked devices are shown it."""
        phones = self._world.phones
        return {"id": await messages.type_on_phone(self._world, phones.get(number), phones.get(to), text)}

    # --- people who get messages --------------------------------------------------------------------------------

    async def say(self, number: str, to: str, text: str) -> Answer:
        """The person with this number writes to a linked device."""
        companion = self._world.phones.companion(to)
        return {"id": await messages.say(self._world, self._world.phones.get(number), companion, text)}

    async def arrivals(self, number: str, since: int = 0) -> Answer:
        """What came to a phone, without the first `since`."""
        return {"arrivals": [asdict(arrival) for arrival in self._world.record.at(number, since=since)]}

    async def doubles(self) -> Answer:
        """What came to a phone more than once."""
        return {"doubles": [asdict(double) for double in self._world.record.doubles()]}

    async def file(self, sha256: str) -> Answer:
        """A file that somebody received, by its hash."""
        found = self._world.media.opened(sha256)
        if found is None:
            raise Refused(f"Nobody received a file with the hash {sha256}.")
        return {"data": _text(found)}

    async def confirmed(self, number: str) -> Answer:
        """What linked devices said about messages that this person sent them."""
        confirmed = self._world.phones.get(number).confirmed
        return {"confirmed": [{"by": by, "id": mark, "kind": kind} for by, mark, kind in confirmed]}

    async def exists(self, number: str, exists: bool) -> Answer:
        """Whether WhatsApp knows a number."""
        self._world.phones.get(number).exists = exists
        return DONE

    # --- looking ------------------------------------------------------------------------------------------------

    async def phone(self, number: str) -> Answer:
        """An account and its linked devices."""
        phone, sessions = self._world.phones.get(number), self._world.sessions
        return {
            "number": number,
            "lid": phone.lid,
            "companions": [
                {
                    "name": companion.name,
                    "online": companion.name in sessions,
                    "one_time_keys": companion.one_time_keys,
                    "unconfirmed": len(companion.mailbox.waiting()),
                }
                for companion in phone.companions.values()
            ],
        }

    async def state(self) -> Answer:
        """Counts of everything."""
        world = self._world
        return {
            "counts": dict(world.counts),
            "uploads": dict(world.media.uploads),
            "online": len(world.sessions),
            "companions": sum(1 for _ in world.phones.companions()),
            "arrived": world.record.total,
        }

    # --- misbehaviour -------------------------------------------------------------------------------------------

    async def treat(
        self, treatment: Mapping[str, Any], sender: str = "", recipient: str = "", times: int | None = None
    ) -> Answer:
        """Treat messages in another way: the newest rule that fits a message counts."""
        facts = dict(treatment)
        facts["ack"] = Ack(facts.get("ack", Ack.NOW))
        facts["receipts"] = Receipts(facts.get("receipts", Receipts.READ))
        self._world.behaviour.rules.insert(0, Rule(Treatment(**facts), sender, recipient, times))
        return DONE

    async def behave(self) -> Answer:
        """Behave well again, in every respect; bans stay."""
        self._world.behaviour = Behaviour()
        return DONE

    async def release(self) -> Answer:
        """Send every acknowledgement that was held."""
        return {"released": sum([await session.release() for session in list(self._world.sessions.values())])}

    async def offer_codes(self, codes: int) -> Answer:
        """Give clients that want to be paired so many QR codes."""
        self._world.behaviour.qr_codes = codes
        return DONE

    async def drop(self, companion: str = "") -> Answer:
        """Cut a linked device's connection, or all, as a network does."""
        if not companion:
            return {"cut": self._machine.cut_all()}
        self._session(companion).cut()
        return {"cut": 1}

    async def silence(self, companion: str) -> Answer:
        """Leave a linked device's connection half open: nothing is heard, nothing is said."""
        self._session(companion).be_silent()
        return DONE

    async def slow(self, seconds: float) -> Answer:
        """Everything that the server says waits so long."""
        self._world.behaviour.delay = seconds
        return DONE

    async def refuse_connections(self, refuse: bool) -> Answer:
        """Hang up on whoever connects from now on, or serve them again. Open connections stay."""
        self._world.behaviour.refuses_connections = refuse
        return DONE

    async def restart(self, seconds: float) -> Answer:
        """Be gone for so long, then listen again; state is kept."""
        return {"cut": await self._machine.restart(seconds)}

    async def stream_error(self, companion: str, code: int) -> Answer:
        """End a connection with this code: 503 is a server that wants to restart."""
        return {"connected": self._end(companion, Node("stream:error", {"code": str(code)}))}

    async def replace(self, companion: str) -> Answer:
        """Tell a linked device that its session was opened elsewhere."""
        replaced = Node("stream:error", {}, [Node("conflict", {"type": "replaced"})])
        return {"connected": self._end(companion, replaced)}

    async def fail(self, companion: str, reason: int) -> Answer:
        """Refuse a connection with this reason: 401 logged out, 403 banned for good, 405 outdated, 503 busy."""
        return {"connected": self._end(companion, Node("failure", {"reason": str(reason), "location": "lla"}))}

    async def ban(self, number: str, code: int, seconds: float) -> Answer:
        """Ban an account for a while: its linked devices are hung up on, and their logins refused until the end."""
        phone = self._world.phones.get(number)
        phone.ban = Ban(code, self._world.now() + seconds)
        names = [companion.name for companion in phone.companions.values()]
        return {"connected": sum(self._end(name, banned(code, seconds)) for name in names)}

    async def lift_ban(self, number: str) -> Answer:
        """End a ban before its time."""
        self._world.phones.get(number).ban = None
        return DONE

    def _session(self, companion: str) -> Online:
        session = self._world.sessions.get(self._world.phones.companion(companion).name)
        if session is None:
            raise Refused(f"{companion} is not connected.")
        return session

    def _end(self, companion: str, node: Node) -> bool:
        session = self._world.sessions.get(companion)
        if session is not None:
            session.end_with(node)
        return session is not None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
