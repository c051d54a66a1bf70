"""Browsers for the benchmark of the page: one that reloads, some that listen, and some that hang.

Separate from what is judged, and written on bare streams: on two cores a client that is worth its name as a browser
would be measured together with the page. All are signed in with the same session.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from fleetcast.services.accounts.entrance import cookie_name

HOST = "127.0.0.1"
LONGEST_EVENT = 4 << 20
TINY_BUFFER = 4096
"""Bytes that a hanging browser's socket takes before the server has to keep the rest."""
PATIENCE = 30.0
"""Seconds after which a page that does not come ends the benchmark."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request: when it began (monotonic) and how many seconds the complete answer took."""

    began: float
    seconds: float
    size: int


@dataclass(frozen=True, slots=True)
class Door:
    """Where the dashboard listens, and the session with which it opens."""

    port: int
    token: str = ""
    key: str = ""
    """Of the API; for programs, which have no session."""

    def request(self, path: str) -> bytes:
        """What a browser or a program sends for an address."""
        proof = f"Cookie: {cookie_name(secure=False)}={self.token}\r\n" if self.token else ""
        proof += f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        return f"GET {path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\n{proof}Connection: close\r\n\r\n".encode()


async def visit(door: Door, path: str, wanted: bytes) -> Visit:
    """Ask on a fresh connection and read to its end. Raises RuntimeError for any answer that is not the one wanted."""
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(HOST, door.port)
        try:
            writer.write(door.request(path))
            answer = await reader.read(-1)
        finally:
            writer.close()
    seconds = time.monotonic() - began
    if not answer.startswith(b"HTTP/1.1 200 ") or wanted not in answer:
        raise RuntimeError(f"GET {path} was answered with {answer[:300]!r}")
    return Visit(began, seconds, len(answer))


@dataclass(slots=True)
class Stream:
    """What one listening browser has heard: when each event came (monotonic), and how many bytes it had."""

    heard: list[tuple[float, int]] = field(default_factory=list)

    def between(self, begun: float, ended: float) -> list[int]:
        """Sizes of the events that came in this time."""
        return [size for at, size in self.heard if begun <= at < ended]

    def waits(self, begun: float, ended: float) -> list[float]:
        """Seconds between events in this time. The silence after the last one counts: it might have gone on."""
        before = max((at for at, _ in self.heard if at < begun), default=begun)
        times = [before, *(at for at, _ in self.heard if begun <= at < ended), ended]
        return [later - earlier for earlier, later in pairwise(times)]


async def _listen(reader: asyncio.StreamReader, stream: Stream) -> None:
    """Read events until cancelled; comments that only keep a connection alive are none."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"the stream was answered with {head[:300]!r}")
    while True:
        chunk = await reader.readuntil(b"\n\n")  # the server sends each event as one chunk, after a line with its size
        event = chunk.lstrip(b"\r\n").partition(b"\r\n")[2]
        if not event.startswith(b":"):
            stream.heard.append((time.monotonic(), len(event)))


@asynccontextmanager
async def listening(door: Door, path: str, browsers: int) -> AsyncIterator[list[Stream]]:
    """So many browsers with an open stream that read whatever comes. One that is cut off ends the block."""
    async with asyncio.TaskGroup() as group:
        streams, writers, tasks = [], [], []
        try:
            for _ in range(browsers):
                reader, writer = await asyncio.open_connection(HOST, door.port, limit=LONGEST_EVENT)
                writers.append(writer)
                writer.write(door.request(path))
                streams.append(Stream())
                tasks.append(group.create_task(_listen(reader, streams[-1]), name="browser"))
            yield streams
        finally:
            for task in tasks:
                task.cancel()
            for writer in writers:
                writer.close()


@asynccontextmanager
async def hanging(door: Door, path: str, browsers: int) -> AsyncIterator[None]:
    """So many browsers that ask for the stream, take next to nothing, and never read."""
    opened: list[socket.socket] = []
    try:
        for _ in range(browsers):
            browser = socket.socket()
            opened.append(browser)
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TINY_BUFFER)  # before connecting, or it is ignored
            browser.connect((HOST, door.port))
            browser.sendall(door.request(path))
        yield
    finally:
        for browser in opened:
            browser.close()
