"""The stream: changes arrive, nobody waits for a slow reader, and a stop ends everything."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import ConfigurationError
from fleetcast.runtime import Runtime
from fleetcast.settings import Settings
from fleetcast.store.connection import Database
from fleetcast.web.app import serve
from fleetcast.web.live import Frame, Live, Watcher
from tests.web.seeding import FIGURES, add_campaign, add_device, add_tally

SOON = 20.0
"""Seconds after which a test gives up waiting; a bound, not a pause."""


def on_port(runtime: Runtime, port: int) -> Runtime:
    return replace(runtime, settings=Settings(**runtime.settings.model_dump() | {"port": port}))


@asynccontextmanager
async def serving(runtime: Runtime) -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Task[None]]]:
    """The real server on a free port; stopped and awaited at the end."""
    stop = asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(on_port(runtime, 0), stop, ready=address.set_result))
    try:
        async with asyncio.timeout(SOON):
            yield await address, stop, task
    finally:
        stop.set()
        async with asyncio.timeout(SOON):
            await task


@asynccontextmanager
async def watching(url: str, workspace: int) -> AsyncIterator[httpx2.Response]:
    """A browser's open stream."""
    async with httpx2.AsyncClient() as client, client.stream("GET", f"{url}/events?workspace={workspace}") as answer:
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


async def test_a_changed_tally_reaches_an_open_page_and_only_what_changed(
    runtime: Runtime, db: Database, workspace: WorkspaceId
) -> None:
    await add_device(db, workspace, "Kedai 1")
    campaign = await add_campaign(db, workspace, "Spring <b>", sums=FIGURES)
    async with serving(runtime) as (url, _, _), watching(url, workspace) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "default-src" in answer.headers["content-security-policy"]
        told = events(answer.aiter_lines())
        _, first = await anext(told)
        for part in ("state", "going", "needs", "devices", "others"):
            assert f'hx-target="#{part}"' in first
        assert "Spring &lt;b&gt;" in first
        await add_tally(db, campaign, "sent", 7777)
        async for _, fragment in told:
            if "8,277" in fragment:
                assert 'hx-target="#going"' in fragment
                assert 'hx-target="#devices"' not in fragment
                break


async def test_a_stop_ends_open_streams_and_the_server_at_once(
    runtime: Runtime, db: Database, workspace: WorkspaceId
) -> None:
    await add_device(db, workspace, "Kedai 1")
    async with serving(runtime) as (url, stop, task), watching(url, workspace) as answer:
        told = events(answer.aiter_lines())
        await anext(told)
        began = asyncio.get_running_loop().time()
        stop.set()
        assert [e async for e in told] == []  # the stream ends, it is not cut
        await task
        assert asyncio.get_running_loop().time() - began < 3


async def test_an_unknown_workspace_is_told_as_trouble(runtime: Runtime) -> None:
    async with serving(runtime) as (url, _, _), watching(url, 987_654) as answer:
        assert await anext(events(answer.aiter_lines())) == ("trouble", "There is no such workspace.")


async def test_a_port_in_use_is_one_sentence_that_names_the_setting(runtime: Runtime) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match=r"Port \d+ on 127\.0\.0\.1 is in use: set PORT"):
            await serve(on_port(runtime, taken.getsockname()[1]), asyncio.Event())


async def test_an_address_of_another_machine_names_the_setting(runtime: Runtime) -> None:
    elsewhere = replace(runtime, settings=Settings(**runtime.settings.model_dump() | {"host": "192.0.2.1", "port": 0}))
    with pytest.raises(ConfigurationError, match="FLEETCAST_HOST"):
        await serve(elsewhere, asyncio.Event())


async def test_a_slow_reader_gets_the_newest_frame_and_not_the_ones_before() -> None:
    watcher = Watcher()
    updates = watcher.updates(lifetime=SOON)
    watcher.put(Frame({"a": "1", "b": "1"}))
    assert (await anext(updates)).changed == {"a": "1", "b": "1"}
    for n in range(2, 100):
        watcher.put(Frame({"a": str(n), "b": "1"}))
    assert (await anext(updates)).changed == {"a": "99"}
    watcher.close()
    assert [u async for u in updates] == []


async def test_a_lost_database_is_told_and_the_return_too() -> None:
    watcher = Watcher()
    updates = watcher.updates(lifetime=SOON)
    watcher.put(Frame({"a": "1"}))
    await anext(updates)
    watcher.put(Frame({}, "The database does not answer."))
    assert (await anext(updates)).trouble == "The database does not answer."
    watcher.put(Frame({"a": "1"}))
    healed = await anext(updates)
    assert (healed.changed, healed.trouble) == ({}, None)


async def test_a_stream_ends_when_its_lifetime_is_over() -> None:
    assert [u async for u in Watcher().updates(lifetime=0)] == []


async def test_the_sampler_looks_only_while_somebody_watches(
    runtime: Runtime, db: Database, workspace: WorkspaceId
) -> None:
    looks = 0
    rendered = asyncio.Event()

    def render(_: object) -> dict[str, str]:
        nonlocal looks
        looks += 1
        rendered.set()
        return {"a": str(looks)}

    live = Live(runtime, render)
    task = asyncio.create_task(live.run())
    try:
        async with asyncio.timeout(SOON):
            with live.watching(workspace) as one, live.watching(workspace) as two:
                assert live.watched == 2
                first, second = await anext(one.updates(SOON)), await anext(two.updates(SOON))
                assert first == second  # one look for both
            assert live.watched == 0
            seen = looks
            rendered.clear()
            with live.watching(workspace) as again:
                await anext(again.updates(SOON))
            assert looks <= seen + 2
    finally:
        live.close()
        await task
