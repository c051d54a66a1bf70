"""The server's side of one WebSocket, over streams of asyncio. The protocol is the package websockets' own, sans I/O.

Streams of our own, because the same connection may instead bring an upload, and because a cut connection must look cut:
without a farewell.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

_PIECE: Final = 65_536


class Closed(Exception):
    """The other side is gone, or we are."""


class Socket(Protocol):
    """What carries a client's bytes; tests have one in memory."""

    async def receive(self) -> bytes:
        """The next binary message. Raises Closed."""

    async def send(self, data: bytes) -> None:
        """One binary message. Raises Closed."""

    async def close(self) -> None:
        """Say goodbye."""

    def abort(self) -> None:
        """Be gone."""


class WebSocket:
    """A WebSocket whose client has sent its request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._protocol = ServerProtocol(max_size=None)
        self._messages: deque[bytes] = deque()
        self._begun = bytearray()

    async def accept(self, head: bytes) -> bool:
        """Answer the request for an upgrade; whether it was one."""
        self._protocol.receive_data(head)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._protocol.send_response(self._protocol.accept(event))
        await self._flush()
        return self._protocol.handshake_exc is None

    async def receive(self) -> bytes:
        """The next binary message, pieces put together. Raises Closed."""
        while not self._messages:
            try:
                data = await self._reader.read(_PIECE)
            except OSError as error:
                raise Closed from error
            if not data:
                raise Closed
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, Frame):
                    self._take(event)
            await self._flush()
            if self._protocol.close_expected():
                raise Closed
        return self._messages.popleft()

    def _take(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.BINARY, Opcode.TEXT, Opcode.CONT):
            return
        self._begun += frame.data
        if frame.fin:
            self._messages.append(bytes(self._begun))
            self._begun.clear()

    async def send(self, data: bytes) -> None:
        """One binary message. Raises Closed."""
        if self._writer.is_closing():
            raise Closed
        self._protocol.send_binary(data)
        await self._flush()

    async def _flush(self) -> None:
        for piece in self._protocol.data_to_send():
            if piece:
                self._writer.write(piece)
        try:
            await self._writer.drain()
        except OSError as error:
            raise Closed from error

    async def close(self) -> None:
        """Say goodbye and hang up."""
        try:
            if not self._writer.is_closing():
                self._protocol.send_close(1000)
                await self._flush()
        except Closed:
            pass
        finally:
            self._writer.close()

    def abort(self) -> None:
        """Be gone without a word."""
        self._writer.transport.abort()
