"""A pooler for tests, in transaction mode or in session mode.

What PgBouncer does, as far as a client can see: in transaction mode each transaction gets the backend that came back
last, whoever had it before, so the session that a client was promised is not one session.
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
    client: asyncio.StreamWriter | None
    """Who has it now."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    idle: bool = True

    async def pump(self) -> None:
        """Pass on what the server says to the client that has it."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, body = await _message(self.reader)
                if self.client is not None:
                    self.client.write(_packed(kind, body))
                if kind == b"Z":
                    self.idle = body == b"I"
                    self.ready.set()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind = await reader.readexactly(1)
    (length,) = struct.unpack("!i", await reader.readexactly(4))
    return kind, await reader.readexactly(length - 4)


def _packed(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


@dataclass(slots=True)
class _Pooler:
    socket: str
    by_transaction: bool
    free: list[_Backend] = field(default_factory=list)
    all: list[_Backend] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """One client: it logs in on a backend of its own, which in transaction mode everybody then uses."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        held: _Backend | None = await self._log_in(client, back)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                kind, body = await _message(client)
                if kind == b"X":
                    break
                if held is None:
                    held = self.free.pop()
                    held.client = back
                held.ready.clear()
                held.writer.write(_packed(kind, body))
                if kind in b"QS":  # a query, or the end of an extended one
                    await held.ready.wait()
                    held = self._given_back(held)
        back.close()

    async def _log_in(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> _Backend | None:
        (length,) = struct.unpack("!i", await client.readexactly(4))
        made = _Backend(*await asyncio.open_unix_connection(self.socket), back)
        self.all.append(made)
        self.tasks.append(asyncio.create_task(made.pump(), name="pump"))
        made.writer.write(struct.pack("!i", length) + await client.readexactly(length - 4))
        await made.ready.wait()
        return self._given_back(made)

    def _given_back(self, backend: _Backend) -> _Backend | None:
        """The backend, if the client keeps it."""
        if not (self.by_transaction and backend.idle):
            return backend
        backend.client = None
        self.free.append(backend)
        return None


@asynccontextmanager
async def pooler(postgres_socket: str, *, by_transaction: bool) -> AsyncIterator[int]:
    """The port of a pooler before the server that listens on this socket and trusts everybody."""
    here = _Pooler(postgres_socket, by_transaction)
    server = await asyncio.start_server(here.serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    for backend in here.all:
        backend.writer.close()
        await backend.writer.wait_closed()
    await asyncio.gather(*here.tasks)
