"""A browser that does not read: it costs the server one event, delays nobody, and is let go in the end."""

import asyncio
import gc
import logging
import re
from collections.abc import AsyncIterator

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.overview import Overview
from fleetcast.web import app, live, reading, rendering
from fleetcast.web.live import Frame, Live, Update, Watcher
from fleetcast.web.reading import ReadingConnection
from tests.api.tenants import Person
from tests.web.streams import events, hanging, serving, watching

LARGE = 200_000
"""Characters of an event: a few of them are more than any kernel takes for a socket that is not read."""
UNREAD = 10
"""Events that may be on their way to a browser: in the kernel, in the server, and one at each step between the two."""


@pytest.fixture
def produced(monkeypatch: pytest.MonkeyPatch) -> dict[Watcher, int]:
    """Events made for each browser. There is a new one many times a second, and each is large."""
    made: dict[Watcher, int] = {}
    original, looks = Watcher.updates, 0

    async def counted(watcher: Watcher, lifetime: float) -> AsyncIterator[Update]:
        made[watcher] = 0
        async for update in original(watcher, lifetime):
            made[watcher] += 1
            yield update

    def sections(_: Overview) -> dict[str, str]:
        nonlocal looks
        looks += 1
        return {"going": f"look {looks} " + "x" * LARGE}

    monkeypatch.setattr(Watcher, "updates", counted)
    monkeypatch.setattr(rendering, "sections", sections)
    monkeypatch.setattr(live, "INTERVAL", 0.0)
    return made


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Live]:
    """The sampler of each server that was started."""
    made: list[Live] = []

    class Known(Live):
        """One that can be found."""

        def __init__(self, *given: object) -> None:
            super().__init__(*given)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr(app, "Live", Known)
    return made


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[ReadingConnection]:
    """Every connection of the server."""
    made: list[ReadingConnection] = []

    class Known(ReadingConnection):
        """One that can be found."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            made.append(self)
            super().connection_made(transport)

    monkeypatch.setattr(app, "ReadingConnection", Known)
    return made


async def hear(told: AsyncIterator[tuple[str, str]], many: int) -> list[int]:
    """The numbers of the looks that the next events show."""
    return [int((await anext(told))[1].partition("look ")[2].split()[0]) for _ in range(many)]


async def test_a_browser_that_never_reads_delays_nobody_and_holds_a_few_events_whatever_happens(
    runtime: Runtime, workspace: WorkspaceId, person: Person, produced: dict[Watcher, int]
) -> None:
    path = f"/events?workspace={workspace}"
    async with serving(runtime) as (url, _, _), watching(url, workspace, person) as answer:
        told = events(answer.aiter_lines())
        with hanging(url, path, person), hanging(url, path, person):
            while len(produced) < 3:
                await hear(told, 1)
            await hear(told, 2 * UNREAD)
            stuck = sorted(produced.values())[:2]
            assert max(stuck) <= UNREAD
            seen = await hear(told, 2 * UNREAD)
            assert seen == sorted(set(seen))
            assert sorted(produced.values())[:2] == stuck  # nothing more was made for them
            gc.collect()
            frames = [o for o in gc.get_objects() if isinstance(o, Frame)]
            assert len(frames) <= len(produced) + 1  # each has the newest, or the one that it could not yet be told


async def test_a_browser_that_reads_again_is_told_the_newest_and_not_what_it_missed(
    runtime: Runtime, workspace: WorkspaceId, person: Person, produced: dict[Watcher, int]
) -> None:
    loop = asyncio.get_running_loop()
    async with serving(runtime) as (url, _, _), watching(url, workspace, person) as answer:
        told = events(answer.aiter_lines())
        with hanging(url, f"/events?workspace={workspace}", person) as browser:
            browser.setblocking(False)
            while len(produced) < 2:
                await hear(told, 1)
            newest = (await hear(told, 4 * UNREAD))[-1]
            text, shown = b"", [0]
            while shown[-1] < newest:
                text += await loop.sock_recv(browser, LARGE)
                shown += [int(n) for n in re.findall(rb"look (\d+) ", text)[len(shown) - 1 :]]
            assert len(shown) <= 2 * UNREAD
            assert newest - shown[-2] > UNREAD


async def test_a_browser_that_never_reads_is_let_go_while_the_others_stay(
    runtime: Runtime,
    workspace: WorkspaceId,
    person: Person,
    produced: dict[Watcher, int],
    figures: list[Live],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(runtime) as (url, _, _), watching(url, workspace, person) as answer:
        told = events(answer.aiter_lines())
        await hear(told, 1)
        monkeypatch.setattr(reading, "READ_WITHIN", 0.2)  # for those that connect from now on
        with hanging(url, f"/events?workspace={workspace}", person):
            while len(produced) < 2:
                await hear(told, 1)
            while figures[0].watched > 1:
                await hear(told, 1)
            assert await hear(told, UNREAD)


async def test_patience_begins_anew_with_each_event(
    runtime: Runtime,
    workspace: WorkspaceId,
    person: Person,
    produced: dict[Watcher, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends: list[asyncio.TimerHandle] = []
    original = ReadingConnection.pause_writing

    def told(connection: ReadingConnection) -> None:
        original(connection)
        assert connection.letting_go is not None
        ends.append(connection.letting_go)

    monkeypatch.setattr(ReadingConnection, "pause_writing", told)
    async with serving(runtime) as (url, _, _), watching(url, workspace, person) as answer:
        heard = events(answer.aiter_lines())
        await hear(heard, UNREAD)
        assert produced
        assert len(ends) > 1  # an event is more than the kernel takes at once
        assert [end.cancelled() for end in ends[:-1]] == [True] * len(ends[:-1])


async def test_an_answer_that_nobody_reads_does_not_keep_its_connection(
    runtime: Runtime,
    workspace: WorkspaceId,
    person: Person,
    connections: list[ReadingConnection],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "READ_WITHIN", 0.2)
    monkeypatch.setattr(rendering, "overview_page", lambda *_: "x" * LARGE)
    lost = asyncio.Event()
    original = ReadingConnection.connection_lost

    def told(connection: ReadingConnection, error: Exception | None) -> None:
        original(connection, error)
        lost.set()

    monkeypatch.setattr(ReadingConnection, "connection_lost", told)
    async with serving(runtime) as (url, _, _):
        with hanging(url, f"/?workspace={workspace}", person):
            await lost.wait()
            assert len(connections) == 1


async def test_a_stop_is_not_held_up_by_a_browser_that_never_reads(
    runtime: Runtime,
    workspace: WorkspaceId,
    person: Person,
    produced: dict[Watcher, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(runtime) as (url, stop, task), watching(url, workspace, person) as answer:
        told = events(answer.aiter_lines())
        with hanging(url, f"/events?workspace={workspace}", person):
            while len(produced) < 2:
                await hear(told, 1)
            await hear(told, 2 * UNREAD)
            began = asyncio.get_running_loop().time()
            stop.set()
            await task
            assert asyncio.get_running_loop().time() - began < app.STOP_WITHIN - 1
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []
