"""The calendar shows each campaign on the day of its start by the workspace's clock, and moves what has not started."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import calendar
from fleetcast.services.calendar import Month, look_at_month, move_campaign
from fleetcast.services.campaign_actions import withdraw_campaign
from fleetcast.services.campaigns import show_campaign
from fleetcast.services.workspaces import create_workspace
from tests.campaign_scene import Scene

ZONE = ZoneInfo("Europe/Berlin")
YEAR = 2031
"""Far enough away that nothing in it is past."""


@pytest.fixture
async def scene(runtime: Runtime) -> Scene:
    made = Scene(runtime, (await create_workspace(runtime, "Shop", time_zone=ZONE.key, region="DE")).id)
    await made.add_lead(await made.add_device(), "+60120000001")
    return made


def titles(month: Month, day: date) -> list[str]:
    return [e.campaign.title for d in month.days if d.date == day for e in d.entries]


async def look(scene: Scene, month: int) -> Month:
    return await look_at_month(scene.runtime, scene.workspace, date(YEAR, month, 9))


async def move(scene: Scene, campaign: CampaignId, to: str) -> calendar.Moved:
    return await move_campaign(scene.runtime, scene.workspace, campaign, to, actor="user:ann@example.org")


async def starts(scene: Scene, campaign: CampaignId) -> datetime | None:
    return (await show_campaign(scene.runtime, scene.workspace, campaign)).campaign.starts_at


async def test_a_month_is_whole_weeks_from_monday_on_with_each_campaign_on_its_local_day(scene: Scene) -> None:
    late = await scene.draft(title="Late", schedule=f"{YEAR}-05-31 23:30")  # 21:30 UTC: still May
    await scene.draft(title="Early", schedule=f"{YEAR}-06-01 00:30")  # 22:30 UTC of May: June already
    await scene.draft(title="No day")
    await scene.launch(late)
    may, june = await look(scene, 5), await look(scene, 6)
    assert may.days[0].date.weekday() == 0
    assert len(may.days) % 7 == 0
    assert titles(may, date(YEAR, 5, 31)) == ["Late"]
    assert titles(may, date(YEAR, 6, 1)) == titles(june, date(YEAR, 6, 1)) == ["Early"]
    assert (may.count, june.count) == (1, 1)
    assert [e.campaign.title for e in may.undated] == ["No day"]
    assert (may.before, may.after) == (date(YEAR, 4, 1), date(YEAR, 6, 1))


async def test_what_has_started_lies_on_the_day_of_its_start(scene: Scene) -> None:
    campaign = await scene.launched(title="Now")
    month = await look_at_month(scene.runtime, scene.workspace, None)
    assert titles(month, month.today) == ["Now"]
    [entry] = [e for d in month.days for e in d.entries]
    assert not entry.is_movable
    assert entry.counts.planned == 1
    with pytest.raises(Conflict, match="running: its start cannot move"):
        await move(scene, campaign, f"{YEAR}-05-01")


async def test_a_move_to_another_day_keeps_the_time_of_day_across_the_change_of_the_clocks(scene: Scene) -> None:
    campaign = await scene.draft(schedule=f"{YEAR}-03-20 18:30")  # winter
    await scene.launch(campaign)
    moved = await move(scene, campaign, f"{YEAR}-04-02")  # summer
    assert (moved.before, moved.after) == (datetime(YEAR, 3, 20, 18, 30), datetime(YEAR, 4, 2, 18, 30))
    assert await starts(scene, campaign) == datetime(YEAR, 4, 2, 16, 30, tzinfo=UTC)
    report = await show_campaign(scene.runtime, scene.workspace, campaign)
    assert report.campaign.status is CampaignStatus.SCHEDULED
    [entry] = await scene.fetch("SELECT actor, before, after FROM audit WHERE action = 'campaign.move'")
    assert (entry["actor"], entry["before"], entry["after"]) == (
        "user:ann@example.org",
        {"starts": f"{YEAR}-03-20 18:30"},
        {"starts": f"{YEAR}-04-02 18:30"},
    )


async def test_the_time_of_day_is_that_of_the_workspace_whatever_zone_it_was_set_in(scene: Scene) -> None:
    campaign = await scene.draft(schedule=f"{YEAR}-05-01 12:00")  # 10:00 UTC
    await scene.execute("UPDATE workspaces SET time_zone = 'Asia/Tokyo' WHERE id = $1", scene.workspace)
    moved = await move(scene, campaign, f"{YEAR}-05-02")
    assert moved.after == datetime(YEAR, 5, 2, 19)
    assert await starts(scene, campaign) == datetime(YEAR, 5, 2, 10, tzinfo=UTC)


async def test_a_move_to_another_time_and_back_leaves_what_was(scene: Scene) -> None:
    campaign = await scene.draft(schedule=f"{YEAR}-05-01 12:00")
    before = await starts(scene, campaign)
    moved = await move(scene, campaign, f"{YEAR}-05-03T08:15")
    assert await starts(scene, campaign) == datetime(YEAR, 5, 3, 6, 15, tzinfo=UTC)
    await move(scene, campaign, f"{moved.before:%Y-%m-%d %H:%M}")
    assert await starts(scene, campaign) == before


async def test_a_draft_without_a_time_gets_one_and_loses_it_again(scene: Scene) -> None:
    campaign = await scene.draft()
    moved = await move(scene, campaign, f"{YEAR}-05-03")
    assert (moved.before, moved.after) == (None, datetime(YEAR, 5, 3, 10))
    await move(scene, campaign, "")
    assert await starts(scene, campaign) is None


async def test_nothing_is_moved_into_the_past(scene: Scene) -> None:
    campaign = await scene.draft(schedule=f"{YEAR}-05-01 12:00")
    await scene.launch(campaign)
    before = await starts(scene, campaign)
    yesterday = (await look_at_month(scene.runtime, scene.workspace, None)).today - timedelta(days=1)
    with pytest.raises(InvalidInput, match="is in the past"):
        await move(scene, campaign, yesterday.isoformat())
    assert await starts(scene, campaign) == before


@pytest.mark.parametrize("to", [f"{YEAR}-03-30", f"{YEAR}-03-30 02:30"])
async def test_an_hour_that_the_clocks_skip_is_refused(scene: Scene, to: str) -> None:
    campaign = await scene.draft(schedule=f"{YEAR}-03-20 02:30")
    with pytest.raises(InvalidInput, match="the clocks in Europe/Berlin skip 02:30"):
        await move(scene, campaign, to)
    assert await starts(scene, campaign) == datetime(YEAR, 3, 20, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize("to", ["tomorrow", "2031-02-30", "2031-05-01 25:00", "1999-01-01", "2031-05-01T10:00Z"])
async def test_what_is_no_time_is_refused(scene: Scene, to: str) -> None:
    campaign = await scene.draft(schedule=f"{YEAR}-05-01 12:00")
    with pytest.raises(InvalidInput):
        await move(scene, campaign, to)


async def test_a_scheduled_campaign_never_loses_its_time(scene: Scene) -> None:
    """Without one it would start at once."""
    campaign = await scene.draft(schedule=f"{YEAR}-05-01 12:00")
    await scene.launch(campaign)
    with pytest.raises(InvalidInput, match="needs a time"):
        await move(scene, campaign, "")
    await withdraw_campaign(scene.runtime, scene.workspace, campaign, actor="test")
    await move(scene, campaign, "")


async def test_a_campaign_of_others_is_not_there(scene: Scene, workspace: WorkspaceId) -> None:
    campaign = await scene.draft(schedule=f"{YEAR}-05-01 12:00")
    with pytest.raises(NotFound):
        await move_campaign(scene.runtime, workspace, campaign, f"{YEAR}-05-02", actor="test")
    assert (await look_at_month(scene.runtime, workspace, date(YEAR, 5, 1))).count == 0


async def test_a_month_with_more_than_is_shown_says_so(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "MOST", 2)
    for day in (1, 2, 3):
        await scene.draft(title=f"Day {day}", schedule=f"{YEAR}-05-0{day} 12:00")
    month = await look(scene, 5)
    assert (month.count, month.is_cut) == (2, True)
