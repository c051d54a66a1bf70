"""What Prometheus and load balancers are told about the fleet."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.engine.presence import Presence
from fleetcast.engine.supervisor import Beat, Supervisor
from fleetcast.engine.waiting import either, pause
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import create_campaign
from fleetcast.store import processes
from fleetcast.store.connection import Database
from fleetcast.store.identity import note_node
from fleetcast.web.app import create_app
from fleetcast.web.exposition import FIGURES
from tests.running import running_fleet, until
from tests.store.broadcast import make_broadcast
from tests.web.seeding import FIGURES as SUMS
from tests.web.seeding import add_campaign

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        yield from family.samples


async def scrape(client: httpx2.AsyncClient) -> dict[str, list[Sample]]:
    """Samples by name."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found: dict[str, list[Sample]] = {}
    for sample in samples(answer.text):
        found.setdefault(sample.name, []).append(sample)
    return found


def value(found: dict[str, list[Sample]], name: str, **labels: str) -> float:
    """The one value of a name, among those with these labels."""
    [sample] = [s for s in found[name] if labels.items() <= s.labels.items()]
    return float(sample.value)


@asynccontextmanager
async def running(loops: Supervisor, stop: asyncio.Event) -> AsyncIterator[None]:
    """These loops run while the block does, and stop however it ends."""
    run = asyncio.ensure_future(loops.run(stop))
    try:
        yield
    finally:
        stop.set()
        await run


async def test_an_empty_installation_has_figures_too(client: httpx2.AsyncClient) -> None:
    found = await scrape(client)
    assert value(found, "fleetcast_processes", kind="sender") == 0
    assert value(found, "fleetcast_messages", status="pending") == 0
    assert value(found, "fleetcast_shards_unowned") == 64
    for name in ("queue_age_seconds", "in_doubt_age_seconds", "inbox_age_seconds", "inbox_waiting", "troubles"):
        assert value(found, f"fleetcast_{name}") == 0
    assert value(found, "fleetcast_senders_wanted") == 1


async def test_busy_senders_want_more_of_them(client: httpx2.AsyncClient, db: Database) -> None:
    async with db.connection() as connection:
        await note_node(connection, "north", "north")
        for name in ("a", "b"):
            await processes.beat(connection, name, "sender", "north", [], {"busy": 0.9})
        await processes.beat(connection, "s", "scheduler", "north", [], {"busy": 0.9})
    assert value(await scrape(client), "fleetcast_senders_wanted") == 3


async def test_the_figures_are_those_of_what_was_sent(
    runtime: Runtime, tmp_path: Path, client: httpx2.AsyncClient
) -> None:
    people = [(f"Person {n}", f"+6012{n:07}") for n in range(25)]
    async with running_fleet(runtime, tmp_path) as fleet:
        device = await fleet.device("Kedai Rahsia")
        await fleet.leads(device, "name,phone\n" + "".join(f"{name},{phone}\n" for name, phone in people))
        campaign = await create_campaign(
            runtime, fleet.workspace.id, {"title": "Secret plan", "body": "Hello", "schedule": "now"}, actor="test"
        )
        await launch_campaign(runtime, fleet.workspace.id, campaign.id, actor="test")
        await until(lambda: fleet.has_finished(campaign.id))

        async def told() -> bool:
            found = await scrape(client)  # each process tells every two seconds, and not at the same moment
            each = ("fleetcast_results_total", "fleetcast_planned_total", "fleetcast_queued_total")
            return all(sum(s.value for s in found.get(name, [])) >= 25 for name in each)

        await until(told)
        found = await scrape(client)
        assert value(found, "fleetcast_claims_total") == 25
        assert value(found, "fleetcast_results_total") == 25
        assert 1 <= value(found, "fleetcast_claim_commits_total") <= 25
        assert 1 <= value(found, "fleetcast_result_commits_total") <= 25
        assert value(found, "fleetcast_planned_total") == 25
        assert value(found, "fleetcast_queued_total") == 25
        assert value(found, "fleetcast_dispatches_total") >= 1
        assert value(found, "fleetcast_sweeps_total") >= 1
        assert value(found, "fleetcast_orphans_total") == 0
        assert value(found, "fleetcast_attempts_under_way") == 0
        assert value(found, "fleetcast_overdue_seconds") == 0
        assert value(found, "fleetcast_lateness_seconds_count") == 25
        assert value(found, "fleetcast_lateness_seconds_bucket", le="+Inf") == 25
        assert 0 <= value(found, "fleetcast_lateness_seconds_sum") < 25 * 10
        assert value(found, "fleetcast_leases_held") == value(found, "fleetcast_leases_gained_total") == 64
        [lease] = found["fleetcast_leases"]
        assert lease.value == 64
        assert value(found, "fleetcast_busy_cores", process=lease.labels["process"], kind="sender") >= 0
        assert value(found, "fleetcast_shards_unowned") == 0
        assert [value(found, "fleetcast_resumes_total", after=a) for a in ("claims", "results", "spool")] == [0, 0, 0]
        assert value(found, "fleetcast_processes", kind="scheduler") == 1
        assert {s.labels["loop"] for s in found["fleetcast_loop_age_seconds"]} >= {"claims", "planner", "presence"}
        assert {s.labels["status"]: s.value for s in found["fleetcast_messages"]} == dict.fromkeys(
            ("pending", "queued", "sending", "in_doubt"), 0
        )
        text = (await client.get("/metrics")).text
    for name, phone in people:
        assert name not in text
        assert phone.lstrip("+") not in text
    for word in ("Kedai", "Secret", "My shop", str(runtime.settings.data), runtime.db.dsn):
        assert word not in text


async def test_what_is_counted_in_sql(client: httpx2.AsyncClient, db: Database, workspace: WorkspaceId) -> None:
    await add_campaign(db, workspace, "Spring", sums=SUMS)
    await add_campaign(db, workspace, "Summer", sums=SUMS, status="finished")
    found = await scrape(client)
    assert value(found, "fleetcast_messages", status="pending") == 800
    assert value(found, "fleetcast_messages", status="queued") == 60
    assert value(found, "fleetcast_messages", status="in_doubt") == 6


async def test_the_queue_is_as_old_as_what_its_device_has_kept_waiting(
    client: httpx2.AsyncClient, db: Database, workspace: WorkspaceId
) -> None:
    async def age() -> float:
        return value(await scrape(client), "fleetcast_queue_age_seconds")

    async with db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=2, people=6)
        await connection.execute("UPDATE devices SET state_since = state_since - interval '1 day'")
        await connection.execute("UPDATE broadcast_messages SET not_before = not_before - interval '2 hours'")
    assert 7_200 <= await age() < 7_300
    async with db.connection() as connection:  # both have just sent: what lies behind waits for its turn
        await connection.execute("UPDATE devices SET last_send_at = fleetcast_now() - interval '20 seconds'")
    assert 20 <= await age() < 100
    async with db.connection() as connection:  # one is away: nothing could go out there
        await connection.execute(
            "UPDATE devices SET last_send_at = NULL, state = 'offline' WHERE id = $1", made.devices[0]
        )
    assert 20 <= await age() < 100
    async with db.connection() as connection:  # a campaign that is paused waits for a person
        await connection.execute("UPDATE campaigns SET status = 'paused', paused_at = fleetcast_now()")
    assert await age() == 0


async def test_without_the_database_figures_are_a_sentence_and_no_secret(runtime: Runtime) -> None:
    async with Database("postgresql://fleetcast:hunter2@localhost:1/none") as nowhere:
        made = create_app(replace(runtime, db=nowhere))
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=made), base_url="http://localhost") as client:
            answer = await client.get("/metrics")
    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith("text/plain")
    assert "does not answer" in answer.text
    assert "hunter2" not in answer.text


async def test_a_loop_that_stands_still_makes_readiness_fail_and_is_named(
    client: httpx2.AsyncClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetcast.engine.presence.STANDS_STILL_SECONDS", 1.0)
    monkeypatch.setattr("fleetcast.engine.presence.BEAT_SECONDS", 0.1)
    hasty = replace(runtime, settings=runtime.settings.model_copy(update={"lease_seconds": 1.0}))
    loops, stop, go_on = Supervisor("sender"), asyncio.Event(), asyncio.Event()

    async def standing(stop: asyncio.Event, beat: Beat) -> None:
        await either(go_on, stop, 60.0)
        while not stop.is_set():
            beat()
            await pause(stop, 0.05)

    presence = Presence(hasty, loops, "sender")
    loops.add("claims", standing)

    async def is_ready() -> bool:
        return (await client.get("/ready")).status_code == 200

    async def is_not_ready() -> bool:
        return not await is_ready()

    async with running(loops, stop):
        await until(is_not_ready)
        answer = await client.get("/ready")
        assert answer.status_code == 503
        [(name, sentence)] = answer.json()["problems"].items()
        assert name == presence.name
        assert sentence.startswith("Loops of the sender stand still: claims for ")
        assert sentence.endswith(" seconds.")
        found = await scrape(client)
        assert value(found, "fleetcast_loops_stuck", process=presence.name) == 1
        assert value(found, "fleetcast_troubles") == 1
        assert value(found, "fleetcast_loop_age_seconds", loop="claims") >= 1
        assert (await client.get("/health")).status_code == 200
        go_on.set()
        await until(is_ready)


async def test_a_lost_process_makes_readiness_fail_until_another_is_there(
    client: httpx2.AsyncClient, runtime: Runtime, db: Database
) -> None:
    async def lose(name: str) -> None:
        async with db.connection() as connection:
            await connection.execute(
                "UPDATE processes SET beaten_at = beaten_at - $2::interval WHERE name = $1", name, timedelta(minutes=1)
            )

    lost, other = (Presence(runtime, Supervisor("sender"), "sender") for _ in range(2))
    async with db.connection() as connection:
        await connection.execute("INSERT INTO nodes (id, name) VALUES ($1, 'here')", lost._node)
    await lost.tell()
    assert (await client.get("/ready")).status_code == 200
    await lose(lost.name)
    answer = await client.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["problems"] == {
        lost.name: "The sender was not heard of for 60 seconds, and there is no other."
    }
    await other.tell()
    assert (await client.get("/ready")).status_code == 200
    found = await scrape(client)
    assert value(found, "fleetcast_processes", kind="sender") == 1
    assert value(found, "fleetcast_process_silent_seconds", process=lost.name) >= 60


async def test_the_page_on_metrics_names_exactly_what_is_told(client: httpx2.AsyncClient) -> None:
    text = (await client.get("/metrics")).text
    told = {f.name: f.type for f in text_string_to_metric_families(text)}
    rows = [
        line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `fleetcast")
    ]
    listed = {row[1].strip().strip("`").removesuffix("_total"): row[2].strip() for row in rows}
    assert listed == told
    assert len(told) > len(FIGURES)
