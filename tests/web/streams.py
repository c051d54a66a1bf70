"""The real server with browsers on it: some read their stream, some never do."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import httpx2

from fleetcast.api.app import PREFIX, create_api
from fleetcast.runtime import Runtime
from fleetcast.settings import Settings
from fleetcast.web.app import serve
from tests.api.tenants import Person
from tests.web.visitors import SESSION

SOON = 20.0
"""Seconds after which a test gives up waiting; a bound, not a pause."""


def on_port(runtime: Runtime, port: int) -> Runtime:
    return replace(runtime, settings=Settings(**runtime.settings.model_dump() | {"port": port}))


@asynccontextmanager
async def serving(
    runtime: Runtime, *, with_api: bool = False, seconds: float = SOON
) -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Task[None]]]:
    """The real server on a free port; stopped and awaited at the end."""
    stop = asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    api = (PREFIX, create_api(runtime)) if with_api else None
    task = asyncio.create_task(serve(on_port(runtime, 0), stop, ready=address.set_result, api=api))
    try:
        async with asyncio.timeout(seconds):
            yield await address, stop, task
    finally:
        stop.set()
        async with asyncio.timeout(SOON):
            await task


@asynccontextmanager
async def watching(url: str, workspace: int, person: Person) -> AsyncIterator[httpx2.Response]:
    """The open stream in somebody's browser."""
    async with (
        httpx2.AsyncClient(cookies={SESSION: person.token}) as client,
        client.stream("GET", f"{url}/events?workspace={workspace}") as answer,
    ):
        yield answer


async def events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, str]]:
    """(name, data) of each event of a stream."""
    name, data = "message", []
    async for line in lines:
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            data.append(line[6:])
        elif not line and (data or name != "message"):
            yield name, "\n".join(data)
            name, data = "message", []


@contextmanager
def hanging(url: str, path: str, person: Person) -> Iterator[socket.socket]:
    """Somebody's browser that asks and then reads nothing, whose kernel takes next to nothing for it."""
    where = urlsplit(url)
    assert where.hostname is not None
    assert where.port is not None
    with socket.socket() as browser:
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # before connecting, or it is ignored
        browser.connect((where.hostname, where.port))
        head = f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nCookie: {SESSION}={person.token}\r\n\r\n"
        browser.sendall(head.encode())
        yield browser
