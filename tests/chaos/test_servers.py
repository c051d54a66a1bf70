"""PostgreSQL and Redis lost, cut off, half open, slow, full or locked in the middle of a campaign.

Redis may be away for as long as it likes; without PostgreSQL nothing is claimed, and what was sent is kept. The judge
is the simulator's ledger.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import httpx2
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from fleetcast.domain.access import Role
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.services.accounts.membership import invite
from fleetcast.store import connection, users
from fleetcast.web.app import create_app
from tests.chaos.world import DEVICES, PATIENCE, POSTGRES, World, make_template, new_world
from tests.process_tree import eventually
from tests.web import visitors
from tests.web.streams import events, serving

REDIS_BACK = 10.0
POSTGRES_BACK = 15.0
"""Seconds from a server's return until messages go out again."""

Fault = Callable[[World], Awaitable[None]]


@pytest.fixture(scope="module")
async def own_servers(short_directory: Path) -> AsyncIterator[EmbeddedServers]:
    with EmbeddedServers(short_directory / "mortal", postgres_settings=POSTGRES) as servers:
        await make_template(servers)
        yield servers


@pytest.fixture
async def world(
    own_servers: EmbeddedServers, short_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", PATIENCE)
    async with new_world(own_servers, short_directory, tmp_path) as made:
        yield made


@pytest.fixture
def log() -> Iterator[list[EventDict]]:
    with capture_logs() as said:
        yield said


# -- Redis


async def redis_killed(world: World) -> None:
    await world.kill("Valkey", signal.SIGKILL)
    await world.goes_on(REDIS_BACK)  # by the look into SQL
    await world.revive()


async def redis_emptied(world: World) -> None:
    await world.empty_redis()


async def redis_cut_off(world: World) -> None:
    world.redis.refuse()
    assert world.redis.cut()
    await world.goes_on(REDIS_BACK)
    world.redis.go_on()


async def redis_half_open(world: World) -> None:
    assert world.redis.half_open()


@pytest.mark.parametrize("fault", [redis_killed, redis_emptied, redis_cut_off, redis_half_open])
async def test_c12_without_redis_sending_goes_on_and_no_faster_than_the_pace(world: World, fault: Fault) -> None:
    campaign = await world.campaign()
    await fault(world)
    await world.goes_on(REDIS_BACK)
    await world.ends_well(campaign)


# -- PostgreSQL


async def postgres_fast(world: World) -> None:
    await world.kill("PostgreSQL", signal.SIGINT)
    await nothing_is_claimed(world)
    await world.revive()


async def postgres_immediate(world: World) -> None:
    await world.kill("PostgreSQL", signal.SIGQUIT)
    await world.revive()


async def postgres_killed(world: World) -> None:
    await world.kill("PostgreSQL", signal.SIGKILL)
    await world.revive()


async def postgres_cut(world: World) -> None:
    for _ in range(8):  # so that some cuts come between a claim and its answer
        await eventually(lambda: world.postgres.cut() > 0, "there was something to cut")
        await world.goes_on(POSTGRES_BACK, by=1)


async def postgres_cut_off(world: World) -> None:
    world.postgres.refuse()
    assert world.postgres.cut()
    await nothing_is_claimed(world)
    world.postgres.go_on()


async def postgres_half_open(world: World) -> None:
    assert world.postgres.half_open()


async def postgres_slow(world: World) -> None:
    world.postgres.slow(0.4)
    await world.goes_on(POSTGRES_BACK)
    world.postgres.go_on()


async def nothing_is_claimed(world: World) -> None:
    """What was under way comes in; beyond it nothing leaves while three leases' renewals fail."""
    with capture_logs() as said:
        await eventually(lambda: count(said, "leases wait for the database") >= 1, "the loss is noticed")
        settled = world.accepted()
        await eventually(lambda: count(said, "leases wait for the database") >= 4, "time passes")
    assert world.accepted() <= settled + DEVICES, "only what was claimed before may still arrive"


def count(said: list[EventDict], event: str) -> int:
    return sum(line["event"] == event for line in said)


FAULTS = [
    postgres_fast,
    postgres_immediate,
    postgres_killed,
    postgres_cut,
    postgres_cut_off,
    postgres_half_open,
    postgres_slow,
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_c11_without_postgresql_claims_stop_and_everything_goes_on_afterwards(world: World, fault: Fault) -> None:
    campaign = await world.campaign()
    await fault(world)
    await world.goes_on(POSTGRES_BACK)
    await world.ends_well(campaign)


async def test_c08_a_claim_that_was_still_at_work_when_its_connection_was_lost_is_not_forgotten(world: World) -> None:
    campaign = await world.campaign()
    direct, watcher = await asyncpg.connect(world.dsn), await asyncpg.connect(world.dsn)
    async with direct.transaction():  # in which one always sees the same activity: another looks
        await direct.execute("LOCK TABLE message_attempts IN EXCLUSIVE MODE")
        await eventually(lambda: claims_wait(watcher), "a claim waits for the lock")
        world.postgres.cut()  # the server does not notice: it is busy waiting
    await direct.close()
    await watcher.close()
    await world.goes_on(POSTGRES_BACK)
    await world.ends_well(campaign)


async def claims_wait(connection: asyncpg.Connection) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'fleetcast claims' AND wait_event_type = 'Lock')"
        )
    )


async def test_c11_a_full_disk_is_back_pressure_with_an_alert_and_ends_with_it(
    world: World, log: list[EventDict]
) -> None:
    """Full for results alone, the hardest case: claims would still be taken. Only simulated: the error is PostgreSQL's
    own, raised by a trigger, because a disk of a certain size takes root.
    """
    campaign = await world.campaign()
    direct = await asyncpg.connect(world.dsn)
    await direct.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$; "
        "CREATE TRIGGER a_full_disk BEFORE UPDATE ON broadcast_messages FOR EACH ROW "
        "WHEN (NEW.status = 'sent' AND OLD.status = 'sending') EXECUTE FUNCTION full_disk()"
    )
    await eventually(lambda: count(log, "results wait for the database") >= 1, "results are kept")
    settled = world.accepted()
    await eventually(lambda: count(log, "results wait for the database") >= 5, "time passes")
    assert world.accepted() <= settled + DEVICES, "only what was claimed before may still arrive"
    [alert, *_] = [line for line in log if line["event"] == "results wait for the database"]
    assert "no space left on its disk" in alert["error"]
    assert alert["log_level"] == "warning"
    await direct.execute("DROP TRIGGER a_full_disk ON broadcast_messages")
    await direct.close()
    await world.goes_on(POSTGRES_BACK)
    await world.ends_well(campaign)


async def test_c11_locks_held_by_others_stop_claims_and_keep_results(world: World, log: list[EventDict]) -> None:
    campaign = await world.campaign()
    direct = await asyncpg.connect(world.dsn)
    async with direct.transaction():
        await direct.execute("LOCK TABLE broadcast_messages")
        settled = world.accepted()
        await eventually(lambda: count(log, "claims wait for the database") >= 1, "a claim is given up", 30)
        assert world.accepted() <= settled + DEVICES
    await direct.close()
    await world.goes_on(POSTGRES_BACK)
    await world.ends_well(campaign)


# -- pages


@pytest.fixture
async def page(world: World) -> AsyncIterator[httpx2.AsyncClient]:
    """The dashboard in the browser of who may see all of it, with more patience than it has."""
    person = await visitors.signed_in(world.fleet.runtime, world.fleet.workspace.id)
    async with world.fleet.runtime.db.transaction() as connection:
        await users.own_installation(connection, person.user_id)
    async with (
        serving(world.fleet.runtime) as (url, _, _),
        httpx2.AsyncClient(
            base_url=url,
            timeout=30,
            headers=visitors.OURS,
            cookies={visitors.SESSION: person.token},
            follow_redirects=True,
        ) as browser,
    ):
        yield browser


@pytest.fixture
async def addresses(world: World) -> dict[str, str]:
    """Every page by its path, of a workspace and an invitation that exist; not those of one device, lead or message."""
    runtime, workspace = world.fleet.runtime, world.fleet.workspace.id
    invited = await invite(runtime, workspace, "new@example.org", Role.VIEWER, actor="tests")
    paths = {str(route.path) for route in visitors.routes(create_app(runtime)) if "GET" in (route.methods or ())}
    paths = {path for path in paths if "{" not in path.replace("{token}", "")}
    assert {"/", "/events", "/sign-in", "/health", "/ready", "/devices", "/campaigns", "/settings/audit"} <= paths
    return {path: f"{path.replace('{token}', invited.token)}?workspace={workspace}" for path in paths}


async def statuses(addresses: dict[str, str], browser: httpx2.AsyncClient) -> dict[str, int]:
    """What every page answers, without waiting for the end of a stream."""

    async def ask(address: str) -> int:
        async with browser.stream("GET", address) as answer:
            return int(answer.status_code)

    return dict(zip(addresses, await asyncio.gather(*map(ask, addresses.values())), strict=True))


async def lose_postgres(world: World) -> None:
    world.postgres.refuse()
    world.postgres.cut()


async def mute_postgres(world: World) -> None:
    world.postgres.refuse()
    world.postgres.half_open()


async def lose_redis(world: World) -> None:
    world.redis.refuse()
    world.redis.cut()


@pytest.mark.parametrize("lose", [lose_postgres, mute_postgres, lose_redis])
async def test_pages_say_503_while_a_server_is_away_and_come_back(
    world: World, page: httpx2.AsyncClient, addresses: dict[str, str], lose: Fault, log: list[EventDict]
) -> None:
    browser = page
    async with browser.stream("GET", addresses["/events"]) as stream:
        told = events(stream.aiter_lines())
        await anext(told)
        await eventually(lambda: all_well(addresses, browser), "every page is there", POSTGRES_BACK)
        await lose(world)
        answers = await statuses(addresses, browser)
        assert answers["/health"] == answers["/sign-in/code"] == 200, "the process lives"
        assert answers["/ready"] == 503
        for path in ("/", "/events", "/sign-in", "/invitations/{token}"):  # who asks is known to PostgreSQL alone
            assert answers[path] == (200 if lose is lose_redis else 503), path
        assert set(answers.values()) <= {200, 503}
        if lose is not lose_redis:
            await next_event(told, "trouble")
        world.postgres.go_on()
        world.redis.go_on()
        world.postgres.cut()
        await eventually(lambda: all_well(addresses, browser), "every page is back", POSTGRES_BACK)
        await next_event(told, "message", "current")
    traces = [line for line in log if "exc_info" in line or line["log_level"] in ("error", "critical")]
    assert traces == []


async def all_well(addresses: dict[str, str], browser: httpx2.AsyncClient) -> bool:
    with suppress(httpx2.TransportError):
        return set((await statuses(addresses, browser)).values()) == {200}
    return False


async def next_event(told: AsyncIterator[tuple[str, str]], *names: str) -> None:
    async with asyncio.timeout(30):
        async for name, _ in told:
            if name in names:
                return
    raise AssertionError("the stream ended")
