"""Sequences step by step: each person gets each step once, in order, at its time, from the number that knows them."""

import asyncio
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.message import Reason
from fleetcast.engine.sequencer import Sequencer
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from tests.sequence_scene import AT_ONCE, SequenceScene

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ADA, BEN = "+60120000001", "+60120000002"
MORNING = datetime(2027, 3, 1, 8, 0, tzinfo=UTC)


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> SequenceScene:
    """At eight in the morning of a first of March, in UTC."""
    made = SequenceScene(runtime, workspace)
    await made.move_to(MORNING)
    await made.add_device()
    return made


async def test_each_step_comes_on_its_day_at_its_time_and_then_it_is_over(scene: SequenceScene) -> None:
    lead = await scene.add_lead(scene.devices[0], ADA)
    sequence = await scene.sequence()
    await scene.enrol(sequence, lead)
    await scene.live(3 * DAY)
    rows = await scene.messages(sequence)
    assert [r["body"] for r in rows] == ["One", "Two", "Three"]
    assert [r["not_before"] for r in rows] == [MORNING + 2 * HOUR + n * DAY for n in range(3)]
    assert all(r["not_before"] <= r["sent_at"] < r["not_before"] + HOUR for r in rows)
    assert [r["dedupe_key"] for r in rows] == [f"s:{r['enrolment_id']}:{r['step_id']}" for r in rows]
    assert {r["priority"] for r in rows} == {2}
    assert await scene.state(sequence) == "completed"
    await scene.all_promises_hold()


async def test_f32_the_next_step_is_made_only_when_the_one_before_has_ended(scene: SequenceScene) -> None:
    lead = await scene.add_lead(scene.devices[0], ADA)
    sequence = await scene.sequence(late_by="10d")
    await scene.enrol(sequence, lead)
    await scene.move(2 * HOUR)
    for _ in range(6):  # days pass in which nothing is sent
        await scene.work()
        await scene.move(DAY)
    assert [r["status"] for r in await scene.messages(sequence)] == ["pending"]
    await scene.deliver()
    await scene.work()
    [first] = await scene.messages(sequence)
    await scene.move(HOUR)
    await scene.work()
    [_, second] = await scene.messages(sequence)
    assert second["not_before"] >= first["sent_at"] + HOUR, "two late steps are not sent in a heap"
    assert second["status"] == "pending"
    await scene.all_promises_hold()


async def test_f32_steps_of_one_day_are_never_early_and_never_together(scene: SequenceScene) -> None:
    lead = await scene.add_lead(scene.devices[0], ADA)
    spans = ("0m", "12h", "24h", "36h")
    sequence = await scene.sequence([{"after": span, "body": span} for span in spans])
    await scene.enrol(sequence, lead)
    for _ in range(200):
        await Sequencer(scene.runtime).run_once()  # as often as it likes, anew each time
    assert len(await scene.messages(sequence)) == 1
    await scene.deliver()
    await scene.live(4 * DAY)
    rows = await scene.messages(sequence)
    waits = [later["sent_at"] - earlier["sent_at"] for earlier, later in pairwise(rows)]
    assert [round(w / HOUR) for w in waits] == [12, 24, 36]
    assert all(w >= planned * HOUR for w, planned in zip(waits, (12, 24, 36), strict=True))


async def test_f33_a_step_that_is_merely_queued_has_not_been_sent(scene: SequenceScene) -> None:
    lead = await scene.add_lead(scene.devices[0], ADA)
    sequence = await scene.sequence()
    made = await scene.enrol(sequence, lead)
    await scene.move(2 * HOUR)
    await scene.work()
    await scene.claim()  # a sender has it, and has no answer yet
    await scene.work()
    story = await scene.story(made.enrolled[0])
    assert story.enrolment.done_step_id is None
    assert story.enrolment.step_id == story.steps[0].step.id
    assert story.steps[0].message is not None
    assert story.steps[0].message.status == "sending"


async def test_f24_f25_every_step_goes_out_from_the_leads_own_device_whatever_the_others_do(
    scene: SequenceScene,
) -> None:
    own, *others = scene.devices[0], await scene.add_device(), await scene.add_device()
    lead = await scene.add_lead(own, ADA)
    sequence = await scene.sequence()
    await scene.enrol(sequence, lead)
    await scene.live(DAY)
    await scene.execute("UPDATE devices SET state = 'offline', state_since = fleetcast_now() WHERE id = $1", own)
    await scene.live(6 * HOUR)
    rows = await scene.messages(sequence)
    assert [r["status"] for r in rows] == ["sent", "pending"], "it waits for its own number"
    await scene.execute("UPDATE devices SET state = 'online' WHERE id = $1", own)
    await scene.live(2 * DAY)
    rows = await scene.messages(sequence)
    assert [(r["device_id"], r["lead_id"], r["status"]) for r in rows] == [(own, lead, "sent")] * 3
    assert not {r["device_id"] for r in rows} & set(others)


async def test_f31_a_persons_time_is_of_their_own_zone_and_once_only(scene: SequenceScene) -> None:
    for phone, zone in ((ADA, "Asia/Kuala_Lumpur"), (BEN, "America/New_York")):
        lead = await scene.add_lead(scene.devices[0], phone)
        await scene.execute("UPDATE leads SET time_zone = $2 WHERE id = $1", lead, zone)
    sequence = await scene.sequence()
    leads = [r["id"] for r in await scene.fetch("SELECT id FROM leads ORDER BY id")]
    await scene.enrol(sequence, *leads)
    await scene.live(5 * DAY)
    rows = await scene.messages(sequence)
    for phone, zone in ((ADA, "Asia/Kuala_Lumpur"), (BEN, "America/New_York")):
        theirs = [r for r in rows if r["recipient"] == phone]
        assert [r["body"] for r in theirs] == ["One", "Two", "Three"]
        local = [r["not_before"].astimezone(ZoneInfo(zone)) for r in theirs]
        assert [moment.time() for moment in local] == [time(10)] * 3
    # 8:00 UTC is 16:00 in Kuala Lumpur, so their first day is tomorrow; in New York it is 3:00 at night.
    first = {r["recipient"]: r["not_before"] for r in rows if r["body"] == "One"}
    assert first == {ADA: datetime(2027, 3, 2, 2, tzinfo=UTC), BEN: datetime(2027, 3, 1, 15, tzinfo=UTC)}


async def test_f21_nobody_of_another_workspace_is_enrolled_by_a_niche(scene: SequenceScene) -> None:
    other = await scene.value("INSERT INTO workspaces (name) VALUES ('Others') RETURNING id")
    theirs = SequenceScene(scene.runtime, other)
    foreign = await theirs.add_lead(await theirs.add_device(), ADA, niches=["fitness"])
    mine = await scene.sequence(niches=["fitness"], auto_enrol=True)
    await theirs.execute("UPDATE leads SET niches = '{fitness,yoga}' WHERE id = $1", foreign)
    await theirs.add_lead(theirs.devices[0], BEN, niches=["fitness"])
    await scene.work()
    assert await scene.states(mine) == {}
    with pytest.raises(InvalidInput, match="there is no lead"):
        await scene.enrol(mine, foreign)
    ours = await scene.add_lead(scene.devices[0], ADA, niches=["fitness"])
    await scene.work()
    assert [r["lead_id"] for r in await scene.fetch("SELECT lead_id FROM enrolments")] == [ours]


# -- who comes in


async def test_new_leads_of_a_niche_come_in_by_themselves_and_others_do_not(scene: SequenceScene) -> None:
    device = scene.devices[0]
    await scene.add_lead(device, "+60120000010", niches=["fitness"])
    sequence = await scene.sequence(niches=["fitness"], target_status="prospect", auto_enrol=True)
    await scene.add_lead(device, ADA, niches=["fitness", "yoga"])
    await scene.add_lead(device, BEN, niches=["fitness"], status="customer")
    await scene.add_lead(device, "+60120000003", niches=["fitness2"])
    later = await scene.add_lead(device, "+60120000004")
    await scene.add_lead(device, "+60120000005", niches=["fitness"], consent="refused")
    await scene.work()
    assert list(await scene.states(sequence)) == [ADA]
    await scene.execute("UPDATE leads SET niches = '{fitness}' WHERE id = $1", later)
    await scene.work()
    assert list(await scene.states(sequence)) == [ADA, "+60120000004"]


async def test_a_person_who_is_several_leads_comes_in_once(scene: SequenceScene) -> None:
    other = await scene.add_device()
    sequence = await scene.sequence(niches=["fitness"], auto_enrol=True)
    one = await scene.add_lead(scene.devices[0], ADA, niches=["fitness"])
    two = await scene.add_lead(other, ADA, niches=["fitness"])
    await scene.work()
    assert (await scene.enrol(sequence, one, two)).active == 1
    assert len(await scene.fetch("SELECT FROM enrolments")) == 1


async def test_who_was_through_comes_in_again_only_when_that_is_asked_for(scene: SequenceScene) -> None:
    lead = await scene.add_lead(scene.devices[0], ADA, niches=["fitness"])
    sequence = await scene.sequence([AT_ONCE], niches=["fitness"], auto_enrol=True)
    await scene.enrol(sequence, lead)
    await scene.live(HOUR)
    assert await scene.state(sequence) == "completed"
    await scene.execute("UPDATE leads SET niches = '{fitness,yoga}' WHERE id = $1", lead)
    await scene.work()
    assert (await scene.enrol(sequence, lead)).before == 1
    assert len(await scene.messages(sequence)) == 1
    assert len((await scene.enrol(sequence, lead, again=True)).enrolled) == 1
    await scene.live(HOUR)
    assert await scene.got(sequence) == {ADA: ["Welcome", "Welcome"]}


# -- what is not sent


@pytest.mark.parametrize(
    ("rule", "sent", "state"),
    [
        ("continue", ["Two", "Three"], "completed"),
        ("stop", [], "step_failed"),
        ("retry", ["One", "Two", "Three"], None),
    ],
)
async def test_a_step_that_fails_is_followed_as_the_owner_chose(
    scene: SequenceScene, rule: str, sent: list[str], state: str | None
) -> None:
    lead = await scene.add_lead(scene.devices[0], ADA)
    sequence = await scene.sequence(on_failure=rule)
    await scene.enrol(sequence, lead)
    await scene.move(2 * HOUR)
    await scene.work()
    assert await scene.refuse() == 1
    await scene.live(3 * DAY)
    assert (await scene.got(sequence)).get(ADA, []) == sent
    assert await scene.state(sequence) == (state or "completed")
    await scene.all_promises_hold()


async def test_a_retry_is_the_same_row_and_ends_after_three(scene: SequenceScene) -> None:
    lead = await scene.add_lead(scene.devices[0], ADA)
    sequence = await scene.sequence(on_failure="retry")
    await scene.enrol(sequence, lead)
    await scene.move(2 * HOUR)
    refused = 0
    for _ in range(20):
        await scene.work()
        refused += await scene.refuse()
        await scene.move(HOUR / 2)
    assert refused == 4
    [row] = await scene.messages(sequence)
    assert (row["status"], row["attempts"]) == ("failed", 4)
    await scene.live(3 * DAY)
    assert await scene.got(sequence) == {ADA: ["Two", "Three"]}
    await scene.all_promises_hold()


async def test_a_step_that_lacks_a_variable_is_skipped_and_by_retry_says_what_is_known_later(
    scene: SequenceScene,
) -> None:
    await scene.execute("UPDATE workspaces SET attribute_keys = '{city}'")
    lead = await scene.add_lead(scene.devices[0], ADA)
    sequence = await scene.sequence([{"after": "0m", "body": "Greetings to {{ city }}"}], on_failure="retry")
    await scene.enrol(sequence, lead)
    await scene.work()
    [row] = await scene.messages(sequence)
    assert (row["status"], row["reason"]) == ("skipped", "missing_variable")
    await scene.execute("""UPDATE leads SET attributes = '{"city": "Ipoh"}' WHERE id = $1""", lead)
    await scene.live(2 * HOUR)
    [row] = await scene.messages(sequence)
    assert (row["status"], row["variables"]["city"]) == ("sent", "Ipoh")


# -- after an outage


async def test_after_a_day_of_downtime_what_is_late_expires_and_nothing_comes_twice_or_in_a_heap(
    scene: SequenceScene,
) -> None:
    lead = await scene.add_lead(scene.devices[0], ADA)
    steps = [{"day": day, "time": at, "body": f"{day} {at}"} for day in range(3) for at in ("09:00", "18:00")]
    sequence = await scene.sequence(steps, late_by="12h")  # type: ignore[arg-type]
    await scene.enrol(sequence, lead)
    await scene.live(2 * HOUR)  # 10:00, the first is sent
    await scene.move(30 * HOUR)  # 16:00 of the next day
    await scene.live(2 * DAY)
    rows = await scene.messages(sequence)
    assert [(r["body"], r["status"], r["reason"]) for r in rows] == [
        ("0 09:00", "sent", None),
        ("0 18:00", "skipped", "expired"),
        ("1 09:00", "sent", None),  # seven hours late
        ("1 18:00", "sent", None),
        ("2 09:00", "sent", None),
        ("2 18:00", "sent", None),
    ]
    sent = [r["sent_at"] for r in rows if r["status"] == "sent"]
    assert all(later - earlier >= HOUR for earlier, later in pairwise(sent))
    assert await scene.state(sequence) == "completed"
    await scene.all_promises_hold()


async def test_what_its_device_cannot_send_in_time_expires_and_the_next_step_keeps_its_own_time(
    scene: SequenceScene,
) -> None:
    lead = await scene.add_lead(scene.devices[0], ADA)
    sequence = await scene.sequence(late_by="6h")
    await scene.enrol(sequence, lead)
    await scene.execute("UPDATE devices SET state = 'offline', state_since = fleetcast_now()")
    await scene.live(12 * HOUR)
    [row] = await scene.messages(sequence)
    assert (row["status"], row["reason"]) == ("skipped", "device_offline")
    await scene.execute("UPDATE devices SET state = 'online'")
    await scene.live(2 * DAY)
    assert await scene.got(sequence) == {ADA: ["Two", "Three"]}
    second = (await scene.messages(sequence))[1]
    assert second["not_before"] == MORNING + 2 * HOUR + DAY


async def test_two_sequencers_at_once_make_each_step_once(scene: SequenceScene) -> None:
    await scene.add_leads(scene.devices[0], 300)
    leads = [r["id"] for r in await scene.fetch("SELECT id FROM leads")]
    sequence = await scene.sequence([AT_ONCE, {"after": "1h", "body": "More"}])
    await scene.enrol(sequence, *leads)
    pair = [Sequencer(scene.runtime), Sequencer(scene.runtime)]
    for _ in range(3):
        await asyncio.gather(*(scene.work(each) for each in pair))
        await scene.deliver()
        await scene.move(HOUR)
    await scene.work()
    rows = await scene.messages(sequence)
    assert len(rows) == 600
    assert {r["status"] for r in rows} == {"sent"}
    assert set((await scene.states(sequence)).values()) == {"completed"}
    await scene.all_promises_hold()


async def test_an_unconfirmed_step_counts_as_sent_and_is_not_repeated(scene: SequenceScene) -> None:
    lead = await scene.add_lead(scene.devices[0], ADA)
    sequence = await scene.sequence(on_failure="retry")
    await scene.enrol(sequence, lead)
    await scene.move(2 * HOUR)
    await scene.work()
    await scene.refuse(Reason.UNCONFIRMED)
    await scene.live(3 * DAY)
    assert [r["body"] for r in await scene.messages(sequence)] == ["One", "Two", "Three"]
    assert await scene.got(sequence) == {ADA: ["Two", "Three"]}
