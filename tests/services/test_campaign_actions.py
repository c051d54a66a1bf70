"""Setting campaigns in motion, holding them, ending them and bringing them back."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from fleetcast.domain.identifiers import DeviceId, MessageId, WorkspaceId
from fleetcast.errors import Conflict, InvalidInput, InvalidInputs, NotFound
from fleetcast.queue.nudges import SENDERS, SWEEPER, Ears, listening
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import (
    cancel_campaign,
    launch_campaign,
    pause_campaign,
    resume_campaign,
    retry_campaign,
    retry_unconfirmed,
    withdraw_campaign,
)
from fleetcast.services.campaigns import Campaign, edit_campaign, show_campaign
from fleetcast.store import transitions
from tests.campaign_scene import ACTOR, Scene


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> Scene:
    made = Scene(runtime, workspace)
    await made.add_leads(await made.add_device(), 5)
    return made


def in_hours(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M")


async def told(ears: Ears) -> dict[str, list[int]]:
    async with asyncio.timeout(10):
        while (heard := await ears.next(1)) is None:
            pass
    return heard


async def audited(scene: Scene) -> list[str]:
    return [r["action"] for r in await scene.fetch("SELECT action FROM audit ORDER BY id")]


async def test_f04_of_twenty_simultaneous_launches_one_wins_and_everybody_is_planned_once(scene: Scene) -> None:
    campaign = await scene.draft()
    results = await asyncio.gather(*(scene.launch(campaign) for _ in range(20)), return_exceptions=True)
    won = [r for r in results if isinstance(r, Campaign)]
    lost = [r for r in results if isinstance(r, Conflict)]
    assert (len(won), len(lost)) == (1, 19)
    assert all("is already running" in str(e) for e in lost)
    await scene.plan()
    await scene.check_counts(campaign)
    assert len(await scene.rows(campaign)) == 5
    assert (await audited(scene)).count("campaign.launch") == 1


async def test_a_launch_is_refused_with_every_reason_at_once(scene: Scene) -> None:
    await scene.execute("UPDATE workspaces SET attribute_keys = '{city}' WHERE id = $1", scene.workspace)
    campaign = await scene.draft(schedule=in_hours(1), body="{{ city }}", niches=["nobody has this"])
    await scene.execute("UPDATE workspaces SET attribute_keys = '{}' WHERE id = $1", scene.workspace)
    await scene.execute("UPDATE installation SET clock_offset = '2 hours'")
    with pytest.raises(InvalidInputs) as refused:
        await scene.launch(campaign)
    assert [p.field for p in refused.value.problems] == ["schedule", "body", "niches"]
    assert "in the past" in str(refused.value)
    await scene.execute("UPDATE devices SET deleted_at = fleetcast_now()")
    with pytest.raises(InvalidInputs) as again:
        await scene.launch(campaign)
    assert [p.field for p in again.value.problems] == ["schedule", "body", "devices"]
    report = await show_campaign(scene.runtime, scene.workspace, campaign)
    assert report.campaign.status == "draft"
    assert "campaign.launch" not in await audited(scene)


async def test_a_launch_without_anybody_who_may_be_written_to_is_refused(scene: Scene) -> None:
    campaign = await scene.draft(devices=["device 1"])
    await scene.execute("UPDATE leads SET consent = 'refused' WHERE id % 2 = 0")
    for row in await scene.fetch("SELECT phone FROM leads"):
        await scene.suppress(row["phone"])
    with pytest.raises(InvalidInput, match="nobody is reached"):
        await scene.launch(campaign)


async def test_f30_a_campaign_with_a_time_is_scheduled_and_one_with_now_runs_at_once(scene: Scene) -> None:
    later, now = await scene.draft(schedule=in_hours(48)), await scene.draft(schedule="now")
    assert (await scene.launch(later)).status == "scheduled"
    assert (await scene.launch(now)).status == "running"
    await scene.plan()
    assert await scene.rows(later) == []
    assert len(await scene.rows(now)) == 5


async def test_a_planned_start_can_be_taken_back_and_set_anew(scene: Scene) -> None:
    campaign = await scene.draft(schedule=in_hours(1))
    await scene.launch(campaign)
    with pytest.raises(Conflict, match="is scheduled: only a running campaign can be paused"):
        await pause_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    drafted = await withdraw_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    assert (drafted.status, drafted.launched_at) == ("draft", None)
    await scene.execute("UPDATE installation SET clock_offset = '2 hours'")
    await scene.plan()
    assert await scene.rows(campaign) == []


async def test_a_scheduled_campaign_changed_to_now_starts(scene: Scene) -> None:
    campaign = await scene.draft(schedule=in_hours(1))
    await scene.launch(campaign)
    await edit_campaign(scene.runtime, scene.workspace, campaign, {"schedule": "now"}, actor=ACTOR)
    await scene.plan()
    assert len(await scene.rows(campaign)) == 5


async def test_pausing_gives_the_window_back_in_the_same_transaction_and_tells_everybody(scene: Scene) -> None:
    campaign = await scene.launched()
    await scene.force(campaign, ["+60120000000", "+60120000001"], "queued")
    await scene.force(campaign, ["+60120000001"], "sending")
    async with (
        listening(scene.runtime.redis, scene.runtime.keys, SENDERS) as senders,
        listening(scene.runtime.redis, scene.runtime.keys, SWEEPER) as sweeper,
    ):
        await senders.next(1)
        await sweeper.next(1)
        paused = await pause_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR, reason="wrong price")
        assert (paused.status, paused.paused_reason) == ("paused", "wrong price")
        assert await told(senders) == {"campaigns": [campaign]} == await told(sweeper)
    report = await show_campaign(scene.runtime, scene.workspace, campaign)
    assert report.counts.by_status == {"pending": 4, "sending": 1}
    await scene.check_counts(campaign)
    resumed = await resume_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    assert (resumed.status, resumed.paused_at, resumed.paused_reason) == ("running", None, None)
    assert await audited(scene) == [f"campaign.{a}" for a in ("create", "launch", "pause", "resume")]


async def test_cancelling_ends_it_at_once_and_for_good(scene: Scene) -> None:
    campaign = await scene.launched()
    cancelled = await cancel_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    assert cancelled.status == "cancelled"
    assert cancelled.ended_at is None, "it has ended when the sweeper has cancelled what waited"
    for action in (launch_campaign, resume_campaign, pause_campaign, cancel_campaign, retry_campaign):
        with pytest.raises(Conflict):
            await action(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    async with scene.runtime.db.transaction() as connection:
        assert await transitions.cancel_campaign(connection, campaign) == 5
    await scene.check_counts(campaign)


async def test_a_campaign_cancelled_while_it_is_planned_gets_no_more_rows(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetcast.store.planning.CHUNK", 2)
    campaign = await scene.draft()
    await scene.launch(campaign)
    await cancel_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    await scene.plan()
    assert await scene.rows(campaign) == []


async def test_a_retry_opens_a_finished_campaign_again_with_new_time(scene: Scene) -> None:
    campaign = await scene.launched(deadline="1d")
    phones = await scene.recipients(campaign)
    await scene.force(campaign, phones, "queued", "sending", "sent")
    await scene.force(campaign, phones[:2], "failed")
    await scene.execute("UPDATE campaigns SET status = 'finished', ended_at = fleetcast_now() WHERE id = $1", campaign)
    await scene.execute("UPDATE installation SET clock_offset = '3 days'")
    assert await retry_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR) == 2
    await scene.plan()
    report = await show_campaign(scene.runtime, scene.workspace, campaign)
    assert (report.campaign.status, report.campaign.ended_at) == ("running", None)
    assert report.counts.by_status == {"sent": 3, "pending": 2}
    now = await scene.value("SELECT fleetcast_now()")
    assert report.campaign.expires_at is not None
    assert report.campaign.expires_at > now + timedelta(hours=23)
    waiting = [r for r in await scene.rows(campaign) if r["status"] == "pending"]
    assert {r["expires_at"] for r in waiting} == {report.campaign.expires_at}
    await scene.check_counts(campaign)
    assert (await audited(scene))[-1] == "campaign.retry"


async def test_a_retry_of_nothing_opens_nothing(scene: Scene) -> None:
    campaign = await scene.launched()
    await scene.force(campaign, await scene.recipients(campaign), "queued", "sending", "sent")
    await scene.execute("UPDATE campaigns SET status = 'finished' WHERE id = $1", campaign)
    assert await retry_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR) == 0
    assert (await show_campaign(scene.runtime, scene.workspace, campaign)).campaign.status == "finished"


async def test_a_retry_can_be_for_one_device(scene: Scene) -> None:
    second = await scene.add_device()
    await scene.add_lead(second, "+60199999999")
    campaign = await scene.launched()
    await scene.force(campaign, await scene.recipients(campaign), "queued", "sending", "failed")
    done = await retry_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR, device_id=DeviceId(second))
    assert done == 1
    assert [r["recipient"] for r in await scene.rows(campaign) if r["status"] == "pending"] == ["+60199999999"]


async def test_unconfirmed_messages_are_sent_again_only_by_list_and_only_as_a_whole(scene: Scene) -> None:
    campaign = await scene.launched()
    phones = await scene.recipients(campaign)
    await scene.force(campaign, phones[:2], "queued", "sending", "in_doubt", "failed")
    await scene.execute("UPDATE broadcast_messages SET reason = 'unconfirmed' WHERE status = 'failed'")
    await scene.execute("UPDATE campaign_tallies SET reason = 'unconfirmed' WHERE counter = 'failed'")
    rows = await scene.rows(campaign)
    doubtful = [MessageId(r["id"]) for r in rows if r["status"] == "failed"]
    other = next(MessageId(r["id"]) for r in rows if r["status"] == "pending")
    assert await retry_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR) == 0
    with pytest.raises(InvalidInput, match="not an unconfirmed message"):
        await retry_unconfirmed(scene.runtime, scene.workspace, campaign, [*doubtful, other], actor=ACTOR)
    assert await retry_unconfirmed(scene.runtime, scene.workspace, campaign, doubtful[:1], actor=ACTOR) == 1
    report = await show_campaign(scene.runtime, scene.workspace, campaign)
    assert report.counts.by_status == {"pending": 4, "failed": 1}
    await scene.check_counts(campaign)


async def test_f21_another_workspace_cannot_touch_a_campaign(scene: Scene) -> None:
    campaign = await scene.draft()
    other = WorkspaceId(await scene.value("INSERT INTO workspaces (name) VALUES ('Other') RETURNING id"))
    for action in (
        launch_campaign,
        pause_campaign,
        resume_campaign,
        cancel_campaign,
        withdraw_campaign,
        retry_campaign,
    ):
        with pytest.raises(NotFound):
            await action(scene.runtime, other, campaign, actor=ACTOR)
    with pytest.raises(NotFound):
        await edit_campaign(scene.runtime, other, campaign, {"title": "Mine"}, actor=ACTOR)
    with pytest.raises(NotFound):
        await show_campaign(scene.runtime, other, campaign)
