"""How often somebody may ask: counted for each key, over all processes, told in headers, and never in the way."""

import dataclasses
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from acceptance.proxy import Proxy
from fleetcast.api.app import PREFIX, create_api
from fleetcast.clock import Clock
from fleetcast.domain.access import Scope
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.queue import rate_limits
from fleetcast.queue.client import Client, connect
from fleetcast.queue.rate_limits import REST, RateLimits
from fleetcast.runtime import Runtime
from fleetcast.web.app import create_app
from tests.api import tenants

LIMIT = 3
DEVICES = f"{PREFIX}/devices"


@pytest.fixture
async def app(runtime: Runtime) -> AsyncIterator[FastAPI]:
    """The application where everybody has three requests a minute."""
    settings = runtime.settings.model_copy(update={"api_requests_a_minute": LIMIT})
    made = create_app(runtime := dataclasses.replace(runtime, settings=settings), (PREFIX, create_api(runtime)))
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def asking(app: FastAPI, runtime: Runtime, workspace: WorkspaceId) -> AsyncIterator[httpx2.AsyncClient]:
    async with tenants.client(app, key=await tenants.key(runtime, workspace)) as opened:
        yield opened


def left(answer: httpx2.Response) -> int:
    """What the answer says is left of the minute."""
    assert answer.headers["RateLimit-Policy"] == f'"minute";q={LIMIT};w=60'
    found = re.fullmatch(r'"minute";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
    assert found, answer.headers["RateLimit"]
    assert 1 <= int(found[2]) <= 60
    return int(found[1])


async def test_every_answer_says_what_is_left_and_the_one_too_many_when_to_ask_again(
    asking: httpx2.AsyncClient,
) -> None:
    answers = [await asking.get(DEVICES) for _ in range(LIMIT + 1)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    assert [left(a) for a in answers] == [2, 1, 0, 0]
    refusal = answers[-1]
    assert refusal.headers["Content-Type"] == "application/problem+json"
    assert refusal.json()["type"] == "urn:fleetcast:too-many"
    assert refusal.headers["Retry-After"] == refusal.headers["RateLimit"].rpartition("t=")[2]
    assert "Retry-After" not in answers[0].headers


async def test_refusals_are_counted_and_say_what_is_left_like_everything_else(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId
) -> None:
    key = await tenants.key(runtime, workspace, {Scope.READ})
    async with tenants.client(app, key=key) as asking:
        missing = await asking.get(f"{DEVICES}/1")
        invalid = await asking.get(DEVICES, params={"limit": 0})
        forbidden = await asking.post(DEVICES, json={"name": "Shop"})
    assert [a.status_code for a in (missing, invalid, forbidden)] == [404, 422, 403]
    assert [left(a) for a in (missing, invalid, forbidden)] == [2, 1, 0]


async def test_what_is_refused_changes_nothing(
    asking: httpx2.AsyncClient, app: FastAPI, runtime: Runtime, workspace: WorkspaceId
) -> None:
    for _ in range(LIMIT):
        await asking.get(DEVICES)
    headers = {"Idempotency-Key": "once"}
    assert (await asking.post(DEVICES, json={"name": "Shop"}, headers=headers)).status_code == 429
    async with runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM devices") == 0
        assert await connection.fetchval("SELECT count(*) FROM idempotency_keys") == 0


async def test_keys_and_people_are_counted_each_for_themselves(
    asking: httpx2.AsyncClient, app: FastAPI, runtime: Runtime, workspace: WorkspaceId
) -> None:
    for _ in range(LIMIT + 1):
        last = await asking.get(DEVICES)
    assert last.status_code == 429
    person = await tenants.person(runtime, workspace)
    for who in ({"key": await tenants.key(runtime, workspace)}, {"session": person.token}):
        async with tenants.client(app, key=who.get("key"), session=who.get("session")) as other:
            assert left(await other.get(DEVICES)) == LIMIT - 1


async def test_a_person_is_counted_once_over_all_their_browsers(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId
) -> None:
    person = await tenants.person(runtime, workspace)
    for expected in (2, 1):
        async with tenants.client(app, session=person.token) as browser:
            assert left(await browser.get(DEVICES)) == expected


async def test_who_is_nobody_is_refused_without_a_count(app: FastAPI, runtime: Runtime) -> None:
    async with tenants.client(app, key="fck_unknown") as stranger:
        for _ in range(LIMIT + 1):
            answer = await stranger.get(DEVICES)
            assert answer.status_code == 401
            assert "RateLimit" not in answer.headers
    assert await counts(runtime.redis, runtime) == {}


async def test_processes_count_together(runtime: Runtime, redis_url: str) -> None:
    other = connect(redis_url)
    try:
        one, two = RateLimits(runtime.redis, runtime.keys), RateLimits(other, runtime.keys)
        spent = [await limits.spend("key:1", LIMIT) for limits in (one, two, one, two)]
    finally:
        await other.aclose()
    assert [s.allowed for s in spent] == [True, True, True, False]
    assert [s.remaining for s in spent] == [2, 1, 0, 0]


async def counts(redis: Client, runtime: Runtime) -> dict[str, int]:
    """Keys of this installation in Valkey, with the milliseconds that they live."""
    found = [key.decode() async for key in redis.scan_iter(match=f"{runtime.settings.redis_prefix}:*")]
    return {key: await redis.pttl(key) for key in found}


async def pass_time(redis: Client, runtime: Runtime, seconds: float) -> None:
    """What so many seconds do to the counts."""
    for key, lives in (await counts(redis, runtime)).items():
        await redis.pexpire(key, max(1, lives - int(seconds * 1000)))


async def test_counts_have_the_documented_beginning_and_an_end(runtime: Runtime) -> None:
    limits = RateLimits(runtime.redis, runtime.keys)
    for _ in range(3):
        await limits.spend("key:1", LIMIT)
        await limits.spend("user:2", LIMIT)
        found = await counts(runtime.redis, runtime)
        assert found
        assert all(key.startswith(f"{runtime.settings.redis_prefix}:limits:") for key in found)
        assert all(0 < lives <= 120_000 for lives in found.values()), found
        await pass_time(runtime.redis, runtime, 61)  # the next one begins a new minute beside the one before


async def test_there_is_room_again_when_retry_after_is_over(runtime: Runtime) -> None:
    limits = RateLimits(runtime.redis, runtime.keys)
    for _ in range(LIMIT):
        await limits.spend("key:1", LIMIT)
    refused = await limits.spend("key:1", LIMIT)
    assert not refused.allowed
    await pass_time(runtime.redis, runtime, refused.reset - 2)
    assert not (await limits.spend("key:1", LIMIT)).allowed
    await pass_time(runtime.redis, runtime, 2)
    assert (await limits.spend("key:1", LIMIT)).allowed


@pytest.fixture
async def network(redis_url: str, short_directory: Path) -> AsyncIterator[Proxy]:
    async with Proxy(short_directory / f"{uuid4().hex[:8]}.sock", Path(urlsplit(redis_url).path)) as proxy:
        yield proxy


@dataclasses.dataclass
class Watch:
    """A monotonic clock that a test moves."""

    seconds: float = 0.0

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.seconds)


@pytest.mark.parametrize("fault", ["refused", "silent"])
async def test_without_valkey_everybody_is_let_through_and_it_is_said_once(
    network: Proxy, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(rate_limits, "PATIENCE", 0.2)
    away, watch = connect(f"unix://{network.listen}"), Watch()
    limits = RateLimits(away, runtime.keys, watch.clock())
    for _ in range(LIMIT + 1):
        before = await limits.spend("key:1", LIMIT)
    assert not before.allowed
    if fault == "refused":
        network.refuse()
        network.cut()
    else:
        network.half_open()
    with capture_logs() as said:
        spent = [await limits.spend("key:1", LIMIT) for _ in range(5)]
    assert [(s.allowed, s.remaining) for s in spent] == [(True, LIMIT)] * 5
    assert [(line["event"], line["log_level"]) for line in said] == [("requests are not counted", "warning")]
    network.go_on()
    network.cut()
    assert (await limits.spend("key:1", LIMIT)).allowed, "one request waits for it, not every one"
    watch.seconds += REST
    assert not (await limits.spend("key:1", LIMIT)).allowed, "it counts again where it was"
    await away.aclose()


async def test_the_api_answers_while_valkey_is_away(network: Proxy, runtime: Runtime, workspace: WorkspaceId) -> None:
    away = connect(f"unix://{network.listen}")
    network.refuse()
    without = dataclasses.replace(runtime, redis=away)
    app = create_app(without, (PREFIX, create_api(without)))
    async with tenants.client(app, key=await tenants.key(runtime, workspace)) as asking:
        answer = await asking.get(DEVICES)
    assert answer.status_code == 200, answer.text
    assert answer.headers["RateLimit"].startswith('"minute";r=600;')
    await away.aclose()
