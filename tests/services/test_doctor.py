"""The check-up sees what is there, what is broken, and what soon will be."""

from dataclasses import replace
from datetime import timedelta

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.doctor import examine, list_concerns
from fleetcast.store import processes
from fleetcast.store.schema import head
from tests.store.broadcast import make_broadcast


async def test_a_healthy_installation_has_no_broken_promise_and_no_concern(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    async with runtime.db.connection() as connection:
        await make_broadcast(connection, workspace, devices=2, people=2)
    found = await examine(runtime)
    assert found.holds
    assert found.versions.schema == found.versions.schema_expected == head()
    assert found.versions.postgresql[0].isdigit()
    assert found.versions.redis[0].isdigit()
    assert found.places.data == runtime.settings.data
    assert found.places.disk_free_bytes
    assert (found.health.devices, found.health.devices_ready, found.health.campaigns_running) == (2, 2, 1)
    assert (found.health.senders, found.health.shards_leased, found.health.shards) == (1, 64, 64)
    assert abs(found.clock_difference) < timedelta(seconds=5)
    assert [c for c in found.concerns if c.about != "disk"] == []


async def test_a_broken_promise_is_named_with_its_rows(runtime: Runtime, workspace: WorkspaceId) -> None:
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=1, people=1)
        await connection.execute("INSERT INTO campaign_tallies VALUES ($1, 1, 'sent')", made.campaign)
    found = await examine(runtime)
    assert not found.holds
    [broken] = [p for p in found.promises if not p.holds]
    assert broken.invariant == 1
    assert broken.violations[0].subject == f"campaign {made.campaign}"


async def test_each_concern_is_said_once_its_fact_is_there(runtime: Runtime) -> None:
    found = await examine(runtime)
    quiet = replace(found.places, disk_free_bytes=None)
    now = found.health.now

    def about(**facts: object) -> list[str]:
        health = replace(found.health, **{k: v for k, v in facts.items() if hasattr(found.health, k)})  # type: ignore[arg-type]
        return [
            c.about
            for c in list_concerns(
                replace(found.versions, schema=str(facts.get("schema", head()))),
                replace(quiet, disk_free_bytes=facts.get("free")),  # type: ignore[arg-type]
                health,
                facts.get("difference", timedelta(0)),  # type: ignore[arg-type]
                production=True,
                now=now,
            )
        ]

    assert about() == []
    assert about(schema="0000") == ["schema"]
    assert about(free=1024) == ["disk"]
    assert about(difference=timedelta(seconds=-6)) == ["clock"]
    assert about(clock_offset=timedelta(days=30)) == ["clock"]
    assert about(campaigns_running=1) == ["senders"]
    assert about(shards_leased=63) == ["senders"]
    assert about(shards_leased=64) == []
    assert about(inbox_waiting=3, oldest_waiting=now - timedelta(minutes=6)) == ["inbox"]
    assert about(inbox_waiting=3, oldest_waiting=now - timedelta(minutes=4)) == []


async def test_a_loop_that_stands_still_is_a_concern_and_breaks_no_promise(runtime: Runtime) -> None:
    async with runtime.db.connection() as connection:
        await connection.execute("INSERT INTO nodes (id, name) VALUES ('n', 'n')")
        await processes.beat(connection, "host-1", "sender", "n", ["claims"], {"age:claims": 41.0})
    found = await examine(runtime)
    assert found.holds
    assert [c.sentence for c in found.concerns if c.about == "processes"] == [
        "Loops of the sender stand still: claims for 41 seconds. Its log says more."
    ]
