"""Content that is too much, too slow or breaks off: it is cut where it becomes so, and nothing is left of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.api import limits
from fleetcast.api.app import PREFIX, create_api
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device
from fleetcast.settings import Settings
from fleetcast.web import reading
from fleetcast.web.app import create_app, serve
from tests.api import tenants
from tests.web.streams import SOON, on_port

PIECE = 64 * 1024
SMALL = {"media_max_bytes": 200_000, "import_max_bytes": 300_000}


@pytest.fixture
async def device(runtime: Runtime, workspace: WorkspaceId) -> DeviceId:
    return (await add_device(runtime, workspace, "Anna")).id


@asynccontextmanager
async def small(runtime: Runtime, workspace: WorkspaceId) -> AsyncIterator[httpx2.AsyncClient]:
    """The API with small limits, and a client with a full key."""
    limited = replace(runtime, settings=Settings(**runtime.settings.model_dump() | SMALL))
    app = create_app(limited, (PREFIX, create_api(limited)))
    async with (
        app.router.lifespan_context(app),
        tenants.client(app, key=await tenants.key(runtime, workspace)) as asking,
    ):
        asking.base_url = httpx2.URL(tenants.BASE + PREFIX + "/")
        yield asking


class Endless:
    """Content without an end; counts what was taken of it."""

    def __init__(self, piece: bytes = bytes(PIECE)) -> None:
        self.taken = 0
        self._piece = piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.taken += len(self._piece)
            yield self._piece


PLACES: list[tuple[str, int]] = [
    ("devices", limits.JSON_BYTES),
    ("devices/{device}/leads", limits.JSON_BYTES),
    ("media/from", 2 * SMALL["media_max_bytes"] + 512 * 1024),
    ("media", SMALL["media_max_bytes"]),
    ("devices/{device}/lead-imports", SMALL["import_max_bytes"]),
    ("devices/{device}/lead-imports/preview", SMALL["import_max_bytes"]),
]


@pytest.mark.parametrize(("path", "largest"), PLACES)
@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "once"}])
async def test_s15_an_endless_content_without_a_length_is_cut_at_the_limit(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, path: str, largest: int, key: dict[str, str]
) -> None:
    content = Endless()
    async with small(runtime, workspace) as api:
        answer = await api.post(path.format(device=device), content=content, headers=key)
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:fleetcast:too-large"
    assert content.taken <= largest + 2 * PIECE
    assert list((runtime.settings.data / "uploads").glob("*")) == []


@pytest.mark.parametrize(("path", "largest"), PLACES)
async def test_s15_a_length_that_is_declared_too_large_is_refused_unread(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, path: str, largest: int
) -> None:
    async with small(runtime, workspace) as api:
        for length in (str(largest + 1), str(10 * 2**30), "9" * 30):
            content = Endless()
            answer = await api.post(path.format(device=device), content=content, headers={"Content-Length": length})
            assert (answer.status_code, content.taken) == (413, 0)


async def test_s15_a_wrong_length_does_not_lift_the_limit(runtime: Runtime, workspace: WorkspaceId) -> None:
    content = Endless()
    async with small(runtime, workspace) as api:
        answer = await api.post("media", content=content, headers={"Content-Length": "10"})
    assert answer.status_code == 413
    assert content.taken <= SMALL["media_max_bytes"] + 2 * PIECE


async def test_what_just_fits_is_taken(runtime: Runtime, workspace: WorkspaceId, device: DeviceId) -> None:
    start = b"phone\n0123456789\n"
    async with small(runtime, workspace) as api:
        exact = start + b"\n" * (SMALL["import_max_bytes"] - len(start))
        assert (await api.post(f"devices/{device}/lead-imports/preview", content=exact)).status_code == 200
        assert (await api.post(f"devices/{device}/lead-imports/preview", content=exact + b"\n")).status_code == 413
        fits = b'{"name": "D"}'.ljust(limits.JSON_BYTES)
        assert (await api.post("devices", content=fits, headers=_JSON)).status_code == 201
        assert (await api.post("devices", content=fits + b" ", headers=_JSON)).status_code == 413


_JSON = {"Content-Type": "application/json"}


async def test_who_may_not_is_told_so_whatever_they_send(app: FastAPI) -> None:
    content = Endless()
    async with tenants.client(app) as asking:
        answer = await asking.post("/api/v1/devices", content=content)
    assert (answer.status_code, content.taken) == (401, 0)


@pytest.mark.parametrize("path", ["devices", "media", "devices/{device}/lead-imports"])
async def test_s15_content_that_comes_too_slowly_is_given_up(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRACE_SECONDS", 0.2)

    async def stalling() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    async with small(runtime, workspace) as api, asyncio.timeout(SOON):
        answer = await api.post(path.format(device=device), content=stalling())
    assert (answer.status_code, answer.json()["type"]) == (408, "urn:fleetcast:too-slow")


async def _drive(app: FastAPI, path: str, key: str, messages: list[dict[str, Any]], **headers: str) -> int:
    """Ask with exactly these messages of the server; the status of the answer."""
    left = iter(messages)
    told: list[Any] = []
    named = {"host": "localhost", "authorization": f"Bearer {key}"} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(k.encode(), v.encode()) for k, v in named.items()],
        "server": ("localhost", 8080),
        "client": ("127.0.0.1", 1),
    }

    async def receive() -> dict[str, Any]:
        return next(left)

    async def send(message: Any) -> None:
        told.append(message)

    await app(scope, receive, send)
    return int(told[0]["status"])


@pytest.mark.parametrize("path", ["devices", "media", "devices/{device}/lead-imports"])
async def test_content_that_breaks_off_does_nothing_and_may_be_sent_again_with_its_key(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId, device: DeviceId, path: str
) -> None:
    key = await tenants.key(runtime, workspace)
    whole = {"devices": json.dumps({"name": "D"}).encode(), "media": b"x"}.get(path, b"phone\n0123456789\n")
    half: list[dict[str, Any]] = [
        {"type": "http.request", "body": whole[:1], "more_body": True},
        {"type": "http.disconnect"},
    ]
    full: list[dict[str, Any]] = [{"type": "http.request", "body": whole, "more_body": False}]
    where = f"{PREFIX}/{path.format(device=device)}"
    said = {"idempotency_key": "once", "content_type": "application/json", "content_length": str(len(whole))}
    assert await _drive(app, where, key, half, **said) == 400
    async with runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM idempotency_keys") == 0
        assert await connection.fetchval("SELECT count(*) FROM lead_imports") == 0
    assert list((runtime.settings.data / "uploads").glob("*")) == []
    expected = {"devices": 201, "media": 422}.get(path, 202)
    assert await _drive(app, where, key, full, **said) == expected


async def test_too_many_files_are_a_refusal_that_is_not_kept(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetcast.services.import_jobs.MOST_WAITING", 0)
    async with small(runtime, workspace) as api:
        path, said = f"devices/{device}/lead-imports", {"Idempotency-Key": "once"}
        refused = await api.post(path, content=b"phone\n0123456789\n", headers=said)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "30")
        monkeypatch.setattr("fleetcast.services.import_jobs.MOST_WAITING", 1)
        assert (await api.post(path, content=b"phone\n0123456789\n", headers=said)).status_code == 202


@pytest.mark.parametrize("text", ["nul\0", "\ud800"])
async def test_a_text_that_no_text_is_is_refused_and_no_fault(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, text: str
) -> None:
    asked: list[Callable[[httpx2.AsyncClient], Any]] = [
        lambda api: api.post(f"devices/{device}/pause", content=json.dumps({"reason": text}), headers=_JSON),
        lambda api: api.post(f"devices/{device}/leads", content=_leads(text), headers=_JSON),
        lambda api: api.get("leads", params={"niche": text.replace("\ud800", "\0")}),
    ]
    async with small(runtime, workspace) as api:
        for ask in asked:
            answer = await ask(api)
            assert answer.status_code == 422, answer.text


def _leads(text: str) -> str:
    return json.dumps({"leads": [{"phone": "+60123456789", "attributes": {"a": text}}]})


@asynccontextmanager
async def serving(runtime: Runtime) -> AsyncIterator[tuple[str, int]]:
    """The real server with the API; its host and port."""
    served = on_port(runtime, 0)
    stop = asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(served, stop, ready=address.set_result, api=(PREFIX, create_api(served))))
    try:
        async with asyncio.timeout(SOON):
            host, port = (await address).removeprefix("http://").split(":")
            yield host, int(port)
    finally:
        stop.set()
        await task


def _request(key: str, *headers: str) -> bytes:
    lines = [f"POST {PREFIX}/devices HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}", *headers]
    return "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode()


async def _for_ever(writer: asyncio.StreamWriter, chunk: bytes) -> None:
    while True:
        writer.write(chunk)
        await writer.drain()


async def test_s15_a_client_that_sends_on_and_on_is_told_why_and_then_cut(
    runtime: Runtime, workspace: WorkspaceId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LINGER_SECONDS", 0.5)
    key = await tenants.key(runtime, workspace)
    async with serving(runtime) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(_request(key, "Transfer-Encoding: chunked"))
        chunk = b"%x\r\n" % PIECE + bytes(PIECE) + b"\r\n"
        answer = asyncio.create_task(reader.readuntil(b"urn:fleetcast:too-large"))
        with pytest.raises(ConnectionError):
            await _for_ever(writer, chunk)
        assert (await answer).startswith(b"HTTP/1.1 413 ")
        writer.close()


async def test_a_content_that_ends_soon_after_its_refusal_leaves_the_connection_open(
    runtime: Runtime, workspace: WorkspaceId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LINGER_SECONDS", SOON)
    key = await tenants.key(runtime, workspace)
    async with serving(runtime) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        length = limits.JSON_BYTES + 1
        writer.write(_request(key, f"Content-Length: {length}") + bytes(length))
        writer.write(_request(key, "Content-Length: 13") + b'{"name": "D"}')
        await reader.readuntil(b"HTTP/1.1 413 ")
        await reader.readuntil(b"HTTP/1.1 201 ")
        writer.close()
