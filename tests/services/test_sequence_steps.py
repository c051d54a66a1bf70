"""Changing a sequence that is under way: what holds for whom, and what is refused with the place or the count."""

from datetime import timedelta
from typing import Any

import pytest

from fleetcast.domain.identifiers import SequenceId, StepId, WorkspaceId
from fleetcast.errors import Conflict, InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services.sequence_actions import activate_sequence
from fleetcast.services.sequence_reports import report_sequence
from fleetcast.services.sequence_steps import add_step, arrange_steps, delete_step, edit_step, preview_steps
from fleetcast.services.sequences import clone_sequence, create_sequence, edit_sequence, show_sequence
from tests.campaign_scene import ACTOR
from tests.engine.test_sequencer import ADA, BEN, DAY, HOUR, MORNING
from tests.sequence_scene import AT_ONCE, DAILY, SequenceScene


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> SequenceScene:
    """Two people; Ada had the first of three daily steps, Ben begins a day later."""
    made = SequenceScene(runtime, workspace)
    await made.move_to(MORNING)
    await made.add_device()
    return made


async def two_people(scene: SequenceScene) -> SequenceId:
    sequence = await scene.sequence()
    await scene.enrol(sequence, await scene.add_lead(scene.devices[0], ADA))
    await scene.live(5 * HOUR)
    await scene.enrol(sequence, await scene.add_lead(scene.devices[0], BEN))
    await scene.work()
    return sequence


async def steps(scene: SequenceScene, sequence: SequenceId) -> list[StepId]:
    return [s.id for s in (await show_sequence(scene.runtime, scene.workspace, sequence)).steps]


async def edit(scene: SequenceScene, sequence: SequenceId, step: StepId, **fields: Any) -> None:
    await edit_step(scene.runtime, scene.workspace, sequence, step, fields, actor=ACTOR)  # type: ignore[arg-type]


async def test_a_new_text_is_for_everybody_who_does_not_have_the_step_yet(scene: SequenceScene) -> None:
    sequence = await two_people(scene)
    first, second, _ = await steps(scene, sequence)
    await edit(scene, sequence, first, body="Uno")
    await edit(scene, sequence, second, body="Due")
    await scene.live(4 * DAY)
    assert await scene.got(sequence) == {ADA: ["One", "Due", "Three"], BEN: ["Uno", "Due", "Three"]}
    await scene.all_promises_hold()


async def test_a_message_that_waits_and_was_never_tried_says_the_new_text(scene: SequenceScene) -> None:
    sequence = await two_people(scene)
    await scene.move(21 * HOUR)
    await scene.work()
    waiting = [r["body"] for r in await scene.messages(sequence) if r["status"] == "pending"]
    assert waiting == ["Two", "One"]
    _, second, _ = await steps(scene, sequence)
    await edit(scene, sequence, second, body="Due")
    await scene.work()
    waiting = sorted(r["body"] for r in await scene.messages(sequence) if r["status"] == "pending")
    assert waiting == ["Due", "One"]
    await scene.live(4 * DAY)
    assert await scene.got(sequence) == {ADA: ["One", "Due", "Three"], BEN: ["One", "Due", "Three"]}
    await scene.all_promises_hold()


async def test_a_new_time_is_for_everybody_who_waits_for_the_step(scene: SequenceScene) -> None:
    sequence = await two_people(scene)
    _, second, _ = await steps(scene, sequence)
    await edit(scene, sequence, second, time="15:30")
    await scene.live(4 * DAY)
    times = {
        r["recipient"]: f"{r['not_before']:%d %H:%M}" for r in await scene.messages(sequence) if r["body"] == "Two"
    }
    assert times == {ADA: "02 15:30", BEN: "03 15:30"}
    await scene.all_promises_hold()


async def test_a_step_that_is_added_reaches_who_has_not_passed_it(scene: SequenceScene) -> None:
    sequence = await two_people(scene)
    first, *_ = await steps(scene, sequence)
    await add_step(
        scene.runtime,
        scene.workspace,
        sequence,
        {"day": 0, "time": "09:00", "body": "Early"},
        before=first,
        actor=ACTOR,
    )
    await scene.live(5 * DAY)
    assert await scene.got(sequence) == {ADA: ["One", "Two", "Three"], BEN: ["Early", "One", "Two", "Three"]}
    await scene.all_promises_hold()


async def test_a_step_that_people_wait_for_is_deleted_only_with_their_count(scene: SequenceScene) -> None:
    sequence = await two_people(scene)
    _, second, _ = await steps(scene, sequence)
    at_step = (await show_sequence(scene.runtime, scene.workspace, sequence)).at_step
    assert at_step[second] == 1
    with pytest.raises(Conflict, match="1 person is at step 2"):
        await delete_step(scene.runtime, scene.workspace, sequence, second, actor=ACTOR)
    assert await delete_step(scene.runtime, scene.workspace, sequence, second, confirmed=1, actor=ACTOR) == 1
    await scene.live(5 * DAY)
    assert await scene.got(sequence) == {ADA: ["One", "Three"], BEN: ["One", "Three"]}
    await scene.all_promises_hold()


async def test_who_waited_for_the_last_step_is_through_when_it_is_deleted(scene: SequenceScene) -> None:
    lead = await scene.add_lead(scene.devices[0], ADA)
    sequence = await scene.sequence([AT_ONCE, {"after": "1d", "body": "More"}])
    await scene.enrol(sequence, lead)
    await scene.live(HOUR)
    _, last = await steps(scene, sequence)
    await delete_step(scene.runtime, scene.workspace, sequence, last, confirmed=1, actor=ACTOR)
    await scene.live(2 * DAY)
    assert await scene.got(sequence) == {ADA: ["Welcome"]}
    assert await scene.state(sequence) == "completed"
    [only] = await steps(scene, sequence)
    with pytest.raises(Conflict, match="only step"):
        await delete_step(scene.runtime, scene.workspace, sequence, only, confirmed=9, actor=ACTOR)


async def test_steps_can_be_put_into_another_order_as_long_as_it_is_that_of_their_moments(scene: SequenceScene) -> None:
    parts: Any = [AT_ONCE, {"after": "1h", "body": "Second"}, {"after": "2h", "body": "Third"}]
    sequence = await scene.sequence(parts)
    await scene.enrol(sequence, await scene.add_lead(scene.devices[0], ADA))
    await scene.live(timedelta(minutes=1))
    a, b, c = await steps(scene, sequence)
    with pytest.raises(InvalidInput, match="name each of the 3 steps"):
        await arrange_steps(scene.runtime, scene.workspace, sequence, [a, b], actor=ACTOR)
    with pytest.raises(InvalidInput, match="let some time pass"):
        await arrange_steps(scene.runtime, scene.workspace, sequence, [b, a, c], actor=ACTOR)
    after = await arrange_steps(scene.runtime, scene.workspace, sequence, [a, c, b], actor=ACTOR)
    assert [s.place for s in after] == [1, 2, 3]
    await scene.live(DAY)
    assert await scene.got(sequence) == {ADA: ["Welcome", "Third", "Second"]}
    await scene.all_promises_hold()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"day": 1, "time": "10:00", "body": "x"}, "steps[2]"),
        ({"day": 0, "time": "09:00", "body": "x", "before": 2}, "steps[2]"),
        ({"day": 9, "time": "25:00", "body": "x"}, "time"),
        ({"day": 9, "body": "x"}, "time"),
        ({"time": "09:00", "body": "x"}, "day"),
        ({"day": -1, "time": "09:00", "body": "x"}, "day"),
        ({"day": 9, "time": "09:00", "after": "3h", "body": "x"}, "after"),
        ({"after": "soon", "body": "x"}, "after"),
        ({"body": "x"}, "day"),
        ({"day": 9, "time": "09:00", "body": "  "}, "body"),
        ({"day": 9, "time": "09:00"}, "body"),
        ({"day": 9, "time": "09:00", "body": "{{ shoe_size }}"}, "body"),
        ({"day": 9, "time": "09:00", "body": "x", "colour": "red"}, "colour"),
    ],
)
async def test_a_step_that_cannot_be_is_refused_by_its_field(
    scene: SequenceScene, fields: dict[str, Any], field: str
) -> None:
    sequence = await scene.sequence()
    held = await steps(scene, sequence)
    before = held[fields.pop("before") - 1] if "before" in fields else (held[2] if field == "steps[2]" else None)
    with pytest.raises(InvalidInput) as refused:
        await add_step(scene.runtime, scene.workspace, sequence, fields, before=before, actor=ACTOR)  # type: ignore[arg-type]
    assert refused.value.field in (field, "steps[1]")
    assert len(await steps(scene, sequence)) == len(DAILY)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "name"),
        ({"name": "x", "niches": [" , "]}, "niches"),
        ({"name": "x", "auto_enrol": True}, "niches"),
        ({"name": "x", "late_by": "forever"}, "late_by"),
        ({"name": "x", "min_delay": 5}, "max_delay"),
        ({"name": "x", "on_failure": "explode"}, "on_failure"),
        ({"name": "x", "target_status": "friend"}, "target_status"),
        ({"name": "x", "body": "y"}, "body"),
    ],
)
async def test_a_sequence_that_cannot_be_is_refused_by_its_field(
    scene: SequenceScene, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await create_sequence(scene.runtime, scene.workspace, fields, actor=ACTOR)  # type: ignore[arg-type]
    assert refused.value.field == field


async def test_the_last_niche_is_not_taken_from_a_sequence_that_takes_leads_by_it(scene: SequenceScene) -> None:
    sequence = await scene.sequence(niches=["fitness"], auto_enrol=True)
    with pytest.raises(InvalidInput, match="at least one niche"):
        await edit_sequence(scene.runtime, scene.workspace, sequence, {"niches": []}, actor=ACTOR)


async def test_activating_says_what_is_missing_and_whom_it_concerns(scene: SequenceScene) -> None:
    empty = await scene.sequence([], active=False)
    with pytest.raises(InvalidInput, match="no step yet"):
        await activate_sequence(scene.runtime, scene.workspace, empty, actor=ACTOR)
    await scene.add_leads(scene.devices[0], 3)
    await scene.execute("UPDATE devices SET state = 'offline'")
    sequence = await scene.sequence(active=False, name="Offline")
    with pytest.raises(Conflict, match="None of the 1 devices is online, and 3 leads fit"):
        await activate_sequence(scene.runtime, scene.workspace, sequence, actor=ACTOR)
    await scene.execute("UPDATE devices SET deleted_at = fleetcast_now()")
    with pytest.raises(InvalidInput, match="no device"):
        await activate_sequence(scene.runtime, scene.workspace, sequence, even_offline=True, actor=ACTOR)


async def test_a_clone_has_the_same_steps_and_nobody_in_it(scene: SequenceScene) -> None:
    sequence = await two_people(scene)
    copy = await clone_sequence(scene.runtime, scene.workspace, sequence, actor=ACTOR)
    shown = await show_sequence(scene.runtime, scene.workspace, copy.id)
    assert (copy.name, copy.status, shown.people.enrolled) == ("Welcome (copy)", "draft", 0)
    assert [s.content.body for s in shown.steps] == ["One", "Two", "Three"]


async def test_a_preview_is_by_the_persons_clock_and_says_what_they_would_read(scene: SequenceScene) -> None:
    lead = await scene.add_lead(scene.devices[0], ADA, name="Ada")
    await scene.execute("UPDATE leads SET time_zone = 'Asia/Kuala_Lumpur'")
    parts: Any = [{"day": 0, "time": "10:00", "body": "Hello {{ name }}"}, {"day": 2, "time": "09:30", "body": "Two"}]
    sequence = await scene.sequence(parts, active=False)
    by_workspace = await preview_steps(scene.runtime, scene.workspace, sequence)
    assert [f"{c.at:%d %H:%M}" for c in by_workspace] == ["01 10:00", "03 09:30"]
    hers = await preview_steps(scene.runtime, scene.workspace, sequence, lead_id=lead)
    assert [f"{c.at:%d %H:%M %z}" for c in hers] == ["02 10:00 +0800", "04 09:30 +0800"]
    assert [c.reading.text for c in hers if c.reading] == ["Hello Ada", "Two"]


async def test_a_report_adds_up_by_step_and_by_device(scene: SequenceScene) -> None:
    sequence = await two_people(scene)
    await scene.live(5 * DAY)
    report = await report_sequence(scene.runtime, scene.workspace, sequence)
    assert [(s.place, s.funnel.due, s.funnel.sent) for s in report.steps] == [(1, 2, 2), (2, 2, 2), (3, 2, 2)]
    assert (report.whole.due, report.whole.people.enrolled, report.whole.people.completed) == (6, 2, 2)
    [device] = report.devices
    assert (device.device_id, device.funnel.sent) == (scene.devices[0], 6)
    assert report.steps[2].funnel.people.completed == 2
