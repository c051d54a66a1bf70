"""Frames, handshakes and nodes, byte by byte and against the other library."""

import asyncio
import contextlib
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyaileys.auth.creds import KeyPair as TheirKeyPair
from pyaileys.crypto import noise as theirs
from pyaileys.crypto.curve import DefaultCurve25519Provider

from testbed.whatsapp_web.jids import Jid
from testbed.whatsapp_web.keys import KeyPair, Seed
from testbed.whatsapp_web.link import Frames, Link
from testbed.whatsapp_web.nodes import Malformed, Node, decode, encode
from testbed.whatsapp_web.noise import Cipher, ServerIdentity
from testbed.whatsapp_web.protobufs import HandshakeMessage
from testbed.whatsapp_web.websocket import Closed


class Memory:
    """A socket whose two ends are in this process."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.outgoing: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive(self) -> bytes:
        data = await self.incoming.get()
        if data is None:
            raise Closed
        return data

    async def send(self, data: bytes) -> None:
        self.outgoing.put_nowait(data)

    async def close(self) -> None:
        self.incoming.put_nowait(None)

    def abort(self) -> None:
        self.incoming.put_nowait(None)


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(3, "big") + data


@given(st.lists(st.binary(max_size=50), max_size=8), st.data())
@settings(max_examples=50, deadline=None)
def test_frames_are_the_same_however_the_bytes_are_cut(frames: list[bytes], data: Any) -> None:
    stream = b"WA\x06\x03" + b"".join(map(framed, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    async def read() -> tuple[bytes, list[bytes]]:
        socket = Memory()
        for piece in pieces:
            socket.incoming.put_nowait(piece)
        reader = Frames(socket)
        return await reader.header(), [await reader.receive() for _ in frames]

    assert asyncio.run(read()) == (b"WA\x06\x03", frames)


async def test_where_a_client_was_routed_before_is_skipped() -> None:
    socket = Memory()
    socket.incoming.put_nowait(b"ED\x00\x01" + framed(b"routing") + b"WA\x06\x03")
    assert await Frames(socket).header() == b"WA\x06\x03"


async def test_what_does_not_begin_like_a_client_is_malformed() -> None:
    socket = Memory()
    socket.incoming.put_nowait(b"GET / HTTP/1.1\r\n")
    with pytest.raises(Malformed):
        await Frames(socket).header()


async def test_the_other_librarys_handshake_comes_to_the_same_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    server, curve = ServerIdentity(Seed(b"server"), now=1_000_000), DefaultCurve25519Provider()
    monkeypatch.setattr(theirs, "WA_CERT_PUBLIC_KEY", server.root)
    ephemeral, static = curve.generate_keypair(), curve.generate_keypair()
    client = theirs.NoiseHandler(key_pair=ephemeral)
    socket = Memory()
    opening = asyncio.create_task(Link.open(socket, server, KeyPair(os.urandom(32)), lambda: 0.0), name="server")
    hello = HandshakeMessage()
    hello.clientHello.ephemeral = ephemeral.public
    socket.incoming.put_nowait(client.encode_frame(hello.SerializeToString()))
    answer = HandshakeMessage.FromString((await socket.outgoing.get())[3:])
    finish = HandshakeMessage()
    finish.clientFinish.static = client.process_handshake(answer, static)
    finish.clientFinish.payload = client.encrypt(b"payload")
    socket.incoming.put_nowait(client.encode_frame(finish.SerializeToString()))
    await client.finish_init()
    link = await opening
    assert (link.opened.client, link.opened.payload) == (static.public, b"payload")
    for number in range(3):
        await link.send(Node("iq", {"id": str(number)}))
        assert decode(client.decrypt((await socket.outgoing.get())[3:])).attrs == {"id": str(number)}
        socket.incoming.put_nowait(client.encode_frame(encode(Node("ack", {"id": str(number)}))))
        assert (await link.receive())["id"] == str(number)
    socket.incoming.put_nowait(framed(b"no cipher text of this connection"))
    with pytest.raises(Malformed, match="does not fit"):
        await link.receive()


async def test_a_client_that_kept_the_certificate_resumes_with_its_first_message() -> None:
    """IK, as clients do that know the server's key."""
    server = ServerIdentity(Seed(b"server"), now=1_000_000)
    ephemeral, static = KeyPair(os.urandom(32)), KeyPair(os.urandom(32))
    client = Initiator(b"WA\x06\x03", server.static.public)
    hello = HandshakeMessage()
    hello.clientHello.ephemeral = ephemeral.public
    client.authenticate(ephemeral.public)
    client.mix_into_key(ephemeral.agree(server.static.public))
    hello.clientHello.static = client.encrypt(static.public)
    client.mix_into_key(static.agree(server.static.public))
    hello.clientHello.payload = client.encrypt(b"log me in")
    socket = Memory()
    socket.incoming.put_nowait(b"WA\x06\x03" + framed(hello.SerializeToString()))
    link = await Link.open(socket, server, KeyPair(os.urandom(32)), lambda: 0.0)
    assert (link.opened.client, link.opened.payload) == (static.public, b"log me in")
    answer = HandshakeMessage.FromString((await socket.outgoing.get())[3:]).serverHello
    client.authenticate(answer.ephemeral)
    client.mix_into_key(ephemeral.agree(answer.ephemeral))
    client.mix_into_key(static.agree(answer.ephemeral))
    assert client.decrypt(answer.payload) == server.certificate
    await link.send(Node("success"))
    assert decode(client.opened().open((await socket.outgoing.get())[3:])).tag == "success"


class Initiator(theirs.NoiseHandler):
    """The other side of IK, of the other library's parts."""

    def __init__(self, header: bytes, server: bytes) -> None:
        super().__init__(key_pair=TheirKeyPair(public=b"", private=b""), noise_header=b"")
        self._hash = self._salt = self._enc_key = self._dec_key = b"Noise_IK_25519_AESGCM_SHA256" + bytes(4)
        self.authenticate(header)
        self.authenticate(server)

    def opened(self) -> Cipher:
        """What reads the server's frames."""
        return Cipher(self._local_hkdf(b"")[1])


tags = st.sampled_from(["iq", "message", "enc", "receipt", "a tag of one's own", "to"])
letters = st.characters(codec="ascii", categories=["L", "N", "P"], exclude_characters="@")
attributes = st.dictionaries(*[st.text(letters, min_size=1, max_size=20)] * 2, max_size=3)
trees = st.recursive(
    st.builds(Node, tags, attributes, st.none() | st.binary(max_size=300)),
    lambda inner: st.builds(Node, tags, attributes, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    max_leaves=8,
)


@given(trees)
@settings(max_examples=50, deadline=None)
def test_a_node_comes_through_as_it_was(node: Node) -> None:
    assert decode(encode(node)) == node


@given(st.binary(max_size=60))
def test_bytes_that_are_no_node_are_malformed_and_nothing_else(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        decode(data)


@pytest.mark.parametrize("text", ["5511999@s.whatsapp.net", "5511999:3@s.whatsapp.net", "99123:1@lid", "99123@lid"])
def test_addresses_are_read_and_written(text: str) -> None:
    assert str(Jid.parse(text)) == text


def test_an_agent_in_an_address_is_passed_over() -> None:
    assert Jid.parse("5511999.0:3@s.whatsapp.net") == Jid("5511999", device=3)
    with pytest.raises(ValueError, match="no address"):
        Jid.parse("5511999")
