"""How a client becomes a companion: by a QR code that somebody scans, or by a code that somebody types.

A registration is one connection of a client that has no account yet. The phone's part (scanning, typing, signing the
new device's identity) is simulated here as well, since both halves only make sense side by side.
"""

import asyncio
import base64
import os
from dataclasses import dataclass
from typing import Final

from testbed.whatsapp_web.codes import LinkCode, Refused, Scanned
from testbed.whatsapp_web.identities import SignedIdentity
from testbed.whatsapp_web.jids import SERVER, Jid
from testbed.whatsapp_web.link import Link
from testbed.whatsapp_web.nodes import Malformed, Node
from testbed.whatsapp_web.phones import Companion, Phone
from testbed.whatsapp_web.queries import answer, result
from testbed.whatsapp_web.websocket import Closed
from testbed.whatsapp_web.world import World

FIRST_QR_SECONDS: Final = 60.0
QR_SECONDS: Final = 20.0
"""How long clients show a code: the first of six longer than the others. The server forgets it then."""
_SIX: Final = 6
_PATIENCE: Final = 15.0
"""Seconds that a phone waits for the client's part of a pairing."""
GONE: Final = "The client went away before it was paired."


class Registration:
    """A client that waits to be paired."""

    def __init__(self, world: World, link: Link) -> None:
        self._world = world
        self._link = link
        self._refs = [base64.b64encode(os.urandom(24)).decode() for _ in range(world.behaviour.qr_codes)]
        self._ends: list[float] = []
        """When each code is forgotten."""
        self._code: LinkCode | None = None
        self._pairing: _Pairing | None = None

    async def run(self) -> None:
        """Offer codes until one was used, or all have run out."""
        world, link = self._world, self._link
        await link.send(
            Node(
                "iq",
                {"from": SERVER, "type": "set", "id": world.mark("pair"), "xmlns": "md"},
                [Node("pair-device", {}, [Node("ref", {}, ref.encode()) for ref in self._refs])],
            )
        )
        end = world.now()
        for left in range(len(self._refs), 0, -1):
            end += FIRST_QR_SECONDS if left == _SIX else QR_SECONDS
            self._ends.append(end)
        world.registrations.add(self)
        try:
            async with asyncio.timeout(end - world.now() + _PATIENCE):
                while not await self._heard(await link.receive()):
                    pass
        except TimeoutError:
            world.counts["pairing timed out"] += 1
            await link.farewell(Node("xmlstreamend"))
        finally:
            world.registrations.discard(self)
            if self._pairing is not None:
                self._pairing.fail(GONE)

    async def _heard(self, node: Node) -> bool:
        """Take what the client says; whether that was the end of it."""
        if node.tag != "iq":
            return False
        if (signed := node.child("pair-device-sign")) is not None:
            await self._signed(signed)
            return True
        if (code := node.child("link_code_companion_reg")) is not None:
            await self._by_code(node, code)
        elif node.get("type") in ("get", "set"):
            await self._link.send(answer(self._world, None, node))
        return False

    # --- by QR code ---------------------------------------------------------------------------------------------

    def shows(self, ref: str) -> bool:
        """Whether this is the code on the client's screen."""
        now = self._world.now()
        begin = 0.0
        for known, end in zip(self._refs, self._ends, strict=False):
            if known == ref:
                return begin <= now < end
            begin = end
        return False

    async def scanned(self, phone: Phone, scanned: Scanned) -> Companion:
        """Somebody held the phone before the screen. Raises Refused."""
        if scanned.noise != self._link.opened.client:
            raise Refused("The code names another connection than it was given to.")
        return await self._link_to(phone, scanned.identity, scanned.secret)

    # --- by the code of eight characters ------------------------------------------------------------------------

    async def _by_code(self, query: Node, step: Node) -> None:
        match step["stage"]:
            case "companion_hello":
                number = Jid.parse(step["jid"]).user
                wrapped = step.need("link_code_pairing_wrapped_companion_ephemeral_pub").data
                self._code = LinkCode(number, wrapped, os.urandom(16))
                ref = Node("link_code_pairing_ref", {}, self._code.ref)
                await self._link.send(
                    result(query, [Node("link_code_companion_reg", {"stage": "companion_hello"}, [ref])])
                )
            case "companion_finish":
                await self._link.send(result(query))
                await self._finish_code(step)
            case other:
                raise Malformed(f"a code is paired in no stage {other!r}")

    def waits_for(self, number: str) -> bool:
        """Whether it shows a code for this number."""
        return self._code is not None and self._code.number == number

    async def entered(self, phone: Phone, text: str) -> Companion:
        """Somebody typed a code on the phone. Raises Refused."""
        code = self._code
        assert code is not None
        key = self._world.ephemeral()
        # Slow on purpose (131,072 rounds), so not on the event loop.
        theirs, sealed = await asyncio.to_thread(code.exchange, text.replace("-", "").upper().encode(), key)
        code.shared, code.phone = key.agree(theirs), phone
        code.done = asyncio.get_running_loop().create_future()
        step = Node(
            "link_code_companion_reg",
            {"stage": "primary_hello"},
            [
                Node("link_code_pairing_wrapped_primary_ephemeral_pub", {}, sealed),
                Node("primary_identity_pub", {}, phone.signal.identity.public),
                Node("link_code_pairing_ref", {}, code.ref),
            ],
        )
        attrs = {"type": "link_code_companion_reg", "id": self._world.mark("code"), "t": self._world.stamp}
        await self._ask(Node("notification", {"from": SERVER} | attrs, [step]))
        try:
            async with asyncio.timeout(_PATIENCE):
                identity, secret = await code.done
        except TimeoutError:
            raise Refused("The client did not answer.") from None
        return await self._link_to(phone, identity, secret)

    async def _finish_code(self, step: Node) -> None:
        code = self._code
        if code is None or code.phone is None or code.done is None or code.done.done():
            raise Malformed("a code was finished that nobody entered")
        try:
            code.done.set_result(code.open(step.need("link_code_pairing_wrapped_key_bundle").data))
        except Refused as error:
            code.done.set_exception(error)

    # --- what both end with -------------------------------------------------------------------------------------

    async def _link_to(self, phone: Phone, identity: bytes, secret: bytes) -> Companion:
        """The phone signs the new device's identity; the device signs it, too, and is linked."""
        if self._pairing is not None:
            raise Refused("This client is just being paired.")
        companion = phone.new_companion(noise=self._link.opened.client, identity=identity)
        device = companion.jid.device
        signed = SignedIdentity.by(phone.signal.identity, identity, device=device, now=self._world.now())
        self._pairing = pairing = _Pairing(phone, companion, signed, asyncio.get_running_loop().create_future())
        success = [
            Node("device-identity", {}, signed.sealed(secret)),
            Node("device", {"jid": str(companion.jid), "lid": str(companion.lid)}),
            Node("platform", {"name": "android"}),
        ]
        attrs = {"from": SERVER, "type": "set", "id": self._world.mark("pair"), "t": self._world.stamp}
        await self._ask(Node("iq", attrs, [Node("pair-success", {}, success)]))
        try:
            async with asyncio.timeout(_PATIENCE):
                return await pairing.done
        except TimeoutError:
            raise Refused("The client did not sign its new identity.") from None

    async def _ask(self, node: Node) -> None:
        """Tell the client what the phone wants of it. Raises Refused."""
        try:
            await self._link.send(node)
        except Closed:
            raise Refused(GONE) from None

    async def _signed(self, answer_: Node) -> None:
        """The client's half: checked, then it is a companion and must log in as one."""
        pairing = self._pairing
        if pairing is None:
            raise Malformed("an identity was signed that nobody asked for")
        if not pairing.signed.is_countersigned(answer_.need("device-identity").data):
            pairing.fail("The client's signature is not that of its identity.")
            raise Malformed("a device signature does not verify")
        pairing.phone.link(pairing.companion)
        self._world.counts["paired"] += 1
        pairing.done.set_result(pairing.companion)
        await self._link.farewell(Node("stream:error", {"code": "515"}))


@dataclass(eq=False, slots=True)
class _Pairing:
    """A pairing that only lacks the client's signature."""

    phone: Phone
    companion: Companion
    signed: SignedIdentity
    done: "asyncio.Future[Companion]"

    def fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(Refused(why))
