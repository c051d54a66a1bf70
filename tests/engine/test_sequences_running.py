"""Sequences in a running Fleetcast: scheduler, sender and simulator. The ledger is the judge."""

from datetime import timedelta
from typing import Any

from fleetcast.domain.identifiers import LeadId, SequenceId
from fleetcast.services.enrolments import enrol_people
from fleetcast.services.sequence_actions import activate_sequence, pause_sequence, resume_sequence
from fleetcast.services.sequence_reports import report_sequence
from fleetcast.services.sequence_steps import add_step
from fleetcast.services.sequences import create_sequence
from fleetcast.transports.simulator.control import SimulatorControl
from tests.engine.test_sending import all_promises_hold, launched, people, phone, sent_at_least
from tests.running import Fleet, until
from tests.store.broadcast import move_time

FIRST: Any = {"after": "0m", "body": "Welcome {{ name }}"}
SECOND: Any = {"after": "1d", "body": "How are you?"}


async def begun(fleet: Fleet, *steps: Any, **fields: Any) -> SequenceId:
    """A sequence at work."""
    given: Any = {"name": "Welcome", **fields}
    made = await create_sequence(fleet.runtime, fleet.workspace.id, given, actor="test")
    for step in steps or (FIRST, SECOND):
        await add_step(fleet.runtime, fleet.workspace.id, made.id, step, actor="test")
    await activate_sequence(fleet.runtime, fleet.workspace.id, made.id, even_offline=True, actor="test")
    return made.id


async def enrol(fleet: Fleet, sequence: SequenceId, *leads: int) -> None:
    ids = [LeadId(lead) for lead in leads]
    await enrol_people(fleet.runtime, fleet.workspace.id, sequence, lead_ids=ids, actor="test")


async def sent(fleet: Fleet, sequence: SequenceId) -> int:
    return (await report_sequence(fleet.runtime, fleet.workspace.id, sequence)).whole.sent


async def has_sent(fleet: Fleet, sequence: SequenceId, count: int) -> None:
    async def so() -> bool:
        return await sent(fleet, sequence) >= count

    await until(so)


async def later(fleet: Fleet, by: timedelta) -> None:
    async with fleet.runtime.db.transaction() as connection:
        await move_time(connection, by)
    await fleet.runtime.nudges.sequences()


async def test_new_leads_get_the_first_step_at_once_and_the_second_a_day_later(fleet: Fleet) -> None:
    device = await fleet.device()
    sequence = await begun(fleet, niches=["fitness"], auto_enrol=True)
    text = "name,phone,niche\n" + "".join(f"Person {n},+6012{n:07},fitness\n" for n in range(30))
    await fleet.leads(device, text + "Other,+60129999999,yoga\n")
    await has_sent(fleet, sequence, 30)
    await later(fleet, timedelta(days=1, minutes=1))
    await has_sent(fleet, sequence, 60)

    async def all_through() -> bool:
        report = await report_sequence(fleet.runtime, fleet.workspace.id, sequence)
        return report.whole.people.completed == 30

    await until(all_through)
    judge = await fleet.judge()
    assert (judge.accepted, judge.holds) == (60, True)
    await all_promises_hold(fleet)


async def test_a_reply_to_the_first_step_is_the_end(fleet: Fleet) -> None:
    device = await fleet.device()
    await fleet.leads(device, people(2))
    sequence = await begun(fleet)
    await enrol(fleet, sequence, 1, 2)
    await has_sent(fleet, sequence, 2)
    async with SimulatorControl(fleet.runtime.simulator_socket) as control:
        await control.reply(device.id, phone(0), "Thank you!")

    async def stopped() -> bool:
        report = await report_sequence(fleet.runtime, fleet.workspace.id, sequence)
        return report.whole.people.by_reason == {"replied": 1}

    await until(stopped)
    await later(fleet, timedelta(days=1, minutes=1))
    await has_sent(fleet, sequence, 3)
    assert (await fleet.judge()).accepted == 3
    await all_promises_hold(fleet)


async def test_a_sequence_goes_before_what_a_campaign_has_in_the_window(fleet: Fleet) -> None:
    device = await fleet.device(delay=0.2)
    await fleet.leads(device, people(400))
    campaign = await launched(fleet)
    sequence = await begun(fleet)
    await sent_at_least(fleet, campaign, 2)

    async def window_is_full() -> bool:
        return await fleet.count(campaign, "queued") >= 40

    await until(window_is_full)
    before = await fleet.count(campaign, "sent")
    await enrol(fleet, sequence, 1, 2, 3)
    await has_sent(fleet, sequence, 3)
    assert await fleet.count(campaign, "sent") - before < 25, "it did not wait until the window had fallen to half"
    await all_promises_hold(fleet)  # invariant 6: attempts never overlap and keep the gaps that were drawn


async def test_its_own_pace_is_that_of_its_steps_and_of_nothing_else(fleet: Fleet) -> None:
    device = await fleet.device(delay=0.05)
    await fleet.leads(device, people(20))
    sequence = await begun(fleet, min_delay=600.0, max_delay=600.0)
    await enrol(fleet, sequence, 1, 2, 3)
    await has_sent(fleet, sequence, 1)
    campaign = await launched(fleet)
    await later(fleet, timedelta(0))
    assert await sent(fleet, sequence) == 1
    assert await fleet.count(campaign, "sent") <= 20
    await all_promises_hold(fleet)


async def test_a_pause_holds_what_stands_in_the_window(fleet: Fleet) -> None:
    device = await fleet.device(delay=0.3)
    await fleet.leads(device, people(60))
    sequence = await begun(fleet)
    await enrol(fleet, sequence, *range(1, 61))
    await has_sent(fleet, sequence, 2)
    await pause_sequence(fleet.runtime, fleet.workspace.id, sequence, actor="test")

    async def taken_back() -> bool:
        report = await report_sequence(fleet.runtime, fleet.workspace.id, sequence)
        return set(report.whole.by_status) == {"sent"}

    await until(taken_back)
    held = await sent(fleet, sequence)
    campaign = await launched(fleet)
    await sent_at_least(fleet, campaign, 3)
    assert await sent(fleet, sequence) == held
    await resume_sequence(fleet.runtime, fleet.workspace.id, sequence, actor="test")
    await has_sent(fleet, sequence, held + 2)
    await all_promises_hold(fleet)
