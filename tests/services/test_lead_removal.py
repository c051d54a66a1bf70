"""Taking single people out: a lead that is removed, and a person who refuses, while messages for them are under way."""

import asyncio
from pathlib import Path

import pytest

from fleetcast.domain.identifiers import LeadId, Phone, WorkspaceId
from fleetcast.domain.lead import Consent
from fleetcast.errors import NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.audience import preview_audience
from fleetcast.services.campaign_actions import pause_campaign, resume_campaign, retry_campaign
from fleetcast.services.lead_import import import_leads
from fleetcast.services.leads import ConsentGiven, change_lead, remove_lead, show_lead
from fleetcast.store import leads as stored_leads
from fleetcast.store import suppressions
from fleetcast.store.audience import SHARE_SUPPRESSIONS
from fleetcast.store.invariants import broken_invariants
from tests.campaign_scene import ACTOR, Scene

ONE, TWO, THREE = "+60120000000", "+60120000001", "+60120000002"


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> Scene:
    made = Scene(runtime, workspace)
    await made.add_leads(await made.add_device(), 3)
    return made


async def lead(scene: Scene, phone: str) -> LeadId:
    return LeadId(await scene.value("SELECT id FROM leads WHERE phone = $1 ORDER BY id LIMIT 1", phone))


async def remove(scene: Scene, phone: str) -> int:
    return await remove_lead(scene.runtime, scene.workspace, await lead(scene, phone), actor=ACTOR)


async def refuse(scene: Scene, phone: str) -> None:
    said = ConsentGiven(Consent.REFUSED, "on the telephone")
    await change_lead(
        scene.runtime, scene.workspace, await lead(scene, phone), {}, consent=said, may_lift=False, actor=ACTOR
    )


async def told(scene: Scene, campaign: int) -> dict[str, tuple[str, str | None]]:
    rows = await scene.fetch("SELECT * FROM broadcast_messages WHERE campaign_id = $1", campaign)
    return {r["recipient"]: (r["status"], r["reason"]) for r in rows}


async def sound(scene: Scene) -> bool:
    async with scene.runtime.db.connection() as connection:
        return await broken_invariants(connection) == []


async def test_f36_a_lead_with_messages_is_removed_and_what_waits_for_it_is_skipped(scene: Scene) -> None:
    campaign = await scene.launched()
    await scene.force(campaign, [TWO], "queued")
    await scene.force(campaign, [THREE], "queued", "sending", "sent")
    assert [await remove(scene, phone) for phone in (ONE, TWO, THREE)] == [1, 1, 0]
    assert await told(scene, campaign) == {
        ONE: ("skipped", "lead_removed"),
        TWO: ("skipped", "lead_removed"),
        THREE: ("sent", None),
    }
    await scene.check_counts(campaign)
    with pytest.raises(NotFound):
        await show_lead(scene.runtime, scene.workspace, await lead(scene, ONE))
    async with scene.runtime.db.connection() as connection:
        assert await stored_leads.count_leads(connection, scene.workspace) == 0
        assert await stored_leads.page_after(connection, scene.workspace, None, after=LeadId(0)) == []


async def test_what_is_on_its_way_to_a_removed_lead_is_left_to_its_sender(scene: Scene) -> None:
    campaign = await scene.launched()
    await scene.force(campaign, [ONE], "queued", "sending")
    assert await remove(scene, ONE) == 0
    assert (await told(scene, campaign))[ONE] == ("sending", None)


async def test_a_removed_lead_is_counted_and_planned_no_more(scene: Scene) -> None:
    await remove(scene, ONE)
    campaign = await scene.draft()
    assert (await preview_audience(scene.runtime, scene.workspace, campaign)).recipients == 2
    await scene.launch(campaign)
    await scene.plan()
    assert await scene.recipients(campaign) == [TWO, THREE]


async def test_a_person_who_is_a_lead_of_two_devices_stays_one_of_the_other(scene: Scene) -> None:
    other = await scene.add_device()
    await scene.add_lead(other, ONE)
    campaign = await scene.launched()
    assert await remove(scene, ONE) == 1
    later = await scene.launched()
    assert (await told(scene, campaign))[ONE] == ("skipped", "lead_removed")
    assert (await told(scene, later))[ONE] == ("pending", None)
    of_later = "SELECT device_id FROM broadcast_messages WHERE campaign_id = $1 AND recipient = $2"
    assert await scene.value(of_later, later, ONE) == other
    second = LeadId(await scene.value("SELECT id FROM leads WHERE device_id = $1", other))
    assert await remove_lead(scene.runtime, scene.workspace, second, actor=ACTOR) == 1, "its own message alone"


async def test_a_retry_leaves_a_removed_lead_out_until_it_is_back(scene: Scene, tmp_path: Path) -> None:
    campaign = await scene.launched()
    await scene.force(campaign, [TWO], "queued", "sending", "failed")
    await remove(scene, ONE)
    await remove(scene, TWO)
    await retry_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    assert await told(scene, campaign) == {
        ONE: ("skipped", "lead_removed"),
        TWO: ("failed", "recipient_refused"),
        THREE: ("pending", None),
    }
    (tmp_path / "back.csv").write_text(f"phone\n{ONE}\n")
    await import_leads(scene.runtime, scene.workspace, scene.devices[0], tmp_path / "back.csv")
    await retry_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    assert (await told(scene, campaign))[ONE] == ("pending", None)
    await scene.check_counts(campaign)


async def test_a_removed_lead_comes_back_as_a_new_one(scene: Scene, tmp_path: Path) -> None:
    await scene.execute(
        "UPDATE leads SET name = 'Old', niches = '{x}', journey = 'j', time_zone = 'UTC', target_status = 'customer', "
        "attributes = '{\"city\": \"Ipoh\"}', consent = 'given', consent_source = 'a form', "
        "consent_at = fleetcast_now() WHERE phone = $1",
        ONE,
    )
    await remove(scene, ONE)
    stored = await scene.value("SELECT l::text FROM leads l WHERE phone = $1", ONE)
    assert not {word for word in ("Old", "Ipoh", "UTC", "form") if word in stored}
    (tmp_path / "back.csv").write_text(f"phone,age\n{ONE},7\n{TWO},8\n")
    where = (scene.runtime, scene.workspace, scene.devices[0], tmp_path / "back.csv")
    foreseen = await import_leads(*where, dry_run=True)
    done = await import_leads(*where)
    assert (foreseen.added, foreseen.merged) == (done.added, done.merged) == (1, 1)
    back = (await show_lead(scene.runtime, scene.workspace, await lead(scene, ONE))).stored
    assert (back.lead.name, back.lead.niches, back.lead.journey, back.lead.time_zone) == ("", (), "", None)
    assert (back.lead.target_status, back.lead.attributes) == ("prospect", {"age": "7"})
    assert (back.lead.consent, back.consent_source, back.consent_at) == (Consent.UNKNOWN, None, None)


async def test_a_refusal_outlives_the_removal_and_the_return_of_a_lead(scene: Scene, tmp_path: Path) -> None:
    await scene.execute(
        "UPDATE leads SET consent = 'refused', consent_source = 'told us', consent_at = fleetcast_now() "
        "WHERE phone = $1",
        ONE,
    )
    await remove(scene, ONE)
    (tmp_path / "back.csv").write_text(f"phone,consent\n{ONE},yes\n")
    await import_leads(scene.runtime, scene.workspace, scene.devices[0], tmp_path / "back.csv", consent_source="bought")
    back = (await show_lead(scene.runtime, scene.workspace, await lead(scene, ONE))).stored
    assert (back.lead.consent, back.consent_source) == (Consent.REFUSED, "told us")


@pytest.mark.parametrize("how", [remove, refuse])
async def test_whoever_is_taken_out_meets_every_row_that_was_planned_before(scene: Scene, how: object) -> None:
    """A plan under way has read the lead and not yet committed its message."""
    campaign = await scene.launched()
    await scene.execute("DELETE FROM broadcast_messages WHERE recipient = $1", ONE)
    runtime = scene.runtime
    async with asyncio.TaskGroup() as group, runtime.db.connection() as watcher, runtime.db.transaction() as planning:
        await planning.execute(SHARE_SUPPRESSIONS, scene.workspace)
        task = group.create_task(how(scene, ONE))  # type: ignore[operator]
        async with asyncio.timeout(20):
            while not await watcher.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                assert not task.done()
        await planning.execute(
            "INSERT INTO broadcast_messages (workspace_id, device_id, campaign_id, lead_id, content_id, not_before, "
            "created_at, shard_id, recipient, dedupe_key, variables) "
            "SELECT m.workspace_id, m.device_id, m.campaign_id, l.id, m.content_id, m.not_before, m.created_at, "
            "m.shard_id, l.phone, 'c:' || m.campaign_id || ':' || l.phone, '{}' "
            "FROM broadcast_messages m, leads l WHERE m.recipient = $1 AND l.phone = $2",
            TWO,
            ONE,
        )
    assert (await told(scene, campaign))[ONE][0] == "skipped"


async def test_a_refusal_stops_what_waits_for_the_person_from_every_device(scene: Scene) -> None:
    other = await scene.add_device()
    await scene.add_lead(other, ONE)
    campaign = await scene.launched()
    [single] = [
        await scene.value(
            "INSERT INTO broadcast_messages (workspace_id, device_id, content_id, not_before, created_at, shard_id, "
            "priority, recipient, dedupe_key, variables) SELECT workspace_id, $1, content_id, not_before, created_at, "
            "shard_id, 1, recipient, 'm:1', '{}' FROM broadcast_messages WHERE recipient = $2 RETURNING id",
            other,
            ONE,
        )
    ]
    await refuse(scene, ONE)
    assert (await told(scene, campaign))[ONE] == ("skipped", "opt_out")
    assert await scene.value("SELECT reason FROM broadcast_messages WHERE id = $1", single) == "opt_out"
    async with scene.runtime.db.connection() as connection:
        entry = await suppressions.one(connection, scene.workspace, Phone(ONE))
    assert entry is not None
    assert (entry.source, entry.note) == ("person", "on the telephone")
    assert await scene.recipients(await scene.launched()) == [TWO, THREE]
    await scene.check_counts(campaign)


async def test_changes_and_removals_of_one_person_at_once_end_without_a_deadlock(scene: Scene) -> None:
    campaign = await scene.launched()
    number = await lead(scene, ONE)
    said = ConsentGiven(Consent.REFUSED, "told us")

    async def change(place: int) -> object:
        fields = {"attributes": {f"k{place}": "x"}, "name": f"n{place}"}
        return await change_lead(
            scene.runtime,
            scene.workspace,
            number,
            fields,  # type: ignore[arg-type]
            consent=said if place % 2 else None,
            may_lift=True,
            actor=ACTOR,
        )

    async def pause() -> None:
        await pause_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
        await resume_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)

    done = await asyncio.gather(*(change(n) for n in range(8)), pause(), remove(scene, ONE), return_exceptions=True)
    assert [str(each) for each in done if isinstance(each, Exception) and not isinstance(each, NotFound)] == []
    await scene.check_counts(campaign)
