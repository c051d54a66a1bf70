"""The stream: changes arrive, nobody waits for a slow reader, and a stop ends everything."""

import asyncio
import socket
from dataclasses import replace

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import ConfigurationError
from fleetcast.runtime import Runtime
from fleetcast.services.overview import Overview, overview
from fleetcast.settings import Settings
from fleetcast.store.connection import Database
from fleetcast.web import live, rendering
from fleetcast.web.app import serve
from fleetcast.web.live import Frame, Live, Watcher
from tests.api.tenants import Person
from tests.web.seeding import FIGURES, add_campaign, add_device, add_tally
from tests.web.streams import SOON, events, on_port, serving, watching


async def test_a_changed_tally_reaches_an_open_page_and_only_what_changed(
    runtime: Runtime, db: Database, workspace: WorkspaceId, person: Person
) -> None:
    await add_device(db, workspace, "Kedai 1")
    campaign = await add_campaign(db, workspace, "Spring <b>", sums=FIGURES)
    async with serving(runtime) as (url, _, _), watching(url, workspace, person) as answer:
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


async def test_many_changes_between_two_looks_are_one_event(
    runtime: Runtime, db: Database, workspace: WorkspaceId, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = asyncio.Semaphore(1)

    async def when_allowed(*given: object) -> Overview:
        await allowed.acquire()
        return await overview(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(live, "overview", when_allowed)
    monkeypatch.setattr(live, "PATIENCE", SOON)
    monkeypatch.setattr(live, "SIGN_OF_LIFE", SOON)
    await add_device(db, workspace, "Kedai 1")
    campaign = await add_campaign(db, workspace, "Spring", sums={("pending", None): 90_000})
    async with serving(runtime) as (url, stop, _), watching(url, workspace, person) as answer:
        told = events(answer.aiter_lines())
        await anext(told)
        for n in range(1001, 1031):
            await add_tally(db, campaign, "sent", n)
        allowed.release()
        _, fragment = await anext(told)
        assert "30,465" in fragment
        stop.set()
        assert [e async for e in told] == []
        allowed.release()  # the sampler's next look, which nobody waits for any more


async def test_a_stop_ends_open_streams_and_the_server_at_once(
    runtime: Runtime, db: Database, workspace: WorkspaceId, person: Person
) -> None:
    await add_device(db, workspace, "Kedai 1")
    async with serving(runtime) as (url, stop, task), watching(url, workspace, person) as answer:
        told = events(answer.aiter_lines())
        await anext(told)
        began = asyncio.get_running_loop().time()
        stop.set()
        assert [e async for e in told] == []  # the stream ends, it is not cut
        await task
        assert asyncio.get_running_loop().time() - began < 3


async def test_a_workspace_that_is_gone_is_told_as_trouble(runtime: Runtime) -> None:
    figures = Live(runtime, rendering.sections)
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as group:
        group.create_task(figures.run(), name="figures")
        with figures.watching(WorkspaceId(987_654)) as watcher:
            assert (await anext(watcher.updates(SOON))).trouble == "There is no such workspace."
        figures.close()


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


@pytest.mark.parametrize("the_first_gives_up", [False, True])
async def test_people_who_reload_together_share_one_look_that_began_after_they_asked(
    runtime: Runtime,
    db: Database,
    workspace: WorkspaceId,
    monkeypatch: pytest.MonkeyPatch,
    *,
    the_first_gives_up: bool,
) -> None:
    looks, seen, allowed = 0, asyncio.Event(), asyncio.Semaphore(0)

    async def when_allowed(*given: object) -> Overview:
        nonlocal looks
        looks += 1
        found = await overview(*given)  # type: ignore[arg-type]
        seen.set()
        await allowed.acquire()
        return found

    monkeypatch.setattr(live, "overview", when_allowed)
    figures = Live(runtime, lambda _: {})
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as people:
        first = people.create_task(figures.look(workspace), name="first")
        await seen.wait()
        await add_device(db, workspace, "Kedai 1")
        late = [people.create_task(figures.look(workspace), name=f"late {n}") for n in range(20)]
        if the_first_gives_up:
            first.cancel()
        allowed.release()
        allowed.release()
    assert looks == 2
    assert {task.result().fleet.total for task in late} == {1}


async def test_a_look_that_takes_too_long_is_told_to_all_who_wait_at_once(
    runtime: Runtime, workspace: WorkspaceId, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    async def never(*_: object) -> Overview:
        nonlocal looks
        looks += 1
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(live, "overview", never)
    monkeypatch.setattr(live, "PATIENCE", 0.05)
    figures = Live(runtime, lambda _: {})
    async with asyncio.timeout(SOON):
        found = await asyncio.gather(*(figures.look(workspace) for _ in range(20)), return_exceptions=True)
    assert [str(error) for error in found] == ["The database is too slow to answer."] * 20
    assert looks <= 2


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
