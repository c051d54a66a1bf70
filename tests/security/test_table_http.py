"""Row 49: what is no proper request is refused or cut off, by the real server, which goes on serving others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import httpx2
import pytest

from fleetcast.api.app import PREFIX, create_api
from fleetcast.runtime import Runtime
from fleetcast.web import reading
from fleetcast.web.app import create_app, serve
from tests.web.streams import SOON, on_port

HOST = b"Host: localhost\r\n"
POST = b"POST /sign-in HTTP/1.1\r\n" + HOST + b"Content-Type: application/x-www-form-urlencoded\r\n"
GET = b"GET /health HTTP/1.1\r\n" + HOST


@asynccontextmanager
async def serving(runtime: Runtime) -> AsyncIterator[str]:
    """The real server, API and all, on a free port."""
    stop = asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    own = on_port(runtime, 0)
    task = asyncio.create_task(serve(own, stop, ready=address.set_result, api=(PREFIX, create_api(own))))
    try:
        async with asyncio.timeout(SOON):
            yield await address
    finally:
        stop.set()
        async with asyncio.timeout(SOON):
            await task


async def say(url: str, *parts: bytes, every: float = 0.0) -> bytes:
    """Send these parts, `every` so many seconds, and return what came until the server closed the connection."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    answered = asyncio.ensure_future(reader.read())
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            if every:
                await asyncio.wait({answered}, timeout=every)
            if answered.done():
                break
        return await answered
    except ConnectionError:
        return await asyncio.wait_for(answered, SOON) if not answered.done() else b""
    finally:
        answered.cancel()
        writer.close()


async def heard(url: str, *parts: bytes, every: float = 0.0) -> bytes:
    try:
        return await say(url, *parts, every=every)
    except ConnectionError:
        return b""


async def lives(url: str) -> bool:
    async with httpx2.AsyncClient() as client:
        return (await client.get(f"{url}/health")).status_code == 200


def status(answer: bytes) -> int:
    """Of an answer; 0 for a connection that was closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


BROKEN = {
    "two lengths": POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\na=bcd",
    "the same length twice": POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\na=bc",
    "a list of lengths": POST + b"Content-Length: 4, 4\r\n\r\na=bc",
    "length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "an unknown encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a signed length": POST + b"Content-Length: +4\r\n\r\na=bc",
    "a negative length": POST + b"Content-Length: -4\r\n\r\na=bc",
    "an endless length": POST + b"Content-Length: 99999999999999999999999\r\n\r\na=bc",
    "a length in hexadecimal": POST + b"Content-Length: 0x4\r\n\r\na=bc",
    "a blank before the colon": GET + b"X-Thing : 1\r\n\r\n",
    "a header without a colon": GET + b"nonsense\r\n\r\n",
    "a NUL in a header": GET + b"X-Thing: a\x00b\r\n\r\n",
    "a line break in a name": GET + b"X\rThing: 1\r\n\r\n",
    "a wrong chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an old protocol": b"GET /health HTTP/9.9\r\n\r\n",
    "no protocol": b"hello\r\n\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
LARGE = {
    "one header": (GET + b"X-Thing: " + b"a" * 2**20 + b"\r\n\r\n",),
    "one header without an end": (GET + b"X-Thing: ", *[b"a" * 2**16] * 64),
    "one name without an end": (GET, *[b"a" * 2**16] * 64),
    "many headers": (GET, *[b"X-%d: a\r\n" % n for n in range(100_000)], b"\r\n"),
    "the address": (b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\n" + HOST + b"\r\n",),
    "an address without an end": (b"GET /", *[b"a" * 2**16] * 64),
    "the method": (b"G" * 2**20,),
}


async def test_s49_a_request_that_can_be_read_in_two_ways_is_read_in_none(runtime: Runtime) -> None:
    smuggled = GET + b"\r\n"
    wrong = {}
    async with serving(runtime) as url:
        for name, request in BROKEN.items():
            answer = await heard(url, request + smuggled)
            # What stood behind it must not have been taken for a request.
            if status(answer) not in {0, 400, 501, 505} or answer.count(b"HTTP/1.1 ") > 1 or b"alive" in answer:
                wrong[name] = answer
            assert await lives(url), name
    assert wrong == {}


async def test_s49_a_head_of_a_megabyte_is_refused(runtime: Runtime) -> None:
    wrong = {}
    async with serving(runtime) as url:
        for name, parts in LARGE.items():
            answer = await heard(url, *parts)
            if status(answer) not in {0, 400, 414, 431}:
                wrong[name] = answer[:200]
            assert await lives(url), name
    assert wrong == {}


async def test_s49_a_head_of_ordinary_size_is_taken(runtime: Runtime) -> None:
    """Browsers send all their cookies, and a dashboard may have a long address."""
    async with serving(runtime) as url:
        for head in (b"Cookie: x=" + b"a" * 30_000 + b"\r\n", b"X-A: a\r\n" * 500):
            answer = await heard(url, GET + head + b"Connection: close\r\n\r\n")
            assert status(answer) == 200, answer[:200]


async def test_s49_who_does_not_finish_the_head_is_let_go(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ASK_WITHIN", 0.3)
    async with serving(runtime) as url:
        for said in (b"", b"G", b"GET /health HTTP/1.1\r\n", GET, GET + b"X-Thing: "):
            began = asyncio.get_running_loop().time()
            drop_by_drop = [b"a"] * 1_000 if said else []
            answer = await heard(url, said, *drop_by_drop, every=0.05)
            assert status(answer) in {0, 400, 408}, answer
            assert asyncio.get_running_loop().time() - began < 5
        assert await lives(url)


async def test_s49_who_does_not_finish_a_second_head_is_let_go_too(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ASK_WITHIN", 0.3)
    async with serving(runtime) as url:
        answer = await heard(url, GET + b"\r\n", GET, *[b"a"] * 1_000, every=0.05)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.count(b"HTTP/1.1 ") <= 2
        assert await lives(url)


async def test_s49_who_does_not_finish_the_content_is_let_go(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reading, "CONTENT_WITHIN", 0.3)
    async with serving(runtime) as url:
        began = asyncio.get_running_loop().time()
        answer = await heard(url, POST + b"Content-Length: 900\r\n\r\n", *[b"a"] * 900, every=0.05)
        assert status(answer) in {0, 400, 408}
        assert asyncio.get_running_loop().time() - began < 5
        assert await lives(url)
    assert [r.getMessage() for r in caplog.records if r.exc_info] == []


async def test_s49_who_goes_on_after_the_answer_is_let_go(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LINGER_SECONDS", 0.3)
    async with serving(runtime) as url:
        began = asyncio.get_running_loop().time()
        head = b"POST /api/v1/devices HTTP/1.1\r\n" + HOST + b"Content-Length: 10000000\r\n\r\n"
        answer = await heard(url, head, *[b"a" * 1_000] * 1_000, every=0.02)
        assert status(answer) in {0, 401}, answer
        assert asyncio.get_running_loop().time() - began < 10
        assert await lives(url)


async def test_s49_who_is_slow_and_goes_on_is_waited_for(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CONTENT_WITHIN", 1.0)
    monkeypatch.setattr(reading, "SLOWEST", 10)
    async with serving(runtime) as url:
        body = [b"email=ann", *[b"%40exampl"] * 9]
        head = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % sum(map(len, body))
        answer = await heard(url, head, *body, every=0.2)
        assert status(answer) == 401, answer  # the e-mail address is wrong, the request is not


async def test_s49_a_hundred_slow_ones_keep_nobody_else_waiting(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(runtime) as url:
        where = urlsplit(url)
        open_ones = [await asyncio.open_connection(where.hostname, where.port) for _ in range(100)]
        for _, writer in open_ones:
            writer.write(GET + b"X-Thing: ")
            await writer.drain()
        async with asyncio.timeout(5):
            assert await lives(url)
        for _, writer in open_ones:
            writer.close()


# -- the name by which it is called


NAMES = (
    *(b"evil.example", b"localhost.evil.example", b"localhost@evil.example", b"evil.example#localhost", b"", b"[::1"),
    *(b"127.0.0.1.evil.example", b"evil.example:80", b"0x7f.1.evil.example"),
)


async def test_s49_on_loopback_another_name_is_refused(runtime: Runtime) -> None:
    async with serving(runtime) as url:
        for head in (b"", *(b"Host: " + name + b"\r\n" for name in NAMES)):
            answer = await heard(url, b"GET / HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n")
            assert status(answer) in {400, 421}, (head, answer)
            assert b"evil" not in answer
        assert await lives(url)


ANYWHERE = (
    *("/", "/sign-in", "/sign-in/", "/sign-in?next=//evil.example", "/health", "/nothing", "/static", "/static/"),
    *("/api/v1", "/api/v1/devices", "/api/v1/devices/", "/api/v1/docs", "/invitations/fci_none"),
)


async def test_s49_no_answer_takes_its_links_from_the_request(runtime: Runtime) -> None:
    public = replace(runtime, settings=runtime.settings.model_copy(update={"host": "0.0.0.0"}))
    app = create_app(public, (PREFIX, create_api(public)))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    lies = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "javascript", "Forwarded": "host=evil.example"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://evil.example", headers=lies) as client:
        for path in ANYWHERE:
            answer = await client.get(path)
            told = [v for k, v in answer.headers.items() if k != "date"] + [answer.text.replace("next=//evil", "")]
            assert not any("evil" in text for text in told), (path, told)
