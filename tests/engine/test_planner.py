"""Planning: everybody once, nobody who must not be written to, whatever happens half-way."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.engine.planner import Planner
from fleetcast.errors import Conflict
from fleetcast.queue.nudges import DISPATCHER, listening
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import launch_campaign, pause_campaign, resume_campaign
from fleetcast.services.campaigns import edit_campaign, show_campaign
from fleetcast.store import planning
from tests.campaign_scene import ACTOR, Scene


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> Scene:
    return Scene(runtime, workspace)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(planning, "CHUNK", 7)
    return 7 * planning.SIDE_BY_SIDE


async def test_every_lead_becomes_one_pending_row_frozen_at_the_start(scene: Scene) -> None:
    device = await scene.add_device()
    lead = await scene.add_lead(device, "+60123456789", name="Aisha", niches=["fitness"], attributes={"city": "Ipoh"})
    campaign = await scene.launched(deadline="2d")
    [row] = await scene.rows(campaign)
    report = await show_campaign(scene.runtime, scene.workspace, campaign)
    started = report.campaign.started_at
    assert started is not None
    assert (row["status"], row["priority"], row["attempts"]) == ("pending", 3, 0)
    assert (row["device_id"], row["lead_id"], row["recipient"]) == (device, lead, "+60123456789")
    assert row["dedupe_key"] == f"c:{campaign}:+60123456789"
    assert row["created_at"] == row["not_before"] == started
    assert row["expires_at"] == started + timedelta(days=2) == report.campaign.expires_at
    assert row["shard_id"] == await scene.value("SELECT shard_id FROM devices WHERE id = $1", device)
    assert row["variables"]["name"] == "Aisha"
    assert row["variables"]["city"] == "Ipoh"
    await scene.execute("UPDATE leads SET name = 'Somebody else' WHERE id = $1", lead)
    assert (await scene.rows(campaign))[0]["variables"]["name"] == "Aisha"
    assert report.campaign.planned_at is not None
    await scene.check_counts(campaign)


@pytest.mark.usefixtures("small_chunks")
async def test_c1_a_planner_that_dies_half_way_is_followed_by_one_that_adds_only_what_is_missing(scene: Scene) -> None:
    device = await scene.add_device()
    await scene.add_leads(device, 40)
    campaign = await scene.draft()
    await scene.launch(campaign)
    first = Planner(scene.runtime)
    await first.run_once()
    before = {r["id"] for r in await scene.rows(campaign)}
    assert len(before) == 14
    await scene.plan(Planner(scene.runtime))
    rows = await scene.rows(campaign)
    assert len(rows) == 40
    assert before < {r["id"] for r in rows}
    await scene.check_counts(campaign)


@pytest.mark.usefixtures("small_chunks")
async def test_c1_of_two_windows_one_is_committed_and_one_rolled_back_and_nobody_is_missed(scene: Scene) -> None:
    device = await scene.add_device()
    await scene.add_leads(device, 20)
    campaign = await scene.draft()
    await scene.launch(campaign)

    async def killed_before_its_last_commits() -> None:
        database = scene.runtime.db
        async with database.transaction() as connection:
            taken = await planning.take(connection, campaign)
            assert taken is not None
            windows = await planning.windows(connection, scene.workspace, taken.plan_cursor)
            first, second = windows
            async with database.transaction() as other:
                await planning.plan_window(other, taken, *second)
            async with database.transaction() as other:
                await planning.plan_window(other, taken, *first)
                await planning.advance(connection, campaign, windows)
                raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        await killed_before_its_last_commits()
    assert len(await scene.rows(campaign)) == 7
    assert await scene.value("SELECT plan_cursor FROM campaigns WHERE id = $1", campaign) == 0
    await scene.plan()
    assert len(await scene.rows(campaign)) == 20
    await scene.check_counts(campaign)


@pytest.mark.usefixtures("small_chunks")
async def test_f05_a_cursor_set_back_to_the_beginning_plans_nobody_twice(scene: Scene) -> None:
    device = await scene.add_device()
    await scene.add_leads(device, 20)
    campaign = await scene.launched()
    before = [r["id"] for r in await scene.rows(campaign)]
    await scene.execute("UPDATE campaigns SET plan_cursor = 0, planned_at = NULL WHERE id = $1", campaign)
    await scene.plan()
    assert [r["id"] for r in await scene.rows(campaign)] == before
    await scene.check_counts(campaign)


@pytest.mark.usefixtures("small_chunks")
async def test_c14_planners_at_the_same_time_plan_everybody_once(scene: Scene) -> None:
    for _ in range(3):
        await scene.add_leads(await scene.add_device(), 60)
    await scene.execute("UPDATE leads SET shared = true")
    campaigns = [await scene.draft(title=f"Sale {i}") for i in range(3)]
    for campaign in campaigns:
        await scene.launch(campaign)
    await asyncio.gather(*(scene.plan(Planner(scene.runtime)) for _ in range(4)))
    await scene.plan()
    for campaign in campaigns:
        assert len(await scene.rows(campaign)) == 60
        await scene.check_counts(campaign)


async def test_f06_one_person_who_is_several_leads_gets_one_copy_from_the_device_that_last_wrote(scene: Scene) -> None:
    first, second, third = [await scene.add_device() for _ in range(3)]
    for device in (first, second, third):
        await scene.add_lead(device, "+60111111111")
    await scene.add_lead(first, "+60122222222")
    campaign = await scene.launched()
    chosen = {r["recipient"]: r["device_id"] for r in await scene.rows(campaign)}
    assert chosen == {"+60111111111": first, "+60122222222": first}

    later = await scene.launched(title="From the second", devices=["device 2"])
    await scene.force(later, ["+60111111111"], "queued", "sending", "sent")
    after = await scene.launched(title="Again")
    chosen = {r["recipient"]: r["device_id"] for r in await scene.rows(after)}
    assert chosen == {"+60111111111": second, "+60122222222": first}


@pytest.mark.usefixtures("small_chunks")
async def test_f06_a_choice_that_changes_between_two_chunks_neither_drops_nor_doubles_the_person(scene: Scene) -> None:
    first, second = await scene.add_device(), await scene.add_device()
    await scene.add_lead(first, "+60111111111")
    await scene.add_leads(first, 20)
    await scene.add_lead(second, "+60111111111")
    old = await scene.launched(title="Old", devices=["device 2"])
    campaign = await scene.draft(title="New")
    await scene.launch(campaign)
    planner = Planner(scene.runtime)
    await planner.run_once()
    await scene.force(old, ["+60111111111"], "queued", "sending", "sent")
    await scene.plan(planner)
    assert (await scene.recipients(campaign)).count("+60111111111") == 1
    await scene.check_counts(campaign)


async def test_a_lead_without_a_required_variable_is_skipped_in_the_same_transaction(scene: Scene) -> None:
    device = await scene.add_device()
    await scene.execute("UPDATE workspaces SET attribute_keys = '{city}' WHERE id = $1", scene.workspace)
    cities: dict[str, dict[str, str | None]] = {
        "+60120000001": {"city": "Ipoh"},
        "+60120000002": {},
        "+60120000003": {"city": None},
        "+60120000004": {"city": ""},
        "+60120000005": {"city": " \u00a0\u2003\t"},
    }
    for phone, attributes in cities.items():
        await scene.add_lead(device, phone, attributes=attributes)
    campaign = await scene.launched(body="Hello {{ city }}")
    found = {r["recipient"]: (r["status"], r["reason"]) for r in await scene.rows(campaign)}
    assert found.pop("+60120000001") == ("pending", None)
    assert set(found.values()) == {("skipped", "missing_variable")}
    assert len(found) == 4
    report = await show_campaign(scene.runtime, scene.workspace, campaign)
    assert report.counts.by_reason == {"skipped": {"missing_variable": 4}}
    await scene.check_counts(campaign)


async def test_a_scheduled_campaign_starts_when_its_time_comes_and_not_before(scene: Scene) -> None:
    await scene.add_leads(await scene.add_device(), 3)
    soon = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M")
    campaign = await scene.draft(schedule=soon)
    assert (await scene.launch(campaign)).status == "scheduled"
    await scene.plan()
    assert await scene.rows(campaign) == []
    await scene.execute("UPDATE installation SET clock_offset = '1 hour'")
    await scene.plan()
    report = await show_campaign(scene.runtime, scene.workspace, campaign)
    assert report.campaign.status == "running"
    assert report.campaign.started_at is not None
    assert report.campaign.starts_at is not None
    assert report.campaign.started_at >= report.campaign.starts_at
    assert report.campaign.expires_at == report.campaign.started_at + timedelta(days=7)
    assert report.counts.planned == 3


async def test_f13_a_start_that_was_slept_through_is_made_up_for(scene: Scene) -> None:
    await scene.add_leads(await scene.add_device(), 3)
    soon = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M")
    campaign = await scene.draft(schedule=soon)
    await scene.launch(campaign)
    await scene.execute("UPDATE installation SET clock_offset = '3 days'")
    await asyncio.gather(*(scene.plan(Planner(scene.runtime)) for _ in range(3)))
    await scene.plan()
    report = await show_campaign(scene.runtime, scene.workspace, campaign)
    assert report.counts.planned == 3
    assert report.campaign.started_at is not None
    assert report.campaign.expires_at == report.campaign.started_at + timedelta(days=7)


@pytest.mark.usefixtures("small_chunks")
async def test_a_new_device_takes_part_in_a_running_campaign(scene: Scene) -> None:
    await scene.add_leads(await scene.add_device(), 5)
    campaign = await scene.launched(title="Takes them")
    other = await scene.launched(title="Does not", takes_newcomers=False)
    chosen = await scene.launched(title="One device", devices=["device 1"])
    newcomer = await scene.add_device("newcomer")
    await scene.plan()
    assert len(await scene.rows(campaign)) == 5
    await scene.add_leads(newcomer, 20, first=100)
    await scene.add_lead(newcomer, "+60120000001")
    await scene.plan()
    rows = await scene.rows(campaign)
    assert sum(r["device_id"] == newcomer for r in rows) == 20
    assert len(rows) == 25
    await scene.add_lead(newcomer, "+60199999999")
    await scene.plan()
    assert "+60199999999" in await scene.recipients(campaign)
    assert len(await scene.rows(other)) == len(await scene.rows(chosen)) == 5
    for each in (campaign, other, chosen):
        await scene.check_counts(each)


async def test_a_newcomer_of_a_device_that_came_while_planning_is_not_taken_against_the_will(scene: Scene) -> None:
    await scene.add_leads(await scene.add_device(), 5)
    campaign = await scene.draft(takes_newcomers=False)
    await scene.launch(campaign)
    await scene.add_leads(await scene.add_device(), 5, first=50)
    await scene.plan()
    assert len(await scene.rows(campaign)) == 5


@pytest.mark.usefixtures("small_chunks")
async def test_campaigns_are_planned_in_turn(scene: Scene) -> None:
    await scene.add_leads(await scene.add_device(), 100)
    big, small = await scene.draft(title="Big"), await scene.draft(title="Small", devices=["device 1"])
    await scene.launch(big)
    await scene.launch(small)
    planner = Planner(scene.runtime)
    await planner.run_once()
    assert [len(await scene.rows(c)) for c in (big, small)] == [14, 14]


async def test_a_stop_word_waits_for_the_chunk_under_way_and_sees_its_rows(scene: Scene) -> None:
    device = await scene.add_device()
    await scene.add_leads(device, 3)
    campaign = await scene.draft()
    await scene.launch(campaign)

    async def stop_word() -> list[str]:
        async with scene.runtime.db.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(7215302, $1::int)", scene.workspace)
            rows = await connection.fetch("SELECT recipient FROM broadcast_messages")
            return [r["recipient"] for r in rows]

    async with asyncio.TaskGroup() as group, scene.runtime.db.transaction() as connection:
        taken = await planning.take(connection, campaign)
        assert taken is not None
        [window] = await planning.windows(connection, scene.workspace, taken.plan_cursor)
        await planning.plan_window(connection, taken, *window)
        stopping = group.create_task(stop_word())
        async with asyncio.timeout(10):
            while not await scene.value("SELECT true FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
                pass
        assert not stopping.done()
    assert len(stopping.result()) == 3


async def test_a_paused_campaign_is_not_planned_further_and_goes_on_when_resumed(
    scene: Scene, small_chunks: int
) -> None:
    await scene.add_leads(await scene.add_device(), 20)
    campaign = await scene.draft()
    await scene.launch(campaign)
    planner = Planner(scene.runtime)
    await planner.run_once()
    await pause_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    await scene.plan(planner)
    assert len(await scene.rows(campaign)) == small_chunks
    await resume_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    await scene.plan(planner)
    assert len(await scene.rows(campaign)) == 20


@pytest.mark.usefixtures("small_chunks")
async def test_an_edit_while_paused_plans_anew_what_was_never_attempted(scene: Scene) -> None:
    device = await scene.add_device()
    for i in range(30):
        niche = "fitness" if i % 2 else "books"
        await scene.add_lead(device, f"+6012000{i:04}", niches=[niche])
    campaign = await scene.launched()
    attempted = ["+60120000000", "+60120000001", "+60120000002"]
    await scene.force(campaign, attempted[:1], "queued", "sending", "sent")
    await scene.force(campaign, attempted[1:2], "queued", "sending", "pending")
    await scene.force(campaign, attempted[2:3], "queued", "sending", "failed")
    await scene.force(campaign, ["+60120000003"], "queued")
    before = {r["recipient"]: r for r in await scene.rows(campaign)}
    await pause_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    edited = await edit_campaign(
        scene.runtime, scene.workspace, campaign, {"niches": ["fitness"], "body": "New"}, actor=ACTOR
    )
    assert edited.replan
    with pytest.raises(Conflict, match="still being planned anew"):
        await resume_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)

    # half-way, another planner takes over
    planner = Planner(scene.runtime)
    for _ in range(3):
        await planner.run_once()
        await scene.check_counts(campaign)
    await scene.plan(Planner(scene.runtime))

    rows = {r["recipient"]: r for r in await scene.rows(campaign)}
    fitness = {f"+6012000{i:04}" for i in range(1, 30, 2)}
    assert set(rows) == fitness | set(attempted)
    for recipient in attempted:
        assert rows[recipient]["id"] == before[recipient]["id"]
        assert rows[recipient]["content_id"] == before[recipient]["content_id"]
    for recipient in fitness - set(attempted):
        assert rows[recipient]["content_id"] == edited.content_id
        assert rows[recipient]["created_at"] == before[recipient]["created_at"]
    await scene.check_counts(campaign)
    resumed = await resume_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    assert (resumed.status, resumed.replan) == ("running", False)


@pytest.mark.usefixtures("small_chunks")
async def test_an_edit_during_an_edit_is_planned_as_a_whole(scene: Scene) -> None:
    device = await scene.add_device()
    await scene.add_leads(device, 30)
    campaign = await scene.launched()
    await pause_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    planners = [Planner(scene.runtime), Planner(scene.runtime)]
    for i in range(4):
        edited = await edit_campaign(scene.runtime, scene.workspace, campaign, {"body": f"Text {i}"}, actor=ACTOR)
        for _ in range(2 + i):
            await planners[i % 2].run_once()
    await asyncio.gather(*(scene.plan(p) for p in planners))
    await scene.plan()
    rows = await scene.rows(campaign)
    assert {r["content_id"] for r in rows} == {edited.content_id}
    assert len(rows) == 30
    await scene.check_counts(campaign)


async def test_an_edit_gives_people_skipped_for_a_variable_another_chance(scene: Scene) -> None:
    await scene.execute("UPDATE workspaces SET attribute_keys = '{city}' WHERE id = $1", scene.workspace)
    await scene.add_leads(await scene.add_device(), 3)
    campaign = await scene.launched(body="Hello {{ city }}")
    assert {r["status"] for r in await scene.rows(campaign)} == {"skipped"}
    await pause_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    await edit_campaign(scene.runtime, scene.workspace, campaign, {"body": "Hello"}, actor=ACTOR)
    await scene.plan()
    assert {r["status"] for r in await scene.rows(campaign)} == {"pending"}
    await scene.check_counts(campaign)


@pytest.mark.usefixtures("small_chunks")
async def test_f14_a_new_deadline_reaches_the_rows_that_wait(scene: Scene) -> None:
    await scene.add_leads(await scene.add_device(), 30)
    campaign = await scene.launched(deadline="1d")
    await scene.force(campaign, ["+60120000000"], "queued", "sending", "sent")
    edited = await edit_campaign(scene.runtime, scene.workspace, campaign, {"deadline": "3d"}, actor=ACTOR)
    assert edited.started_at is not None
    assert edited.expires_at == edited.started_at + timedelta(days=3)
    await scene.plan()
    expiries = {r["recipient"]: r["expires_at"] for r in await scene.rows(campaign)}
    assert expiries.pop("+60120000000") == edited.started_at + timedelta(days=1)
    assert set(expiries.values()) == {edited.expires_at}
    assert len(expiries) == 29


@pytest.mark.usefixtures("small_chunks")
async def test_text_and_deadline_changed_together_both_arrive(scene: Scene) -> None:
    await scene.add_leads(await scene.add_device(), 30)
    campaign = await scene.launched()
    await scene.force(campaign, ["+60120000000"], "queued", "sending", "pending")
    await pause_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    edited = await edit_campaign(
        scene.runtime, scene.workspace, campaign, {"deadline": "3d", "body": "New"}, actor=ACTOR
    )
    await scene.plan()
    rows = await scene.rows(campaign)
    assert {r["expires_at"] for r in rows} == {edited.expires_at}
    assert sum(r["content_id"] == edited.content_id for r in rows) == 29
    await scene.check_counts(campaign)


async def test_the_loop_plans_at_a_nudge_tells_the_dispatcher_and_stops_when_told(scene: Scene) -> None:
    device = await scene.add_device()
    await scene.add_leads(device, 3)
    campaign = await scene.draft()
    stop = asyncio.Event()
    async with (
        asyncio.timeout(20),
        listening(scene.runtime.redis, scene.runtime.keys, DISPATCHER) as ears,
        asyncio.TaskGroup() as group,
    ):
        await ears.next(1)
        group.create_task(Planner(scene.runtime).run(stop))
        await launch_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
        told = None
        while told is None:
            told = await ears.next(1)
        assert told == {"devices": [device]}
        assert len(await scene.rows(campaign)) == 3
        stop.set()
