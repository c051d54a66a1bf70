"""The bad network itself: each of its faults does what its name says, seen from both ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from acceptance.proxy import Proxy


@pytest.fixture
async def heard() -> list[bytes]:
    """What the server behind it was sent."""
    return []


@pytest.fixture
async def network(short_directory: Path, heard: list[bytes]) -> AsyncIterator[Proxy]:
    """A proxy on TCP before a server on a unix socket that answers in capitals."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while said := await reader.readline():
                heard.append(said)
                writer.write(said.upper())
                await writer.drain()
        writer.close()

    socket = short_directory / f"{uuid4().hex[:8]}.sock"
    server = await asyncio.start_unix_server(answer, socket)
    async with Proxy(("127.0.0.1", 0), socket) as proxy:
        yield proxy
    server.close()
    socket.unlink(missing_ok=True)


class Client:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, network: Proxy) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", network.port))

    async def ask(self, word: bytes, seconds: float = 5.0) -> bytes:
        """The answer; b'' from a connection that was lost. Raises TimeoutError for silence."""
        self.writer.write(word + b"\n")
        try:
            async with asyncio.timeout(seconds):
                return (await self.reader.readline()).rstrip()
        except ConnectionError:
            return b""

    async def close(self) -> None:
        self.writer.transport.abort()


async def test_it_forwards_both_ways_and_cuts_only_what_is_open(network: Proxy) -> None:
    first, second = await Client.to(network), await Client.to(network)
    assert (await first.ask(b"one"), await second.ask(b"two")) == (b"ONE", b"TWO")
    assert network.cut() == 2
    assert await first.ask(b"still there?") == b""
    third = await Client.to(network)
    assert await third.ask(b"three") == b"THREE"
    for client in (first, second, third):
        await client.close()


async def test_it_refuses_new_connections_until_it_goes_on(network: Proxy) -> None:
    old = await Client.to(network)
    assert await old.ask(b"old") == b"OLD"
    network.refuse()
    new = await Client.to(network)
    assert await new.ask(b"new") == b""
    assert await old.ask(b"as ever") == b"AS EVER"
    network.go_on()
    late = await Client.to(network)
    assert await late.ask(b"late") == b"LATE"
    for client in (old, new, late):
        await client.close()


async def test_a_half_open_connection_is_heard_by_the_server_and_never_answered(
    network: Proxy, heard: list[bytes]
) -> None:
    deaf = await Client.to(network)
    assert await deaf.ask(b"before") == b"BEFORE"
    assert network.half_open() == 1
    with pytest.raises(TimeoutError):
        await deaf.ask(b"after", seconds=0.3)
    assert heard[-1] == b"after\n"
    fresh = await Client.to(network)
    assert await fresh.ask(b"fresh") == b"FRESH"
    network.go_on()
    with pytest.raises(TimeoutError):
        await deaf.ask(b"forgotten", seconds=0.3)
    for client in (deaf, fresh):
        await client.close()


async def test_a_slow_network_delays_every_piece(network: Proxy) -> None:
    client, loop = await Client.to(network), asyncio.get_running_loop()
    network.slow(0.2)
    begun = loop.time()
    assert await client.ask(b"slow") == b"SLOW"
    assert loop.time() - begun >= 0.4
    network.go_on()
    begun = loop.time()
    assert await client.ask(b"quick") == b"QUICK"
    assert loop.time() - begun < 0.2
    await client.close()
