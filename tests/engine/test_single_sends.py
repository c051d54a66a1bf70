"""A message to one person in a running Fleetcast: the same queue, pace, consent and proof. The ledger is the judge."""

import asyncio
from datetime import timedelta

import pytest

from fleetcast.domain.device import DeviceState
from fleetcast.domain.message import MessageStatus
from fleetcast.engine import dispatcher
from fleetcast.services.devices import Device, find_device, pause_device, remove_device, resume_device
from fleetcast.services.messages import list_messages, show_message
from fleetcast.services.single_sends import SingleSend, send_message
from fleetcast.services.suppressions import add_suppression
from fleetcast.store.invariants import broken_invariants
from fleetcast.store.messages import MessageRow
from fleetcast.transports.simulator.behaviour import SendOutcome
from fleetcast.transports.simulator.control import SimulatorControl
from tests.engine.test_sending import launched, people, phone, sent_at_least
from tests.running import Fleet, until
from tests.store.broadcast import move_time


async def send(fleet: Fleet, device: Device, n: int = 900, **more: str) -> MessageRow:
    asked = SingleSend(device.id, phone(n), more.pop("text", "Hello"), **more)
    return await send_message(fleet.runtime, fleet.workspace.id, asked, actor="test", once=more.get("once"))


async def now(fleet: Fleet, message: MessageRow) -> MessageRow:
    return (await show_message(fleet.runtime, fleet.workspace.id, message.id)).message


async def becomes(fleet: Fleet, message: MessageRow, *statuses: MessageStatus) -> MessageRow:
    async def so() -> bool:
        return (await now(fleet, message)).status in statuses

    await until(so)
    return await now(fleet, message)


async def all_promises_hold(fleet: Fleet) -> None:
    async with fleet.runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []
    assert (await fleet.judge()).holds


async def test_it_reaches_the_person_once_and_its_receipts_come_back(fleet: Fleet) -> None:
    device = await fleet.device()
    async with SimulatorControl(fleet.runtime.simulator_socket) as control:
        await control.behave(delivered=1.0, read=1.0, delivered_after=[0.0, 0.05], read_after=[0.0, 0.05])
    message = await send(fleet, device)

    async def read() -> bool:
        return (await now(fleet, message)).delivery == "read"

    await until(read)
    story = await show_message(fleet.runtime, fleet.workspace.id, message.id)
    assert (story.message.status, len(story.attempts)) == ("sent", 1)
    assert story.message.resolution in ("answer", "receipt"), "a receipt that overtakes the answer is proof as well"
    assert (await fleet.judge()).accepted == 1
    await all_promises_hold(fleet)


@pytest.fixture
def seldom_recounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds its way here does so by its nudge."""
    monkeypatch.setattr(dispatcher, "RECOUNT_SECONDS", 20.0)


@pytest.mark.usefixtures("seldom_recounted")
async def test_it_goes_before_what_a_campaign_has_in_the_window_and_keeps_the_devices_pace(fleet: Fleet) -> None:
    device = await fleet.device(delay=0.3)
    await fleet.leads(device, people(400))
    campaign = await launched(fleet)
    await sent_at_least(fleet, campaign, 2)

    async def window_is_full() -> bool:
        return await fleet.count(campaign, "queued") >= 40

    await until(window_is_full)
    before = await fleet.count(campaign, "sent")
    messages = [await send(fleet, device, 900 + n) for n in range(3)]
    for message in messages:
        await becomes(fleet, message, MessageStatus.SENT)
    after = await fleet.count(campaign, "sent")
    assert after - before < 15, "it did not wait until the window of fifty had fallen to half"
    await all_promises_hold(fleet)  # invariant 6: attempts never overlap and keep the gaps that were drawn


async def test_a_campaigns_slower_pace_is_not_the_pace_of_a_single_send(fleet: Fleet) -> None:
    device = await fleet.device(delay=0.05)
    await fleet.leads(device, people(20))
    campaign = await launched(fleet, min_delay=600.0, max_delay=600.0)
    await sent_at_least(fleet, campaign, 1)
    message = await send(fleet, device)
    await becomes(fleet, message, MessageStatus.SENT)
    assert await fleet.count(campaign, "sent") == 1
    await all_promises_hold(fleet)


async def test_to_who_said_stop_it_is_skipped_when_made_and_when_it_waits(fleet: Fleet) -> None:
    device = await fleet.device()
    await add_suppression(fleet.runtime, fleet.workspace, phone(1), actor="test")
    refused = await send(fleet, device, 1)
    assert (refused.status, refused.reason) == ("skipped", "opt_out")
    await pause_device(fleet.runtime, fleet.workspace.id, device.id, actor="test")
    waiting = await send(fleet, device, 2)
    async with SimulatorControl(fleet.runtime.simulator_socket) as control:
        await control.reply(device.id, phone(2), "STOP")
    ended = await becomes(fleet, waiting, MessageStatus.SKIPPED)
    assert ended.reason == "opt_out"
    await resume_device(fleet.runtime, fleet.workspace.id, device.id, actor="test")
    other = await send(fleet, device, 3)
    await becomes(fleet, other, MessageStatus.SENT)
    assert (await fleet.judge()).accepted == 1
    await all_promises_hold(fleet)


async def test_what_did_not_leave_in_its_time_is_skipped_and_says_why(fleet: Fleet) -> None:
    away, slow = await fleet.device("Away"), await fleet.device("Slow", delay=3_600)
    async with SimulatorControl(fleet.runtime.simulator_socket) as control:
        first = await send(fleet, slow)
        await becomes(fleet, first, MessageStatus.SENT)
        await control.disconnect(away.id)

        async def offline() -> bool:
            async with fleet.runtime.db.connection() as connection:
                ready: bool = await connection.fetchval("SELECT is_ready FROM devices WHERE id = $1", away.id)
                return not ready

        await until(offline)
        one, two = await send(fleet, away, expires_after="2m"), await send(fleet, slow, 901, expires_after="2m")
        later = await send(fleet, slow, 902)
        async with fleet.runtime.db.connection() as connection:
            await move_time(connection, timedelta(minutes=3))
        assert (await becomes(fleet, one, MessageStatus.SKIPPED)).reason == "device_offline"
        assert (await becomes(fleet, two, MessageStatus.SKIPPED)).reason == "expired"
    assert (await now(fleet, later)).status in ("pending", "queued")
    assert (await fleet.judge()).accepted == 1
    await all_promises_hold(fleet)


@pytest.mark.parametrize("outcome", [SendOutcome.NO_ANSWER_ACCEPTED, SendOutcome.NO_ANSWER_DROPPED])
async def test_one_without_an_answer_is_settled_by_the_ledger(fleet: Fleet, outcome: SendOutcome) -> None:
    device = await fleet.device()
    async with SimulatorControl(fleet.runtime.simulator_socket) as control:
        await control.force(outcome, device=device.id, count=1)
        message = await send(fleet, device)
        await becomes(fleet, message, MessageStatus.SENT)
    verdict = await fleet.judge()
    assert (verdict.accepted, verdict.holds) == (1, True)
    await all_promises_hold(fleet)


async def test_twenty_at_once_under_one_key_reach_the_person_once(fleet: Fleet) -> None:
    device = await fleet.device()
    asked = SingleSend(device.id, phone(7), "Hello")
    made = await asyncio.gather(
        *(
            send_message(fleet.runtime, fleet.workspace.id, asked, actor="key:1 shop", once="order-17")
            for _ in range(20)
        )
    )
    assert len({m.id for m in made}) == 1
    other = await send_message(fleet.runtime, fleet.workspace.id, asked, actor="key:2 other", once="order-17")
    assert other.id != made[0].id, "somebody else's key is another key"
    await becomes(fleet, made[0], MessageStatus.SENT)
    await becomes(fleet, other, MessageStatus.SENT)
    assert (await fleet.judge()).accepted == 2
    async with fleet.runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM contents") == 2, "no text is left without its message"
        assert await connection.fetchval("SELECT count(*) FROM audit WHERE action = 'message.send'") == 2


async def test_a_removed_device_leaves_none_waiting(fleet: Fleet) -> None:
    device = await fleet.device(delay=3_600)
    await becomes(fleet, await send(fleet, device), MessageStatus.SENT)
    waiting = await send(fleet, device, 901)
    await remove_device(fleet.runtime, fleet.workspace.id, device.id, actor="test")
    assert (await becomes(fleet, waiting, MessageStatus.SKIPPED)).reason == "device_removed"
    await all_promises_hold(fleet)


async def test_it_is_sent_by_the_devices_lead_and_stands_in_the_persons_list(fleet: Fleet) -> None:
    device = await fleet.device()
    await fleet.leads(device, people(2))
    campaign = await launched(fleet)
    await until(lambda: fleet.has_finished(campaign))
    message = await send(fleet, device, 1)
    await becomes(fleet, message, MessageStatus.SENT)
    async with fleet.runtime.db.connection() as connection:
        lead = await connection.fetchval("SELECT lead_id FROM broadcast_messages WHERE id = $1", message.id)
        assert lead == await connection.fetchval("SELECT id FROM leads WHERE phone = $1", phone(1))
    listed = await list_messages(fleet.runtime, fleet.workspace.id, recipient=phone(1))
    assert [m.campaign_id for m in listed.messages] == [None, campaign]


async def test_a_device_that_may_only_answer_answers_who_wrote_lately_and_keeps_all_else(fleet: Fleet) -> None:
    device = await fleet.device()
    await fleet.leads(device, people(3))
    async with SimulatorControl(fleet.runtime.simulator_socket) as control:
        for n in (1, 2):
            await control.reply(device.id, phone(n), "When do you open?")
            await until(lambda n=n: heard(fleet, n))  # type: ignore[misc]
            if n == 1:
                async with fleet.runtime.db.connection() as connection:
                    await connection.execute("UPDATE inbox SET occurred_at = occurred_at - interval '25 hours'")
        await control.restrict(device.id, 3600, answers=True)
        campaign = await launched(fleet)
        stranger, late, answer = (
            await send(fleet, device, 0),
            await send(fleet, device, 1),
            await send(fleet, device, 2),
        )
        await becomes(fleet, answer, MessageStatus.SENT)
        assert {(await now(fleet, m)).status for m in (stranger, late)} == {MessageStatus.PENDING}
        assert await fleet.count(campaign, "sent") == 0
        assert (await fleet.judge()).accepted == 1
        await control.bring_back(device.id)
        await until(lambda: fleet.has_finished(campaign))
        for message in (stranger, late):
            await becomes(fleet, message, MessageStatus.SENT)
    await all_promises_hold(fleet)


async def heard(fleet: Fleet, n: int) -> bool:
    async with fleet.runtime.db.connection() as connection:
        return bool(await connection.fetchval("SELECT count(*) FROM inbox WHERE sender = $1", phone(n)))


async def test_a_device_that_is_restricted_altogether_keeps_answers_as_well(fleet: Fleet) -> None:
    device = await fleet.device()
    async with SimulatorControl(fleet.runtime.simulator_socket) as control:
        await control.reply(device.id, phone(1), "Hello?")
        await until(lambda: heard(fleet, 1))
        await control.restrict(device.id, 3600)

        async def is_restricted() -> bool:
            found = await find_device(fleet.runtime, fleet.workspace.id, device.name)
            return found.state is DeviceState.RESTRICTED and not found.may_answer

        await until(is_restricted)
        answer = await send(fleet, device, 1)
        await control.bring_back(device.id)
        await becomes(fleet, answer, MessageStatus.SENT)
        assert (await now(fleet, answer)).attempts == 1, "nobody tried while it could not leave"
    await all_promises_hold(fleet)
