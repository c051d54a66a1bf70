"""The way in: a proxy (CONNECT) that plays WhatsApp's hosts itself, with TLS, and tells WebSockets from uploads.

Clients reach it through the proxy setting that they have anyway. A connection stays one socket here, so thousands of
devices need no more files than that.
"""

import asyncio
import logging
import ssl
from http import HTTPStatus
from typing import Final

import h11

from testbed.whatsapp_web.door import serve
from testbed.whatsapp_web.media import Damaged
from testbed.whatsapp_web.websocket import Closed, WebSocket
from testbed.whatsapp_web.world import World

log = logging.getLogger(__name__)

_END_OF_HEAD: Final = b"\r\n\r\n"
_PIECE: Final = 65_536
_PATIENCE: Final = 30.0
"""Seconds for a client to say what it wants."""
_LARGEST: Final = 128 << 20
VERSION: Final = b'"client_revision":1043857760;'
"""To clients that look up which version the web client has today."""


class Front:
    """Serves connections; `cut` ends them all without a word."""

    def __init__(self, world: World, context: ssl.SSLContext) -> None:
        self._world = world
        self._context = context
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from its first byte to its last."""
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            if not self._world.behaviour.refuses_connections:
                await self._serve(reader, writer)
        except (OSError, Closed, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass
        except asyncio.CancelledError:
            pass  # the testbed ends; streams would report it as if somebody had to know
        except Exception:
            self._world.counts["broken"] += 1
            log.exception("A connection broke the testbed")
        finally:
            del self._open[task]
            writer.transport.abort()

    def cut(self) -> int:
        """Abort every connection; how many there were."""
        for writer in self._open.values():
            writer.transport.abort()
        return len(self._open)

    async def end(self) -> None:
        """Cut every connection and wait until all that served them have ended."""
        self.cut()
        if self._open:
            await asyncio.wait(self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_PATIENCE):
            head = await reader.readuntil(_END_OF_HEAD)
            if not head.startswith(b"CONNECT "):
                writer.write(b"HTTP/1.1 405 Only CONNECT\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                return
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            await writer.start_tls(self._context)
            head = await reader.readuntil(_END_OF_HEAD)
        if b"upgrade: websocket" in head.lower():
            socket = WebSocket(reader, writer)
            if await socket.accept(head):
                await serve(self._world, socket)
        else:
            await self._http(head, reader, writer)

    async def _http(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests one after the other, until the client has no more."""
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(head)
        while (request := await _request(connection, reader)) is not None:
            method, target, body = request
            self._world.counts[f"http {method}"] += 1
            status, answer = self._answer(method, target, body)
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
            for event in (
                h11.Response(status_code=status, headers=headers),
                h11.Data(data=answer),
                h11.EndOfMessage(),
            ):
                writer.write(connection.send(event) or b"")
            await writer.drain()
            if connection.our_state is not h11.DONE:
                return
            connection.start_next_cycle()

    def _answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        if method == "POST":
            try:
                return HTTPStatus.OK, self._world.media.upload(target, body)
            except Damaged as error:
                log.warning("An upload is refused: %s", error)
                return HTTPStatus.BAD_REQUEST, b"{}"
        if "sw.js" in target:
            return HTTPStatus.OK, VERSION
        found = self._world.media.sealed(target)
        return (HTTPStatus.OK, found) if found is not None else (HTTPStatus.NOT_FOUND, b"{}")


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[str, str, bytes] | None:
    """Method, target and body of the next request."""
    method = target = ""
    body = bytearray()
    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                data = await reader.read(_PIECE)
                if not data and connection.their_state is h11.IDLE:
                    return None
                connection.receive_data(data)
            case h11.Request() as request:
                method, target = request.method.decode(), request.target.decode()
            case h11.Data() as piece:
                body += piece.data
                if len(body) > _LARGEST:
                    raise Closed
            case h11.EndOfMessage():
                return method, target, bytes(body)
            case _:
                return None
