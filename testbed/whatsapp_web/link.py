"""A client's connection as a stream of nodes: the prefix of three bytes, the handshake, the two ciphers.

What a slow or a silent server does to a connection is done here, since here everything said to a client passes.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Self

from testbed.whatsapp_web.keys import KeyPair
from testbed.whatsapp_web.nodes import Malformed, Node, decode, encode
from testbed.whatsapp_web.noise import Handshake, Opened, ServerIdentity
from testbed.whatsapp_web.websocket import Closed, Socket

_PREFIX: Final = 3
_MAGIC: Final = b"WA"
_ROUTING: Final = b"ED"
"""Before the header of clients that were told which server to come back to: skipped."""
LAST_WORDS_SECONDS: Final = 0.3
"""Between a last word and the end of the connection: whatsmeow loses a word whose socket closes at once."""


class Frames:
    """Frames with their length before them, whatever the messages of the socket that they come in."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self._buffer = bytearray()

    async def _take(self, amount: int) -> bytes:
        while len(self._buffer) < amount:
            self._buffer += await self.socket.receive()
        taken = bytes(self._buffer[:amount])
        del self._buffer[:amount]
        return taken

    async def header(self) -> bytes:
        """The four bytes that open every connection. Raises Malformed."""
        begin = await self._take(4)
        if begin[:2] == _ROUTING:
            size = await self._take(_PREFIX)
            await self._take(int.from_bytes(size, "big"))
            begin = await self._take(4)
        if begin[:2] != _MAGIC:
            raise Malformed(f"a connection began with {begin!r}")
        return begin

    async def receive(self) -> bytes:
        """The next frame."""
        return await self._take(int.from_bytes(await self._take(_PREFIX), "big"))

    async def send(self, frame: bytes) -> None:
        """One frame."""
        await self.socket.send(len(frame).to_bytes(_PREFIX, "big") + frame)


class Link:
    """Nodes both ways, once the handshake is over."""

    def __init__(self, frames: Frames, opened: Opened, delay: Callable[[], float]) -> None:
        self.opened = opened
        self._frames = frames
        self._delay = delay
        self._turn = asyncio.Lock()
        self._silent = False

    @classmethod
    async def open(cls, socket: Socket, server: ServerIdentity, ephemeral: KeyPair, delay: Callable[[], float]) -> Self:
        """Shake hands. Raises Malformed, Closed."""
        frames = Frames(socket)
        header = await frames.header()
        handshake = Handshake(header, await frames.receive(), server, ephemeral)
        await frames.send(handshake.reply)
        opened = handshake.resumed() or handshake.finish(await frames.receive())
        return cls(frames, opened, delay)

    async def send(self, node: Node) -> None:
        """Say something, after the server's delay. Raises Closed."""
        async with self._turn:  # one after the other, also when they wait: the cipher counts
            if delay := self._delay():
                await asyncio.sleep(delay)
            if not self._silent:
                await self._frames.send(self.opened.send.seal(encode(node)))

    async def receive(self) -> Node:
        """What the client says next. Raises Malformed, Closed."""
        while True:
            node = decode(self.opened.receive.open(await self._frames.receive()))
            if not self._silent:
                return node

    def be_silent(self) -> None:
        """Stay connected, hear nothing and say nothing from now on: a half-open connection."""
        self._silent = True

    async def farewell(self, node: Node) -> None:
        """Say a last word and hang up."""
        try:
            await self.send(node)
            await asyncio.sleep(LAST_WORDS_SECONDS)
        except Closed:
            return
        finally:
            await self._frames.socket.close()

    async def close(self) -> None:
        """Hang up in order."""
        await self._frames.socket.close()

    def cut(self) -> None:
        """Be gone without a word, as when a network fails."""
        self._frames.socket.abort()
