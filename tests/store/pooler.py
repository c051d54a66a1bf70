"""A transaction pooler for tests: every transaction of a client goes to the next of two backends.

What PgBouncer in transaction mode does, as far as a client can see: the session it was promised is not one session.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Backend:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    idle: bool = True

    async def pump(self, client: asyncio.StreamWriter | None) -> None:
        """Pass on what the server says; without a client only up to where it is ready."""
        while client is not None or not self.ready.is_set():
            kind, body = await _message(self.reader)
            if client is not None:
                client.write(_packed(kind, body))
            if kind == b"Z":
                self.idle = body == b"I"
                self.ready.set()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind = await reader.readexactly(1)
    (length,) = struct.unpack("!i", await reader.readexactly(4))
    return kind, await reader.readexactly(length - 4)


def _packed(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


async def _serve(postgres_socket: str, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
    (length,) = struct.unpack("!i", await client.readexactly(4))
    startup = struct.pack("!i", length) + await client.readexactly(length - 4)
    backends = [_Backend(*await asyncio.open_unix_connection(postgres_socket)) for _ in range(2)]
    try:
        async with asyncio.TaskGroup() as pumps:
            for backend in backends:
                backend.writer.write(startup)
            await backends[1].pump(None)
            running = [pumps.create_task(backend.pump(back)) for backend in backends]
            turn = 0
            await backends[turn].ready.wait()
            while True:
                kind, body = await _message(client)
                if kind == b"X":
                    break
                here = backends[turn]
                here.ready.clear()
                here.writer.write(_packed(kind, body))
                if kind in b"QS":  # a query, or the end of an extended one
                    await here.ready.wait()
                    turn = 1 - turn if here.idle else turn
            for task in running:
                task.cancel()
    finally:
        for writer in (back, *(backend.writer for backend in backends)):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def transaction_pooler(postgres_socket: str) -> AsyncIterator[int]:
    """The port of a pooler before the server that listens on this socket and trusts everybody."""
    sessions: set[asyncio.Task[None]] = set()

    async def serve(client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        sessions.add(task)
        await _serve(postgres_socket, client, back)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*sessions)
