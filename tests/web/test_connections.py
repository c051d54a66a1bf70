"""Requests that no browser sends: refused by the server before any page sees them."""

import asyncio
import socket
from contextlib import suppress

import pytest

from fleetcast.runtime import Runtime
from fleetcast.web.address import listen
from tests.web.streams import SOON, serving


async def ask(url: str, *parts: bytes) -> bytes:
    """Send these one after the other on one connection, and read to its end, however that comes."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = b""
    with suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
    with suppress(ConnectionError):
        async with asyncio.timeout(SOON):
            while more := await reader.read(65_536):
                answer += more
    writer.close()
    return answer


HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
LAST = b"Connection: close\r\n\r\n"


async def test_an_ordinary_request_is_answered(runtime: Runtime) -> None:
    async with serving(runtime) as (url, _, _):
        assert (await ask(url, HEAD + LAST)).startswith(b"HTTP/1.1 200 ")
        assert (await ask(url, HEAD, b"Cookie: " + b"x" * 30_000 + b"\r\n", LAST)).startswith(b"HTTP/1.1 200 ")
        two = await ask(url, HEAD + b"\r\n", HEAD + LAST)
        assert two.count(b"HTTP/1.1 200 ") == 2


@pytest.mark.parametrize(
    "request_",
    [
        [HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n" + LAST],
        [HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n" + LAST],
        [HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n" + LAST],
        [HEAD + b"Content-Length: -1\r\n" + LAST],
        [HEAD + b"Cookie: " + b"x" * 1_000_000 + b"\r\n" + LAST],
        [HEAD, *[b"X-%d: " % n + b"x" * 1_000 + b"\r\n" for n in range(1_000)], LAST],
        [b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n" + LAST],
        [HEAD + b"X" * 200_000],
        [HEAD + b"Cookie: a\0b\r\n" + LAST],
        [b"GET / HTTP/1.1\r\nHost : localhost\r\n" + LAST],
        [b"\x16\x03\x01\x02\x00\x01"],
    ],
)
async def test_s49_a_request_that_is_none_or_too_large_is_refused(runtime: Runtime, request_: list[bytes]) -> None:
    async with serving(runtime) as (url, _, _):
        answer = await ask(url, *request_)
        assert answer == b"" or answer.startswith(
            (b"HTTP/1.1 400 ", b"HTTP/1.1 431 ")
        )  # nothing: it was still being sent
        assert (await ask(url, HEAD + LAST)).startswith(b"HTTP/1.1 200 ")


async def test_an_answer_does_not_wait_for_what_follows_it() -> None:
    """On a connection that is kept open the kernel would hold the second half of an answer back for 40 ms."""
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    class Connection(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            sock = transport.get_extra_info("socket")
            accepted.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    server = await asyncio.get_running_loop().create_server(Connection, sock=listen("127.0.0.1", 0))
    async with server, asyncio.timeout(SOON):
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await accepted
        writer.close()
