"""Monitoring and what is about the whole installation: for its owner, of real processes; nothing it shows is lost."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.access import Role
from fleetcast.engine.processes import run_scheduler, run_sender
from fleetcast.queue.hints import Hint, HintWriter
from fleetcast.runtime import Runtime
from fleetcast.services.workspaces import create_workspace
from fleetcast.store import shards, users
from fleetcast.store.processes import beat
from tests.api import tenants
from tests.api.tenants import Person
from tests.running import until
from tests.web import visitors
from tests.web.looking import Page
from tests.web.seeding import add_campaign, add_device
from tests.web.test_every_page import OF_THE_INSTALLATION

PAGES = (*OF_THE_INSTALLATION, "/monitoring/now", "/monitoring/redis/now")


@pytest.fixture
async def keeper(runtime: Runtime) -> Person:
    """The owner of the installation, with a workspace."""
    shop = await create_workspace(runtime, "Keeper's shop", time_zone="Asia/Kuala_Lumpur")
    made = await tenants.person(runtime, shop.id)
    async with runtime.db.transaction() as connection:
        await users.own_installation(connection, made.user_id)
    return made


@pytest.fixture
async def browser(app: FastAPI, keeper: Person) -> AsyncIterator[httpx2.AsyncClient]:
    async with visitors.browser(app, keeper) as opened:
        yield opened


async def a_sender(
    runtime: Runtime, name: str = "north:412:9ac1", *, figures: Mapping[str, float] | None = None
) -> str:
    """The row of a sender that owns all shards, as it would write it."""
    async with runtime.db.connection() as connection:
        await connection.execute("INSERT INTO nodes (id, name) VALUES ('n1', 'north') ON CONFLICT DO NOTHING")
        await beat(
            connection,
            name,
            "sender",
            "n1",
            [],
            {"age:claims": 0.2, "memory": 58e6, "busy": 0.31} | dict(figures or {}),
        )
        await shards.acquire(connection, name, None, 300, 64)
    return name


@pytest.mark.parametrize("page", PAGES)
async def test_its_owner_sees_it(browser: httpx2.AsyncClient, runtime: Runtime, page: str) -> None:
    await a_sender(runtime)
    answer = await browser.get(page)
    assert answer.status_code == 200, answer.text[-2_000:]
    assert page.endswith("/now") or answer.text.rstrip().endswith("</html>")
    assert not re.search(r"<script(?![^>]* src=)|\son\w+=|style=", answer.text), "something inline"


@pytest.mark.parametrize("role", list(Role))
async def test_f21_whoever_does_not_own_the_installation_is_shown_and_moves_nothing(
    app: FastAPI, runtime: Runtime, keeper: Person, role: Role
) -> None:
    name = await a_sender(runtime)
    other = await create_workspace(runtime, "Elsewhere")
    person = await visitors.signed_in(runtime, other.id, role=role)
    before = await visitors.everything(runtime.db)
    async with visitors.browser(app, person) as browser:
        assert "/monitoring" not in (await browser.get("/")).text
        for page in (*PAGES, f"/monitoring/processes/{name}", f"/monitoring/processes/{name}/now"):
            answer = await browser.get(page)
            assert answer.status_code == 403, page
            assert name not in answer.text
            assert "only the owner of the installation" in Page(answer.text).words
        for wish in ("drain", "resume"):
            assert (await browser.post(f"/monitoring/senders/{name}/{wish}")).status_code == 403
    after = await visitors.everything(runtime.db)
    assert {t for t in before if before[t] != after[t]} <= {"sessions"}


async def test_f38_the_table_shows_the_processes_that_really_run(browser: httpx2.AsyncClient, runtime: Runtime) -> None:
    stop = asyncio.Event()
    running = [asyncio.create_task(run(runtime, transports={}, stop=stop)) for run in (run_sender, run_scheduler)]

    async def shown() -> bool:
        words = Page((await browser.get("/monitoring/now")).text).words
        return "Sender" in words and "Scheduler" in words and "All keep time" in words

    try:
        await until(shown)
    finally:
        stop.set()
        await asyncio.gather(*running)
    await until(lambda: _says(browser, "No process tells of itself"))


async def _says(browser: httpx2.AsyncClient, words: str) -> bool:
    return words in Page((await browser.get("/monitoring/now")).text).words


async def test_a_shard_that_does_not_keep_time_is_named_with_its_sender(
    browser: httpx2.AsyncClient, runtime: Runtime
) -> None:
    name = await a_sender(runtime, figures={"waiting:23": 412, "late:23": 41.0, "waiting:4": 12, "late:4": 0.01})
    words = Page((await browser.get("/monitoring")).text).words
    assert "1 shard does not keep time" in words
    assert "Shard 23 Behind 0 devices, 412 messages in windows, one could have left 41 s ago" in words
    assert f"Owned by {name}" in words


async def test_a_shard_without_a_sender_says_that_its_devices_send_nothing(
    browser: httpx2.AsyncClient, runtime: Runtime
) -> None:
    name = await a_sender(runtime)
    async with runtime.db.connection() as connection:
        await shards.release(connection, name, [7])
    words = Page((await browser.get("/monitoring")).text).words
    assert "Shard 7 No sender" in words
    assert "its devices send nothing" in words


async def test_a_loop_that_is_slow_and_one_that_stands_still_are_told_apart(
    browser: httpx2.AsyncClient, app: FastAPI, runtime: Runtime
) -> None:
    await a_sender(runtime, figures={"age:hints": 14.0})
    words = Page((await browser.get("/monitoring")).text).words
    assert "Slow, not yet standing still: hints of north:412:9ac1 (14 s)" in words
    async with runtime.db.connection() as connection:
        await beat(connection, "north:412:9ac1", "sender", "n1", ["hints"], {"age:hints": 41.0})
    app.state.watch.forget()
    page = Page((await browser.get("/monitoring/processes/north:412:9ac1")).text)
    assert "Stands still 41 s" in page.words


async def test_a_rate_is_told_once_two_looks_can_tell_it(
    browser: httpx2.AsyncClient, app: FastAPI, runtime: Runtime
) -> None:
    await a_sender(runtime, figures={"claims": 1_000})
    assert "measuring" in Page((await browser.get("/monitoring")).text).words
    watch = app.state.watch
    watch._seen[0] = (
        watch._seen[0][0] - 30,
        {"north:412:9ac1": {"claims": 400.0, "lateness:0.05": 0, "lateness:+Inf": 0}},
    )
    watch.forget()
    await a_sender(runtime, figures={"claims": 1_000, "lateness:0.05": 600, "lateness:+Inf": 602})
    page = Page((await browser.get("/monitoring")).text)
    assert re.search(r"Going out 1,[12]\d\d messages a minute", page.words)
    assert "≤ 50 ms" in page.words


async def test_draining_asks_first_says_how_much_moves_and_can_be_taken_back(
    browser: httpx2.AsyncClient, runtime: Runtime, keeper: Person
) -> None:
    first, second = await a_sender(runtime), "south:7:0001"
    async with runtime.db.connection() as connection:
        await shards.release(connection, first, list(range(20)))
    await a_sender(runtime, second)
    page = Page((await browser.get(f"/monitoring/processes/{second}")).text)
    assert "Drain this sender?" in page.words
    assert "Its 20 shards with 0 devices go to 1 other sender within seconds" in page.words
    answer = await browser.post(f"/monitoring/senders/{second}/drain", follow_redirects=True)
    page = Page(answer.text)
    assert "The sender rests from now on" in page.words
    assert "To rest since" in page.words
    assert keeper.email in page.words
    assert "Drain this sender?" not in page.words
    words = Page((await browser.get("/monitoring")).text).words
    assert "1 sender rests by a person’s wish" in words
    assert "sender.drain" in words
    page = Page((await browser.get(f"/monitoring/processes/{first}")).text)
    assert "It is the only sender that works" in page.words
    answer = await browser.post(f"/monitoring/senders/{second}/resume", follow_redirects=True)
    assert "takes its share of the shards again" in Page(answer.text).words
    async with runtime.db.connection() as connection:
        rows = await connection.fetch("SELECT actor, action, subject, workspace_id FROM audit ORDER BY id DESC LIMIT 2")
    assert [tuple(r) for r in rows] == [
        (f"user:{keeper.email}", f"sender.{wish}", second, None) for wish in ("resume", "drain")
    ]


async def test_a_sender_that_is_none_is_not_found(browser: httpx2.AsyncClient) -> None:
    assert (await browser.get("/monitoring/processes/nobody:1:2")).status_code == 404
    assert (await browser.get("/monitoring/processes/nobody:1:2/now")).status_code == 404
    assert (await browser.post("/monitoring/senders/nobody:1:2/drain")).status_code == 404
    assert (await browser.post("/monitoring/senders/nobody:1:2/stop")).status_code in (404, 422)


async def test_f39_the_page_of_redis_only_looks_and_never_asks_for_all_keys(
    browser: httpx2.AsyncClient, runtime: Runtime
) -> None:
    await HintWriter(runtime.redis, runtime.keys).write({3: [Hint(5, [(1, 0), (2, 0)])]})

    async def stored() -> dict[bytes, bytes | None]:
        names = sorted([key async for key in runtime.redis.scan_iter(match=f"{runtime.keys.prefix}:*")])
        return {name: await runtime.redis.dump(name) for name in names}

    before, asked = await stored(), await _asked(runtime)
    page = Page((await browser.get("/monitoring/redis")).text)
    for _ in range(3):
        assert (await browser.get("/monitoring/redis/now")).status_code == 200
    assert await stored() == before, "a page that is looked at empties nothing"
    more = {name for name, n in (await _asked(runtime)).items() if n > asked.get(name, 0)}
    assert {"cmdstat_scan", "cmdstat_xinfo|stream"} <= more
    assert not more & {
        "cmdstat_keys",
        "cmdstat_del",
        "cmdstat_unlink",
        "cmdstat_flushdb",
        "cmdstat_xtrim",
        "cmdstat_xadd",
    }
    assert "Streams of hints 1" in page.words
    assert [
        a["title"] for a in page.attributes("li") if (a.get("title") or "").startswith("Shard 3: 1 entry of 10,000")
    ]
    assert not page.attributes("form", method="post", action="/monitoring/redis"), "there is nothing to press"


async def _asked(runtime: Runtime) -> dict[str, int]:
    told = await runtime.redis.info("commandstats")
    return {name: int(facts["calls"]) for name, facts in told.items()}


async def test_redis_that_is_away_is_said_and_the_rest_is_shown(app: FastAPI, keeper: Person, runtime: Runtime) -> None:
    await a_sender(runtime)

    class Away:
        """Nobody answers."""

        async def info(self) -> None:
            raise ConnectionError("away")

    object.__setattr__(app.state.runtime, "redis", Away())
    try:
        async with visitors.browser(app, keeper) as browser:
            words = Page((await browser.get("/monitoring")).text).words
            assert "Redis Does not answer" in words
            assert "PostgreSQL" in words
            answer = await browser.get("/monitoring/redis")
            assert answer.status_code == 503
    finally:
        object.__setattr__(app.state.runtime, "redis", runtime.redis)


async def test_about_names_versions_places_health_and_licences(browser: httpx2.AsyncClient, runtime: Runtime) -> None:
    page = Page((await browser.get("/settings/about")).text)
    for told in ("Fleetcast", "Python", "PostgreSQL", str(runtime.settings.data), "htmx.org", "0BSD", "MIT", "uplot"):
        assert told in page.words, told
    licences = [a["href"] for a in page.attributes("a") if "/static/vendor/" in (a.get("href") or "")]
    assert licences
    for link in licences:
        assert (await browser.get(str(link))).status_code == 200


async def test_monitoring_counts_no_message_and_lists_no_device(browser: httpx2.AsyncClient, runtime: Runtime) -> None:
    """However large the installation is: two thousand devices and their campaign cost no line on the page."""
    await a_sender(runtime)
    workspace = (await create_workspace(runtime, "Large")).id
    for n in range(3):
        await add_device(runtime.db, workspace, f"Hidden {n}")
    await add_campaign(runtime.db, workspace, "Hidden campaign", sums={("in_doubt", None): 3, ("pending", None): 9_000})
    answer = await browser.get("/monitoring")
    words = Page(answer.text).words
    assert "Hidden" not in answer.text
    assert "In doubt 3" in words
    assert "9,000 planned" in words
