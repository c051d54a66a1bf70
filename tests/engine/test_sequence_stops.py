"""What ends a sequence for a person, and what it is held by: nothing more is sent from that moment on."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from fleetcast.domain.identifiers import EnrolmentId, LeadId, Phone, WorkspaceId
from fleetcast.domain.lead import LeadStatus
from fleetcast.errors import Conflict
from fleetcast.runtime import Runtime
from fleetcast.services.devices import remove_device
from fleetcast.services.enrolments import count_existing, enrol_existing, stop_enrolments
from fleetcast.services.inbound import receive
from fleetcast.services.leads import change_lead, remove_lead
from fleetcast.services.sequence_actions import archive_sequence, pause_sequence, resume_sequence
from fleetcast.services.suppressions import suppress
from fleetcast.store import transitions
from fleetcast.transports.base import Reply
from tests.campaign_scene import ACTOR
from tests.engine.test_sequencer import ADA, BEN, DAY, HOUR, MORNING
from tests.sequence_scene import AT_ONCE, SequenceScene

MORE: Any = {"after": "1d", "body": "More"}


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> SequenceScene:
    made = SequenceScene(runtime, workspace)
    await made.move_to(MORNING)
    await made.add_device()
    return made


async def in_midst_of(scene: SequenceScene, phone: str = ADA, **fields: Any) -> tuple[Any, LeadId, EnrolmentId]:
    """Somebody who had the first step and has the second one waiting."""
    lead = await scene.add_lead(scene.devices[0], phone)
    sequence = await scene.sequence([AT_ONCE, MORE], **fields)
    [enrolment] = (await scene.enrol(sequence, lead)).enrolled
    await scene.work()
    await scene.deliver()
    await scene.work()
    await scene.move(DAY)
    await scene.work()
    assert [r["status"] for r in await scene.messages(sequence)] == ["sent", "pending"]
    return sequence, lead, enrolment


async def nothing_more(scene: SequenceScene, sequence: Any, state: str, status: str = "cancelled") -> None:
    """Nothing is claimed although nobody has cleared up yet, and then it is cleared up."""
    assert await scene.claim() == []
    await scene.work()
    assert await scene.states(sequence) == {ADA: state}
    assert [r["status"] for r in await scene.messages(sequence)] == ["sent", status]
    await scene.live(2 * DAY)
    assert await scene.got(sequence) == {ADA: ["Welcome"]}
    await scene.all_promises_hold()


async def says(scene: SequenceScene, text: str, phone: str = ADA, device: int = 0) -> None:
    reply = Reply(f"reply-{phone}-{text}", scene.devices[device], Phone(phone), text, await scene.now())
    await receive(scene.runtime, "test", [reply])


async def test_a_reply_stops_who_wrote_and_nobody_else(scene: SequenceScene) -> None:
    sequence, _, _ = await in_midst_of(scene)
    other = await scene.add_lead(scene.devices[0], BEN)
    await scene.enrol(sequence, other)
    await says(scene, "Tell me more")
    await scene.live(2 * DAY)
    assert await scene.states(sequence) == {ADA: "replied", BEN: "completed"}
    assert await scene.got(sequence) == {ADA: ["Welcome"], BEN: ["Welcome", "More"]}
    await scene.all_promises_hold()


async def test_from_the_reply_on_nothing_is_claimed(scene: SequenceScene) -> None:
    sequence, _, _ = await in_midst_of(scene)
    await says(scene, "Tell me more")
    await nothing_more(scene, sequence, "replied")


async def test_a_sequence_may_go_on_after_a_reply_which_is_counted_all_the_same(scene: SequenceScene) -> None:
    sequence, _, enrolment = await in_midst_of(scene, stop_on_reply=False)
    await says(scene, "Thanks")
    await says(scene, "Thanks again")
    await scene.live(DAY)
    assert await scene.got(sequence) == {ADA: ["Welcome", "More"]}
    assert (await scene.story(enrolment)).enrolment.replied_at is not None
    replied = await scene.value("SELECT sum(n) FROM sequence_tallies WHERE counter = 'replied'")
    assert replied == 1
    await scene.all_promises_hold()


async def test_a_stop_word_ends_all_of_it_in_its_own_transaction(scene: SequenceScene) -> None:
    sequence, _, _ = await in_midst_of(scene, stop_on_reply=False)
    await says(scene, "STOP")
    assert [r["status"] for r in await scene.messages(sequence)] == ["sent", "skipped"]
    assert await scene.states(sequence) == {ADA: "opted_out"}
    await nothing_more(scene, sequence, "opted_out", "skipped")


async def test_nobody_who_opted_out_comes_in(scene: SequenceScene) -> None:
    lead = await scene.add_lead(scene.devices[0], ADA)
    sequence = await scene.sequence([AT_ONCE])
    await scene.suppress(ADA)
    assert (await scene.enrol(sequence, lead)).unwritable == 1
    assert await scene.states(sequence) == {}


async def test_a_suppression_of_no_transaction_of_ours_is_met_when_the_step_is_made(scene: SequenceScene) -> None:
    lead = await scene.add_lead(scene.devices[0], ADA)
    sequence = await scene.sequence()
    await scene.enrol(sequence, lead)
    await scene.suppress(ADA)  # as a restore would leave it: the row alone
    await scene.live(DAY)
    [row] = await scene.messages(sequence)
    assert (row["status"], row["reason"]) == ("skipped", "opt_out")
    assert await scene.state(sequence) == "opted_out"


async def test_conversion_stops_a_sequence_that_is_not_for_who_they_are_now(scene: SequenceScene) -> None:
    sequence, lead, _ = await in_midst_of(scene, target_status="prospect")
    later: Any = {"after": "30d", "body": "How do you like it?"}
    after = await scene.sequence([later], name="After sale", target_status="customer")
    await scene.enrol(after, lead)
    fields: Any = {"target_status": LeadStatus.CUSTOMER}
    await change_lead(scene.runtime, scene.workspace, lead, fields, may_lift=False, actor=ACTOR)
    await scene.work()
    assert await scene.state(sequence) == "converted"
    assert await scene.state(after) == "active"
    await nothing_more(scene, sequence, "converted")


async def test_a_person_takes_somebody_out(scene: SequenceScene) -> None:
    sequence, _, enrolment = await in_midst_of(scene)
    assert await stop_enrolments(scene.runtime, scene.workspace, sequence, [enrolment], actor=ACTOR) == 1
    assert await stop_enrolments(scene.runtime, scene.workspace, sequence, [enrolment], actor=ACTOR) == 0
    await nothing_more(scene, sequence, "by_person")


async def test_a_lead_that_is_removed_is_in_no_sequence_any_more(scene: SequenceScene) -> None:
    sequence, lead, _ = await in_midst_of(scene)
    await remove_lead(scene.runtime, scene.workspace, lead, actor=ACTOR)
    assert await scene.states(sequence) == {ADA: "lead_deleted"}
    await nothing_more(scene, sequence, "lead_deleted", "skipped")


async def test_when_the_number_is_removed_nobody_else_writes_in_its_place(scene: SequenceScene) -> None:
    sequence, _, _ = await in_midst_of(scene)
    await scene.add_device()
    await remove_device(scene.runtime, scene.workspace, scene.devices[0], actor=ACTOR)
    async with scene.runtime.db.transaction() as connection:
        await transitions.skip_removed(connection, scene.devices[0])
    await nothing_more(scene, sequence, "device_removed", "skipped")


async def test_what_is_on_its_way_at_the_stop_arrives_and_is_the_last(scene: SequenceScene) -> None:
    sequence, _, _ = await in_midst_of(scene)
    [claimed] = await scene.claim()
    await says(scene, "Hello?")
    async with scene.runtime.db.connection() as connection:
        result = transitions.SentResult(claimed.id, claimed.attempt, claimed.epoch, "p", claimed.now, b"sha")
        assert await transitions.record_sent(connection, [result], scene.devices) == 1
    await scene.live(2 * DAY)
    assert await scene.got(sequence) == {ADA: ["Welcome", "More"]}
    assert await scene.state(sequence) == "replied"
    await scene.all_promises_hold()


async def test_a_pause_takes_back_what_waits_and_going_on_sends_what_is_not_too_late(scene: SequenceScene) -> None:
    sequence, _, _ = await in_midst_of(scene, late_by="12h")
    await pause_sequence(scene.runtime, scene.workspace, sequence, reason="prices", actor=ACTOR)
    assert await scene.claim() == []
    await scene.work()
    assert [r["status"] for r in await scene.messages(sequence)] == ["sent"]
    await scene.live(6 * HOUR)
    assert len(await scene.messages(sequence)) == 1
    with pytest.raises(Conflict, match="is paused"):
        await pause_sequence(scene.runtime, scene.workspace, sequence, actor=ACTOR)
    await resume_sequence(scene.runtime, scene.workspace, sequence, actor=ACTOR)
    await scene.live(HOUR)
    assert await scene.got(sequence) == {ADA: ["Welcome", "More"]}
    await scene.all_promises_hold()


async def test_what_came_too_late_in_a_pause_has_expired(scene: SequenceScene) -> None:
    sequence, _, _ = await in_midst_of(scene, late_by="6h")
    await pause_sequence(scene.runtime, scene.workspace, sequence, actor=ACTOR)
    await scene.live(DAY)
    await resume_sequence(scene.runtime, scene.workspace, sequence, actor=ACTOR)
    await scene.live(HOUR)
    assert [(r["status"], r["reason"]) for r in await scene.messages(sequence)] == [
        ("sent", None),
        ("skipped", "expired"),
    ]
    assert await scene.state(sequence) == "completed"


async def test_leads_that_came_during_a_pause_come_in_when_it_goes_on(scene: SequenceScene) -> None:
    before = await scene.add_lead(scene.devices[0], BEN, niches=["fitness"])
    sequence = await scene.sequence([AT_ONCE], niches=["fitness"], auto_enrol=True)
    await scene.move(HOUR)
    await pause_sequence(scene.runtime, scene.workspace, sequence, actor=ACTOR)
    lead = await scene.add_lead(scene.devices[0], ADA, niches=["fitness"])
    await scene.live(HOUR)
    assert await scene.states(sequence) == {}
    await resume_sequence(scene.runtime, scene.workspace, sequence, actor=ACTOR)
    await scene.live(HOUR)
    assert await scene.got(sequence) == {ADA: ["Welcome"]}
    assert before < lead


async def test_an_archived_sequence_sends_nothing_more_and_says_how_many_it_concerns(scene: SequenceScene) -> None:
    sequence, _, _ = await in_midst_of(scene)
    with pytest.raises(Conflict, match="1 person is in 'Welcome'"):
        await archive_sequence(scene.runtime, scene.workspace, sequence, actor=ACTOR)
    await archive_sequence(scene.runtime, scene.workspace, sequence, confirmed=1, actor=ACTOR)
    await nothing_more(scene, sequence, "by_person")


async def test_those_who_are_there_come_in_when_somebody_says_so_and_as_many_as_were_counted(
    scene: SequenceScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetcast.store.enrolling.CHUNK", 7)
    await scene.add_leads(scene.devices[0], 40)
    await scene.execute("UPDATE leads SET niches = '{fitness}' WHERE id % 2 = 0")
    sequence = await scene.sequence([AT_ONCE], niches=["fitness"])
    count = await count_existing(scene.runtime, scene.workspace, sequence)
    assert count == 20
    with pytest.raises(Conflict, match="1 more than were confirmed"):
        await enrol_existing(scene.runtime, scene.workspace, sequence, confirmed=count - 1, actor=ACTOR)
    await enrol_existing(scene.runtime, scene.workspace, sequence, confirmed=count, actor=ACTOR)
    await scene.work()
    assert len(await scene.states(sequence)) == 20
    assert await count_existing(scene.runtime, scene.workspace, sequence) == 0
    await scene.all_promises_hold()


async def test_enrolling_many_rests_while_the_sequence_is_paused(scene: SequenceScene) -> None:
    await scene.add_leads(scene.devices[0], 5)
    sequence = await scene.sequence([AT_ONCE])
    await enrol_existing(scene.runtime, scene.workspace, sequence, confirmed=5, actor=ACTOR)
    await pause_sequence(scene.runtime, scene.workspace, sequence, actor=ACTOR)
    await scene.live(DAY)
    assert await scene.states(sequence) == {}
    await resume_sequence(scene.runtime, scene.workspace, sequence, actor=ACTOR)
    await scene.live(HOUR)
    assert len(await scene.got(sequence)) == 5


async def test_a_stop_and_a_step_that_is_just_being_made_never_wait_for_each_other(scene: SequenceScene) -> None:
    await scene.add_leads(scene.devices[0], 200)
    leads = [r["id"] for r in await scene.fetch("SELECT id FROM leads")]
    sequence = await scene.sequence([AT_ONCE, MORE])
    await scene.enrol(sequence, *leads)

    async def stop(n: int) -> None:
        async with scene.runtime.db.transaction() as connection:
            await suppress(connection, scene.workspace, Phone(f"+6012{n:07}"), "person")

    async def hold() -> None:
        await pause_sequence(scene.runtime, scene.workspace, sequence, actor=ACTOR)
        await scene.work()
        await resume_sequence(scene.runtime, scene.workspace, sequence, actor=ACTOR)

    async with asyncio.timeout(60):
        await asyncio.gather(scene.work(), hold(), *(stop(n) for n in range(0, 200, 4)))
    await scene.live(timedelta(minutes=5))
    assert len(await scene.got(sequence)) == 150
    await scene.all_promises_hold()
