"""What a running Fleetcast promises while things go wrong. The simulator's ledger is the judge."""

import asyncio
from datetime import timedelta

import pytest

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import CampaignId, DeviceId, Phone
from fleetcast.queue.client import connect
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import CampaignFields, create_campaign
from fleetcast.services.devices import Device
from fleetcast.services.suppressions import list_suppressions
from fleetcast.services.workspaces import create_workspace
from fleetcast.store.invariants import broken_invariants
from fleetcast.transports.simulator.behaviour import SendOutcome
from fleetcast.transports.simulator.control import SimulatorControl
from tests.running import Fleet, until
from tests.store.broadcast import move_time


def people(count: int, *, first: int = 0) -> str:
    return "name,phone\n" + "".join(f"Person {n},+6012{first + n:07}\n" for n in range(count))


def phone(n: int) -> Phone:
    return Phone(f"+6012{n:07}")


async def launched(fleet: Fleet, **fields: object) -> CampaignId:
    given: CampaignFields = {"title": "Greetings", "body": "Hello {{ name }}", "schedule": "now"}
    given.update(fields)  # type: ignore[typeddict-item]
    campaign = await create_campaign(fleet.runtime, fleet.workspace.id, given, actor="test")
    await launch_campaign(fleet.runtime, fleet.workspace.id, campaign.id, actor="test")
    return campaign.id


async def simulator(fleet: Fleet) -> SimulatorControl:
    return SimulatorControl(fleet.runtime.simulator_socket)


async def all_promises_hold(fleet: Fleet) -> None:
    async with fleet.runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []
    assert (await fleet.judge()).holds


async def sent_at_least(fleet: Fleet, campaign: CampaignId, count: int) -> None:
    async def enough() -> bool:
        return await fleet.count(campaign, "sent") >= count

    await until(enough)


async def test_f09_what_is_launched_goes_out_without_anything_else_being_started(fleet: Fleet) -> None:
    await fleet.leads(await fleet.device(), people(20))
    campaign = await launched(fleet)
    await until(lambda: fleet.has_finished(campaign))
    assert (await fleet.judge()).accepted == 20


async def test_f10_redis_emptied_in_mid_campaign_loses_nothing(fleet: Fleet) -> None:
    await fleet.leads(await fleet.device(delay=0.02), people(120))
    campaign = await launched(fleet)
    flushing = connect(fleet.runtime.settings.redis_url.get_secret_value())  # type: ignore[union-attr]
    for count in (10, 50, 80):
        await sent_at_least(fleet, campaign, count)
        keys = [k async for k in flushing.scan_iter(match=f"{fleet.runtime.keys.prefix}:*")]
        if keys:
            await flushing.delete(*keys)
    await flushing.aclose()
    await until(lambda: fleet.has_finished(campaign))
    assert await fleet.count(campaign, "sent") == 120
    await all_promises_hold(fleet)


async def test_f02_a_row_whose_hint_was_never_written_is_found_in_sql(fleet: Fleet) -> None:
    device = await fleet.device()
    await fleet.leads(device, people(3))
    async with fleet.runtime.db.connection() as connection:
        # Queued as a dispatcher that died between its commit and its hint would leave them.
        await connection.execute(
            "CREATE FUNCTION queue_at_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "UPDATE broadcast_messages SET status = 'queued' WHERE id = NEW.id; "
            "INSERT INTO campaign_tallies (campaign_id, counter, n) VALUES (NEW.campaign_id, 'pending', -1), "
            "(NEW.campaign_id, 'queued', 1); RETURN NULL; END $$"
        )
        await connection.execute(
            "CREATE TRIGGER queue_at_once AFTER INSERT ON broadcast_messages "
            "FOR EACH ROW EXECUTE FUNCTION queue_at_once()"
        )
    campaign = await launched(fleet)
    await until(lambda: fleet.has_finished(campaign))
    assert (await fleet.judge()).accepted == 3


async def test_f12_a_short_disconnect_pauses_a_device_and_ends_nothing(fleet: Fleet) -> None:
    device = await fleet.device(delay=0.01)
    await fleet.leads(device, people(60))
    campaign = await launched(fleet)
    await sent_at_least(fleet, campaign, 10)
    async with await simulator(fleet) as control:
        await control.disconnect(device.id, seconds=1.0)
    await until(lambda: no_row_is_stuck(fleet))
    assert await fleet.count(campaign, "skipped", "failed") == 0
    await all_promises_hold(fleet)


async def no_row_is_stuck(fleet: Fleet) -> bool:
    """All are sent but those that were on their way at the moment of the disconnect: they wait for their retry."""
    async with fleet.runtime.db.connection() as connection:
        stuck: int = await connection.fetchval(
            "SELECT count(*) FROM broadcast_messages "
            "WHERE is_open AND NOT (status = 'pending' AND attempts > 0 AND not_before > fleetcast_now())"
        )
    return stuck == 0


async def test_f13_what_was_due_days_ago_still_goes_out(fleet: Fleet) -> None:
    device = await fleet.device()
    await fleet.leads(device, people(5))
    async with await simulator(fleet) as control:
        await control.disconnect(device.id)
        campaign = await launched(fleet)

        async def planned() -> bool:
            return (await fleet.show(campaign)).campaign.planned_at is not None

        await until(planned)
        async with fleet.runtime.db.connection() as connection:
            await move_time(connection, timedelta(days=5))
        await control.bring_back(device.id)
    await until(lambda: fleet.has_finished(campaign))
    assert await fleet.count(campaign, "sent") == 5


async def test_f15_attempts_are_counted_in_the_row_and_end(fleet: Fleet) -> None:
    device = await fleet.device()
    await fleet.leads(device, people(2))
    async with await simulator(fleet) as control:
        await control.force(SendOutcome.RATE_LIMITED, device=device.id, count=8)
    campaign = await launched(fleet)
    for attempt in range(1, 5):

        async def tried(attempt: int = attempt) -> bool:
            async with fleet.runtime.db.connection() as connection:
                return bool(
                    await connection.fetchval(
                        "SELECT bool_and(attempts >= $1 AND status IN ('pending', 'failed')) FROM broadcast_messages",
                        attempt,
                    )
                )

        await until(tried)
        async with fleet.runtime.db.connection() as connection:
            await move_time(connection, timedelta(minutes=20))
    await until(lambda: fleet.has_finished(campaign))
    counts = (await fleet.show(campaign)).counts
    assert counts.by_reason["failed"] == {"retries_exhausted": 2}
    assert (await fleet.judge()).accepted == 0


async def test_f19_a_message_that_cannot_be_made_ends_alone(fleet: Fleet) -> None:
    device = await fleet.device()
    await fleet.leads(device, people(10))
    async with fleet.runtime.db.connection() as connection:
        # A text that no check would let in, as an older version might have stored it.
        content = await connection.fetchval(
            "INSERT INTO contents (workspace_id, body) VALUES ($1, '{{ name | no_such_filter }}') RETURNING id",
            fleet.workspace.id,
        )
        await connection.execute(
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF NEW.recipient LIKE '%3' THEN NEW.content_id := {content}; END IF; RETURN NEW; END $$"
        )
        await connection.execute(
            "CREATE TRIGGER spoil BEFORE INSERT ON broadcast_messages FOR EACH ROW EXECUTE FUNCTION spoil()"
        )
    campaign = await launched(fleet)
    await until(lambda: fleet.has_finished(campaign))
    assert await fleet.count(campaign, "sent") == 9
    assert await fleet.count(campaign, "failed") == 1
    await all_promises_hold(fleet)


async def test_f40_a_slow_device_holds_up_nobody_else(fleet: Fleet) -> None:
    slow, quick = await fleet.device("Slow"), await fleet.device("Quick")
    await fleet.leads(slow, people(5))
    await fleet.leads(quick, people(50, first=100))
    async with await simulator(fleet) as control:
        await control.force(SendOutcome.SLOW, device=slow.id, count=5)
        campaign = await launched(fleet)

        async def quick_is_through() -> bool:
            return await sent_by(fleet, quick) == 50

        await until(quick_is_through)
        assert await sent_by(fleet, slow) < 5, "each answer of the slow device takes longer than all of the quick one"
        await until(lambda: fleet.has_finished(campaign))
        await control.release()
    await all_promises_hold(fleet)


async def test_a_workspace_with_many_rows_does_not_delay_anothers_ten(fleet: Fleet) -> None:
    for n in range(4):
        await fleet.leads(await fleet.device(f"Large {n}"), people(400, first=10_000 * n))
    large = await launched(fleet)
    other = await create_workspace(fleet.runtime, "Small shop")
    small_fleet = Fleet(fleet.runtime, other, fleet.folder, fleet.ledger)
    await small_fleet.leads(await small_fleet.device("Small"), people(10, first=900_000))
    await sent_at_least(fleet, large, 40)
    small = await launched(small_fleet)
    await until(lambda: small_fleet.has_finished(small))
    assert not await fleet.has_finished(large), "the ten did not wait behind the thousands"
    await until(lambda: fleet.has_finished(large))
    await all_promises_hold(fleet)


@pytest.mark.parametrize("outcome", [SendOutcome.NO_ANSWER_ACCEPTED, SendOutcome.NO_ANSWER_DROPPED])
async def test_an_attempt_without_an_answer_is_settled_by_the_ledger_and_sent_once(
    fleet: Fleet, outcome: SendOutcome
) -> None:
    device = await fleet.device()
    await fleet.leads(device, people(6))
    async with await simulator(fleet) as control:
        await control.force(outcome, device=device.id, count=2)
        campaign = await launched(fleet)
        await until(lambda: fleet.has_finished(campaign))
    verdict = await fleet.judge()
    assert (verdict.accepted, verdict.holds) == (6, True)
    assert await fleet.count(campaign, "sent") == 6
    await all_promises_hold(fleet)


async def test_a_stop_word_ends_what_waits_for_that_person_on_every_device(fleet: Fleet) -> None:
    one, two = await fleet.device("One", delay=0.05), await fleet.device("Two", delay=0.05)
    await fleet.leads(one, people(40))
    await fleet.leads(two, people(1, first=39) + "Somebody,+60125555555\n")
    async with await simulator(fleet) as control:
        campaign = await launched(fleet)
        await sent_at_least(fleet, campaign, 2)
        await control.reply(one.id, phone(39), "  Stop! ")
        await until(lambda: fleet.has_finished(campaign))
    [suppression] = await list_suppressions(fleet.runtime, fleet.workspace.id)
    assert (suppression.recipient, suppression.source) == (phone(39), "reply")
    assert (await fleet.show(campaign)).counts.by_reason["skipped"] == {"opt_out": 1}
    assert await fleet.count(campaign, "sent") == 40
    await all_promises_hold(fleet)


async def test_a_new_device_takes_part_in_a_running_campaign_at_once(fleet: Fleet) -> None:
    await fleet.leads(await fleet.device("First", delay=0.1), people(60))
    campaign = await launched(fleet)
    await sent_at_least(fleet, campaign, 3)
    newcomer = await fleet.device("Newcomer")
    await fleet.leads(newcomer, people(10, first=1_000))

    async def newcomer_has_sent() -> bool:
        return await sent_by(fleet, newcomer) == 10

    await until(newcomer_has_sent)
    assert (await fleet.show(campaign)).campaign.status is CampaignStatus.RUNNING
    assert (await fleet.show(campaign)).counts.planned == 70


async def sent_by(fleet: Fleet, device: Device) -> int:
    async with fleet.runtime.db.connection() as connection:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM broadcast_messages WHERE device_id = $1 AND status = 'sent'", device.id
        )
        return count


async def test_delivery_and_read_receipts_grow_and_are_counted(fleet: Fleet) -> None:
    await fleet.leads(await fleet.device(), people(10))
    async with await simulator(fleet) as control:
        await control.behave(
            delivered=1.0, read=1.0, delivered_after=[0.0, 0.05], read_after=[0.0, 0.05], repeated=1.0, read_first=0.5
        )
    campaign = await launched(fleet)

    async def all_read() -> bool:
        return (await fleet.show(campaign)).counts.read == 10

    await until(all_read)
    counts = (await fleet.show(campaign)).counts
    assert (counts.delivered, counts.read, counts.by_status) == (10, 10, {"sent": 10})
    await all_promises_hold(fleet)


async def test_a_ban_stops_the_device_and_its_rows_wait(fleet: Fleet) -> None:
    device = await fleet.device(delay=0.02)
    await fleet.leads(device, people(50))
    campaign = await launched(fleet)
    await sent_at_least(fleet, campaign, 5)
    async with await simulator(fleet) as control:
        await control.ban(DeviceId(device.id))

    async def stopped() -> bool:
        async with fleet.runtime.db.connection() as connection:
            row = await connection.fetchrow("SELECT state::text, state_reason FROM devices WHERE id = $1", device.id)
        assert row is not None
        return bool(row["state"] == "banned" and row["state_reason"])

    await until(stopped)
    await until(lambda: nothing_under_way(fleet, campaign))
    assert await fleet.count(campaign, "pending") > 0
    assert await fleet.count(campaign, "failed", "skipped") == 0


async def nothing_under_way(fleet: Fleet, campaign: CampaignId) -> bool:
    await asyncio.sleep(0)
    return await fleet.count(campaign, "queued", "sending") == 0


async def test_a_person_who_refuses_messages_is_suppressed_although_the_database_was_away_then(fleet: Fleet) -> None:
    device = await fleet.device()
    await fleet.leads(device, people(1))
    async with await simulator(fleet) as control:
        await control.force(SendOutcome.OPTED_OUT, device=device.id)
    async with fleet.runtime.db.connection() as connection:
        await connection.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END $$; "
            "CREATE TRIGGER full_disk BEFORE INSERT ON suppressions EXECUTE FUNCTION full_disk()"
        )
        campaign = await launched(fleet)
        await until(lambda: fleet.has_finished(campaign))
        await connection.execute("DROP TRIGGER full_disk ON suppressions")

    async def suppressed() -> bool:
        return [s.recipient for s in await list_suppressions(fleet.runtime, fleet.workspace.id)] == [phone(0)]

    await until(suppressed)
