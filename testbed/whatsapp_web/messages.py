"""What happens to a message between a companion and a phone, in both directions.

Ciphertexts are opened here, as each recipient's phone would, and written to the record; what goes to companions of
others is passed on as it is. Connections and their orders are `session`'s.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass

from testbed.whatsapp_web import content as contents
from testbed.whatsapp_web.behaviour import Receipts
from testbed.whatsapp_web.content import Content
from testbed.whatsapp_web.jids import Jid
from testbed.whatsapp_web.media import Damaged
from testbed.whatsapp_web.nodes import Node
from testbed.whatsapp_web.phones import Companion, Phone
from testbed.whatsapp_web.ratchet import Undecryptable
from testbed.whatsapp_web.record import UNREADABLE, Arrival
from testbed.whatsapp_web.world import World

_PADDING = 8


@dataclass(frozen=True, slots=True)
class Sealed:
    """One recipient device's copy of a message."""

    to: Jid
    enc: Node


def sealed_copies(message: Node) -> Iterator[Sealed]:
    """The copies in a message, one for each device that it is for."""
    participants = message.child("participants")
    for each in participants.each("to") if participants is not None else ():
        for enc in each.each("enc"):
            yield Sealed(Jid.parse(each["jid"]), enc)
    for enc in message.each("enc"):
        yield Sealed(Jid.parse(message["to"]), enc)


async def deliver(world: World, sender: Companion, message: Node) -> None:
    """Hand a message to every device that it is for."""
    for copy in sealed_copies(message):
        phone = world.phones.find(copy.to)
        if phone is None or not phone.exists:
            continue
        if copy.to.device == 0:
            _arrive(world, sender, phone, message["id"], copy.enc)
        elif (companion := phone.companions.get(copy.to.device)) is not None:
            await pass_on(world, companion, _forwarded(world, sender, message, copy.enc))


def _arrive(world: World, sender: Companion, phone: Phone, mark: str, enc: Node) -> None:
    """Open a copy on the phone that it is for, and write it down."""
    before = world.record.copies(phone.number, sender.name, mark)
    if before:  # its key was used up by the first copy, so what is in it is known from that one
        first = world.record.first(phone.number, sender.name, mark)
        assert first is not None
        content, plain, file, seen = Content(first.kind, first.text), first.plain, first.file_sha256, first.seen
        name, mime, seconds, copied_to = first.file_name, first.mime, first.seconds, first.copied_to
    else:
        plain = file = name = mime = ""
        seconds = 0
        try:
            padded = phone.signal.decrypt(sender.name, enc["type"], enc.data, identity=sender.identity)
            opened = contents.unpad(padded)
            plain = base64.b64encode(opened).decode()
            content = contents.read(opened)
            if content.attachment is not None:
                name, mime, seconds = content.attachment.file_name, content.attachment.mime, content.attachment.seconds
                file = world.media.open(content.attachment)
        except (Undecryptable, Damaged) as error:
            world.counts["unreadable"] += 1
            content = Content(UNREADABLE, str(error))
        seen, copied_to = content.seen(file), content.copied_to
    world.record.append(
        Arrival(
            number=phone.number,
            sender=sender.name,
            id=mark,
            kind=content.kind,
            text=content.text,
            file_sha256=file,
            file_name=name,
            mime=mime,
            seen=seen,
            plain=plain,
            at=world.now(),
            copy=before + 1,
            seconds=seconds,
            copied_to=copied_to,
        )
    )


def _forwarded(world: World, sender: Companion, message: Node, enc: Node) -> Node:
    """A copy for a companion, as it comes out at the other end."""
    attrs = {
        "from": str(sender.lid),
        "sender_pn": str(Jid(sender.jid.user)),
        "type": message.get("type") or "text",
        "id": message["id"],
        "t": world.stamp,
    }
    identity = message.child("device-identity")
    return Node("message", attrs, [enc] if identity is None else [enc, identity])


async def pass_on(world: World, companion: Companion, node: Node) -> None:
    """Tell a companion something now, or at its next login."""
    companion.mailbox.put(node)
    session = world.sessions.get(companion.name)
    if session is not None:
        await session.tell(node)


def receipts(world: World, message: Node, told: Receipts, repeated: int) -> list[Node]:
    """What the recipient's phone tells about a message that it got."""
    attrs = {"id": message["id"], "from": str(Jid.parse(message["to"])), "t": world.stamp}
    if told is Receipts.NONE:
        return []
    kinds = [attrs] if told is Receipts.DELIVERED else [attrs, attrs | {"type": "read"}]
    return [Node("receipt", kind) for kind in kinds for _ in range(repeated)]


async def say(world: World, phone: Phone, companion: Companion, text: str) -> str:
    """A person writes to a companion's account; the id of the message. Raises ValueError."""
    mark = world.mark("IN")
    enc = _seal(phone, companion, contents.text_message(text))
    attrs = {
        "from": str(phone.lid_jid),
        "sender_pn": str(phone.jid),
        "type": "text",
        "id": mark,
        "t": world.stamp,
        "notify": f"Person {phone.number[-4:]}",
    }
    await pass_on(world, companion, Node("message", attrs, [enc]))
    return mark


async def type_on_phone(world: World, phone: Phone, recipient: Phone, text: str) -> str:
    """The owner of linked devices writes on the phone itself; they are shown what was written. The id."""
    mark, message = world.mark("PH"), contents.text_message(text)
    content = contents.read(message)
    world.record.append(
        Arrival(
            number=recipient.number,
            sender=f"{phone.number}:0",
            id=mark,
            kind=content.kind,
            text=text,
            file_sha256="",
            file_name="",
            mime="",
            seen=content.seen(""),
            plain=base64.b64encode(message).decode(),
            at=world.now(),
        )
    )
    attrs = {
        "from": str(phone.lid_jid),
        "recipient": str(recipient.lid_jid),
        "peer_recipient_pn": str(recipient.jid),
        "type": "text",
        "id": mark,
        "t": world.stamp,
    }
    for companion in list(phone.companions.values()):
        enc = _seal(phone, companion, contents.own_copy(str(recipient.lid_jid), message))
        await pass_on(world, companion, Node("message", attrs, [enc]))
    return mark


def _seal(phone: Phone, companion: Companion, message: bytes) -> Node:
    """Encrypt for a companion, beginning a conversation if there is none. Raises ValueError."""
    if not phone.signal.knows(companion.name):
        bundle = companion.bundle()
        if bundle is None:
            raise ValueError(f"{companion.name} has not uploaded its keys yet: it must log in first")
        phone.signal.begin(companion.name, bundle)
    kind, data = phone.signal.encrypt(companion.name, contents.pad(message, _PADDING))
    return Node("enc", {"v": "2", "type": kind}, data)
