"""What the overview promises: counts that add up, rates only from looks, and nothing of another workspace."""

from dataclasses import replace

import pytest

from fleetcast.clock import Clock
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.errors import NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.overview import LISTED, Meter, overview
from fleetcast.services.workspaces import create_workspace
from fleetcast.store.connection import Database
from tests.web.seeding import FIGURES, add_campaign, add_device, add_tally


class MovedClock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


async def test_the_counts_of_a_campaign_add_up(runtime: Runtime, db: Database, workspace: WorkspaceId) -> None:
    await add_device(db, workspace, "One")
    campaign = await add_campaign(db, workspace, "Spring", sums=FIGURES)
    await add_tally(db, campaign, "pending", -1)
    await add_tally(db, campaign, "queued", 1)
    (line,) = (await overview(runtime, workspace)).active
    c = line.counts
    assert (c.planned, c.pending, c.queued, c.sent, c.delivered, c.read) == (1000, 399, 31, 500, 450, 210)
    assert c.pending + c.queued + c.sending + c.in_doubt + c.sent + c.failed + c.skipped + c.cancelled == c.planned
    assert c.reasons == (
        ("failed", "not_on_whatsapp", 40),
        ("skipped", "opt_out", 20),
        ("failed", "content_refused", 5),
    )
    assert c.share == pytest.approx(0.565)


async def test_a_rate_is_unknown_at_the_first_look_and_measured_afterwards(
    runtime: Runtime, db: Database, workspace: WorkspaceId
) -> None:
    time, meter = MovedClock(), Meter()
    moved = replace(runtime, clock=Clock(monotonic=time))
    campaign = await add_campaign(db, workspace, "Spring", sums=FIGURES)
    first = await overview(moved, workspace, meter)
    assert (first.rate, first.finish, first.active[0].rate) == (None, None, None)
    time.at += 30
    await add_tally(db, campaign, "sent", 100)
    await add_tally(db, campaign, "pending", -100)
    second = await overview(moved, workspace, meter)
    assert second.rate == pytest.approx(200)
    # 332 are left, 200 a minute are settled
    assert second.finish is not None
    assert (second.finish - second.at).total_seconds() == pytest.approx(332 / 200 * 60, abs=1)


async def test_a_campaign_still_being_planned_has_no_estimate(
    runtime: Runtime, db: Database, workspace: WorkspaceId
) -> None:
    time, meter = MovedClock(), Meter()
    moved = replace(runtime, clock=Clock(monotonic=time))
    campaign = await add_campaign(db, workspace, "Spring", sums=FIGURES)
    async with db.connection() as connection:
        await connection.execute("UPDATE campaigns SET planned_at = NULL")
    await overview(moved, workspace, meter)
    time.at += 10
    await add_tally(db, campaign, "sent", 10)
    seen = await overview(moved, workspace, meter)
    assert seen.active[0].planning
    assert seen.active[0].rate == pytest.approx(60)
    assert seen.finish is None


async def test_a_finished_campaign_still_counts_in_the_rate_of_its_last_minute(
    runtime: Runtime, db: Database, workspace: WorkspaceId
) -> None:
    time, meter = MovedClock(), Meter()
    moved = replace(runtime, clock=Clock(monotonic=time))
    await add_campaign(db, workspace, "Other", sums=FIGURES)
    campaign = await add_campaign(db, workspace, "Spring", sums={("pending", None): 60})
    await overview(moved, workspace, meter)
    time.at += 30
    await add_tally(db, campaign, "pending", -60)
    await add_tally(db, campaign, "sent", 60)
    async with db.connection() as connection:
        await connection.execute("UPDATE campaigns SET status = 'finished' WHERE id = $1", campaign)
    assert (await overview(moved, workspace, meter)).rate == pytest.approx(120)


def test_a_meter_forgets_what_is_older_than_a_minute() -> None:
    meter, campaign = Meter(), CampaignId(1)
    for second in range(121):
        meter.note(second, {campaign: (min(second, 60) * 10, 0)})
    assert meter.rates(campaign) == (0, 0)
    assert meter.rates(CampaignId(2)) is None


def test_a_meter_never_shows_a_negative_rate() -> None:
    meter, campaign = Meter(), CampaignId(1)
    meter.note(0, {campaign: (10, 10)})
    meter.note(10, {campaign: (9, 10)})  # accepted, then reported as failed
    assert meter.rates(campaign) == (0, 0)


async def test_devices_are_counted_by_what_a_person_is_told(
    runtime: Runtime, db: Database, workspace: WorkspaceId
) -> None:
    await add_device(db, workspace, "A")
    await add_device(db, workspace, "B", paused=True)
    await add_device(db, workspace, "C", state="banned", paused=True)
    await add_device(db, workspace, "D", state="logged_out")
    gone = await add_device(db, workspace, "E")
    async with db.connection() as connection:
        await connection.execute("UPDATE devices SET deleted_at = fleetcast_now() WHERE id = $1", gone)
    seen = await overview(runtime, workspace)
    assert seen.fleet.standings == {"online": 1, "paused": 1, "banned": 1, "logged_out": 1}
    assert (seen.fleet.total, seen.fleet.cannot_send, seen.fleet.simulated) == (4, 3, 4)
    assert [d.name for d in seen.fleet.listed] == ["A", "B", "C", "D"]
    assert {(n.kind, n.n, n.names) for n in seen.needs} == {
        ("banned", 1, ("C",)),
        ("logged_out", 1, ("D",)),
        ("paused", 1, ()),
    }


async def test_what_is_in_doubt_or_paused_needs_a_person(
    runtime: Runtime, db: Database, workspace: WorkspaceId
) -> None:
    await add_campaign(db, workspace, "Doubtful", sums={("in_doubt", "no_answer"): 2})
    await add_campaign(db, workspace, "Resting", status="paused", paused_reason="holiday")
    needs = (await overview(runtime, workspace)).needs
    assert [(n.kind, n.n, n.names) for n in needs] == [
        ("in_doubt", 2, ("Doubtful",)),
        ("campaign_paused", 1, ("Resting",)),
    ]


async def test_a_page_lists_no_more_than_its_limit_and_counts_all(
    runtime: Runtime, db: Database, workspace: WorkspaceId
) -> None:
    async with db.connection() as connection:
        await connection.execute(
            """INSERT INTO devices (workspace_id, name, transport, state, shard_id)
               SELECT $1, 'Device ' || i, 'simulator', 'online', 0 FROM generate_series(1, 3000) i""",
            workspace,
        )
    fleet = (await overview(runtime, workspace)).fleet
    assert (fleet.total, len(fleet.listed)) == (3000, LISTED)


async def test_f20_a_workspace_sees_nothing_of_another(runtime: Runtime, db: Database, workspace: WorkspaceId) -> None:
    other = (await create_workspace(runtime, "Other")).id
    await add_device(db, other, "Theirs")
    await add_campaign(db, other, "Their campaign", sums=FIGURES)
    seen = await overview(runtime, workspace)
    assert (seen.active, seen.fleet.total, seen.fleet.listed, seen.needs) == ((), 0, (), ())
    assert not seen.has_leads


async def test_an_unknown_workspace_is_not_found(runtime: Runtime) -> None:
    with pytest.raises(NotFound):
        await overview(runtime, WorkspaceId(987_654))
