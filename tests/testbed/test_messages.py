"""What the server does with a message, with a client of which only the keys exist."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.whatsapp_web import messages
from testbed.whatsapp_web.behaviour import Receipts
from testbed.whatsapp_web.content import pad, read, text_message
from testbed.whatsapp_web.keys import Seed
from testbed.whatsapp_web.nodes import Node
from testbed.whatsapp_web.phones import Companion, Phone, Published
from testbed.whatsapp_web.protobufs import Message
from testbed.whatsapp_web.signal import SignalPhone
from testbed.whatsapp_web.world import World

OWNER, PERSON = "5511900000001", "5511988887777"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, seed=os.urandom(32), now=lambda: 1_000_000.0)
    yield made
    made.close()


class Client:
    """A linked device, as far as keys go."""

    def __init__(self, world: World, owner: Phone) -> None:
        self.world = world
        self.signal = SignalPhone(Seed(os.urandom(32)))
        self.companion = owner.new_companion(noise=b"", identity=self.signal.identity.public)
        bundle = self.signal.bundle()
        assert bundle.one_time is not None
        keys = Published(bundle.registration, bundle.signed_id, bundle.signed, bundle.signature)
        self.companion.publish(keys, [bundle.one_time])
        owner.link(self.companion)

    def message(self, to: Phone, mark: str, plain: bytes) -> Node:
        """Encrypted for a phone."""
        if not self.signal.knows(to.number):
            self.signal.begin(to.number, to.signal.bundle())
        kind, data = self.signal.encrypt(to.number, pad(plain, 3))
        enc = Node("enc", {"v": "2", "type": kind}, data)
        return Node("message", {"id": mark, "to": str(to.lid_jid), "type": "text"}, [enc])


@pytest.fixture
def client(world: World) -> Client:
    return Client(world, world.phones.get(OWNER))


@pytest.fixture
def person(world: World) -> Phone:
    return world.phones.get(PERSON)


async def test_a_repeated_message_is_not_decrypted_again_but_recorded(client: Client, person: Phone) -> None:
    node = client.message(person, "A1", text_message("hello"))
    for _ in range(3):
        await messages.deliver(client.world, client.companion, node)
    arrivals = client.world.record.at(PERSON)
    assert [(each.id, each.copy, each.text) for each in arrivals] == [("A1", copy, "hello") for copy in (1, 2, 3)]
    assert client.world.counts["unreadable"] == 0


async def test_what_cannot_be_decrypted_is_recorded_with_the_reason(client: Client, person: Phone) -> None:
    node = client.message(person, "A1", text_message("hello"))
    stranger = Client(client.world, client.world.phones.get("5511900000002"))
    await messages.deliver(client.world, stranger.companion, node)
    (arrival,) = client.world.record.at(PERSON)
    assert arrival.kind == "unreadable"
    assert "another identity" in arrival.text
    assert client.world.record.doubles() == []


async def test_a_picture_that_was_never_uploaded_is_unreadable(client: Client, person: Phone) -> None:
    picture = Message()
    picture.imageMessage.directPath = "/v/" + "0" * 64
    await messages.deliver(client.world, client.companion, client.message(person, "A1", picture.SerializeToString()))
    (arrival,) = client.world.record.at(PERSON)
    assert (arrival.kind, arrival.text) == ("unreadable", "the message names a file that was never uploaded")


async def test_nothing_arrives_at_a_number_that_does_not_exist(client: Client, person: Phone) -> None:
    node = client.message(person, "A1", text_message("hello"))
    person.exists = False
    await messages.deliver(client.world, client.companion, node)
    assert client.world.record.total == 0


async def test_what_people_write_waits_for_a_device_that_is_away(client: Client, person: Phone) -> None:
    marks = [await messages.say(client.world, person, client.companion, text) for text in ("one", "two")]
    waiting = client.companion.mailbox.waiting()
    assert [node["id"] for node in waiting] == marks
    texts = []
    for node in waiting:
        enc = node.need("enc")
        opened = client.signal.decrypt(PERSON, enc["type"], enc.data, identity=person.signal.identity.public)
        texts.append(read(opened[: -opened[-1]]).text)
    assert texts == ["one", "two"]


async def test_a_device_without_keys_cannot_be_written_to(world: World, person: Phone) -> None:
    bare: Companion = world.phones.get(OWNER).new_companion(noise=b"", identity=b"")
    with pytest.raises(ValueError, match="has not uploaded its keys"):
        await messages.say(world, person, bare, "hello")


def test_receipts_say_as_much_as_they_were_told_to(world: World) -> None:
    message = Node("message", {"id": "A1", "to": "99123@lid"})
    told = {each: messages.receipts(world, message, each, 1) for each in Receipts}
    assert told[Receipts.NONE] == []
    assert [node.get("type") for node in told[Receipts.READ]] == ["", "read"]
    assert [node.attrs["id"] for node in messages.receipts(world, message, Receipts.DELIVERED, 2)] == ["A1", "A1"]
