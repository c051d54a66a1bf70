"""Sequences and the people in them through the client, against the real application."""

import pytest

from fleetcast.client import Client, Conflict, InvalidInput, NewLead
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from tests.sequence_scene import SequenceScene

ADA, BEN = "+60123000000", "+60123000001"


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId, fleet: Client) -> SequenceScene:
    """Two people of a niche on one device."""
    made = SequenceScene(runtime, workspace)
    device = await made.add_device()
    people = [NewLead(phone=phone, name=name, niches=["fitness"]) for phone, name in ((ADA, "Ada"), (BEN, "Ben"))]
    await fleet.leads.create_many(device, people)
    return made


async def test_a_sequence_is_made_set_in_motion_and_reported(fleet: Client, scene: SequenceScene) -> None:
    draft = await fleet.sequences.create("Welcome", niches=["fitness"], late_by="2d", stop_on_reply=False)
    first = await fleet.sequences.add_step(draft.id, "Hello {{ name }}", after="0m")
    third = await fleet.sequences.add_step(draft.id, "Third", day=3, time="09:00")
    second = await fleet.sequences.add_step(draft.id, "Second", day=1, time="09:00", before_step_id=third.id)
    assert (first.place, second.place, second.time) == (1, 2, "09:00")
    changed = await fleet.sequences.change_step(draft.id, second.id, time="10:30")
    assert (changed.day, changed.time, changed.body) == (1, "10:30", "Second")
    order = [step.id for step in await fleet.sequences.arrange_steps(draft.id, [first.id, second.id, third.id])]
    assert order == [first.id, second.id, third.id]
    [lead] = [each async for each in fleet.leads.list(phone=ADA)]
    coming = await fleet.sequences.preview(draft.id, lead_id=lead.id)
    assert [c.text for c in coming] == ["Hello Ada", "Second", "Third"]

    people = await fleet.sequences.existing(draft.id)
    active = await fleet.sequences.activate(draft.id, enrol_existing=people)
    assert (active.status, active.run and active.run.expected) == ("active", 2)
    await scene.work()
    await scene.deliver()
    await scene.work()
    shown = await fleet.sequences.show(draft.id)
    assert (shown.people.active, shown.at_step[str(second.id)]) == (2, 2)
    report = await fleet.reports.sequence(draft.id)
    assert ([s.funnel.sent for s in report.steps], report.steps[0].when) == ([2, 0, 0], "at once")

    with pytest.raises(Conflict, match="2 people are at step 2"):
        await fleet.sequences.delete_step(draft.id, second.id)
    assert await fleet.sequences.delete_step(draft.id, second.id, confirmed=2) == 2
    assert (await fleet.sequences.change(draft.id, name="Hello", auto_enrol=True)).auto_enrol
    assert (await fleet.sequences.pause(draft.id, "prices")).paused_reason == "prices"
    assert (await fleet.sequences.resume(draft.id)).status == "active"
    assert (await fleet.sequences.archive(draft.id, confirmed=2)).status == "archived"
    copy = await fleet.sequences.clone(draft.id)
    assert [each.id async for each in fleet.sequences.list(status="draft")] == [copy.id]


async def test_people_are_enrolled_by_name_followed_and_taken_out(fleet: Client, scene: SequenceScene) -> None:
    made = await fleet.sequences.create("By hand")
    await fleet.sequences.add_step(made.id, "Hello", after="0m")
    await fleet.sequences.add_step(made.id, "More", after="1d")
    await fleet.sequences.activate(made.id)
    done = await fleet.enrolments.enrol(made.id, phones=[ADA, "+60129999999"])
    assert (len(done.enrolment_ids), done.unknown) == (1, 1)
    with pytest.raises(InvalidInput) as refused:
        await fleet.enrolments.enrol(made.id, lead_ids=[999_999])
    assert [error.field for error in refused.value.errors] == ["lead_ids"]
    await scene.work()
    await scene.deliver()
    await scene.work()
    [listed] = [each async for each in fleet.enrolments.list(made.id, state="active")]
    story = await fleet.enrolments.show(listed.id)
    assert [(s.step.place, s.status) for s in story.steps] == [(1, "sent"), (2, None)]
    [own] = [each async for each in fleet.enrolments.of_lead(listed.lead_id)]
    assert own.id == listed.id
    run = await fleet.enrolments.enrol_existing(made.id, confirmed=1)
    assert run.expected == 1
    assert await fleet.enrolments.stop(made.id, [listed.id]) == 1
    stopped = [each.stop_reason async for each in fleet.enrolments.list(made.id, stop_reason="by_person", limit=1)]
    assert stopped == ["by_person"]
