"""A companion that is logged in: hears what it says, tells it what is for it, and ends with its connection."""

import asyncio
from typing import Final

from testbed.whatsapp_web import messages
from testbed.whatsapp_web.behaviour import WELL, Ack, Treatment
from testbed.whatsapp_web.jids import SERVER, Jid
from testbed.whatsapp_web.link import Link
from testbed.whatsapp_web.nodes import Node
from testbed.whatsapp_web.phones import Companion, Phone
from testbed.whatsapp_web.queries import answer
from testbed.whatsapp_web.websocket import Closed
from testbed.whatsapp_web.world import World

_NOT_DELIVERED: Final = frozenset({"retry", "server-error"})
"""Receipts that ask for the message again instead of confirming it."""


class Session:
    """One login of one companion."""

    def __init__(self, world: World, link: Link, phone: Phone, companion: Companion) -> None:
        self._world, self._link = world, link
        self._phone, self._companion = phone, companion
        self._held: list[Node] = []
        self._listens = False
        """Whether the client said that it is ready for what waited for it."""
        self._farewells: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the client or we end it. Raises Closed, Malformed."""
        world, name = self._world, self._companion.name
        if (before := world.sessions.get(name)) is not None:
            before.end_with(Node("stream:error", {}, [Node("conflict", {"type": "replaced"})]))
        world.sessions[name] = self
        world.counts["login"] += 1
        try:
            await self._greet()
            while not await self._heard(await self._link.receive()):
                pass
            await self._link.close()
        finally:
            self._leave()
            if self._farewells:
                await asyncio.wait(self._farewells)

    def _leave(self) -> None:
        """Nobody speaks to it any more; another login may have taken its place."""
        if self._world.sessions.get(self._companion.name) is self:
            del self._world.sessions[self._companion.name]

    async def _greet(self) -> None:
        now = self._world.stamp
        await self._link.send(
            Node(
                "success",
                {
                    "t": now,
                    "lid": str(self._companion.lid),
                    "props": "27",
                    "companion_enc_static": "x",
                    "location": "lla",
                    "abprops": "0",
                    "group_abprops": "0",
                    "creation": now,
                    "display_name": "Testbed",
                },
            )
        )

    async def _begin(self) -> None:
        """Everything that the companion has not confirmed, between the two nodes that frame it."""
        waiting, self._listens = self._companion.mailbox.waiting(), True  # together: what comes now is told at once
        kinds = {tag: str(sum(node.tag == tag for node in waiting)) for tag in ("message", "receipt")}
        preview = {"count": str(len(waiting)), "appdata": "0", "notification": "0"} | kinds
        await self._link.send(Node("ib", {"from": SERVER}, [Node("offline_preview", preview)]))
        for node in waiting:
            await self._link.send(Node(node.tag, {**node.attrs, "offline": "0"}, node.content))
        await self._link.send(Node("ib", {"from": SERVER}, [Node("offline", {"count": str(len(waiting))})]))

    async def tell(self, node: Node) -> None:
        """Say something that is in the mailbox, if the client is ready; else it comes with what waits."""
        if self._listens:
            await self._say(node)

    async def _say(self, node: Node) -> None:
        try:
            await self._link.send(node)
        except Closed:  # whoever tells need not know: a receipt or a message is in the mailbox, for the next login
            self._world.counts["told nobody"] += 1

    def end_with(self, node: Node) -> None:
        """Say a last word and hang up, without being waited for."""
        task = asyncio.create_task(self._link.farewell(node), name=f"farewell to {self._companion.name}")
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    def cut(self) -> None:
        """As a network does: no farewell."""
        self._leave()
        self._link.cut()

    def be_silent(self) -> None:
        """Half-open from now on."""
        self._link.be_silent()

    async def release(self) -> int:
        """Send the acknowledgements that were held; how many."""
        held, self._held = self._held, []
        for node in held:
            await self._say(node)
        return len(held)

    # --- what the client says -----------------------------------------------------------------------------------

    async def _heard(self, node: Node) -> bool:
        """Do what a node asks; whether it was the client's last word."""
        self._world.counts[f"heard {node.tag}"] += 1
        match node.tag:
            case "iq":
                return await self._asked(node)
            case "message":
                await self._sent(node)
            case "receipt":
                await self._confirmed(node)
            case "ack":
                self._companion.mailbox.confirm(node.get("class"), node.get("id"), node.get("type"))
            case "xmlstreamend":
                return True
        return False

    async def _asked(self, query: Node) -> bool:
        if query.get("type") not in ("get", "set"):
            return False
        if query.get("xmlns") == "md" and query.child("remove-companion-device") is not None:
            self._phone.companions.pop(self._companion.jid.device, None)
            self._world.counts["logged out by the client"] += 1
            await self._link.farewell(answer(self._world, self._companion, query))
            return True
        await self._link.send(answer(self._world, self._companion, query))
        if query.get("xmlns") == "passive" and query.child("active") is not None and not self._listens:
            await self._begin()
        return False

    async def _sent(self, message: Node) -> None:
        """A message: what becomes of it is the behaviour's to say."""
        world = self._world
        to = world.phones.find(Jid.parse(message["to"]))
        treatment = world.behaviour.treat(self._phone.number, to.number) if to is not None else WELL
        world.counts["message"] += 1
        tells = treatment.delivered and not treatment.error and to is not None and to.exists
        if treatment.delivered and not treatment.error:
            await messages.deliver(world, self._companion, message)
        if tells and treatment.receipts_first:
            await self._tell_receipts(message, treatment)
        await self._acknowledge(message, treatment)
        if tells and not treatment.receipts_first:
            await self._tell_receipts(message, treatment)
        if treatment.then_drop:
            self.cut()

    async def _tell_receipts(self, message: Node, treatment: Treatment) -> None:
        for receipt in messages.receipts(self._world, message, treatment.receipts, treatment.repeated):
            await messages.pass_on(self._world, self._companion, receipt)

    async def _acknowledge(self, message: Node, treatment: Treatment) -> None:
        attrs = {"class": "message", "id": message["id"], "from": message["to"], "t": self._world.stamp}
        if treatment.error:
            attrs["error"] = str(treatment.error)
        match treatment.ack:
            case Ack.NOW:
                await self._link.send(Node("ack", attrs))
            case Ack.HELD:
                self._held.append(Node("ack", attrs))
            case Ack.NEVER:
                pass

    async def _confirmed(self, receipt: Node) -> None:
        """The client has, or somebody has read, what a phone or another companion sent."""
        kind = receipt.get("type") or "delivered"
        if kind in _NOT_DELIVERED:
            self._world.counts[f"receipt {kind}"] += 1
        else:
            marks = [receipt["id"], *(item["id"] for each in receipt.each("list") for item in each.each("item"))]
            for mark in marks:
                self._companion.mailbox.confirm("message", mark, "")
                sender = self._world.phones.find(Jid.parse(receipt["to"])) if receipt.get("to") else None
                if sender is not None:
                    sender.confirmed.append((self._companion.name, mark, kind))
        attrs = {"class": "receipt", "id": receipt["id"], "from": receipt.get("to") or SERVER}
        await self._link.send(Node("ack", attrs | ({"type": receipt["type"]} if receipt.get("type") else {})))
