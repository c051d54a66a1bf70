"""The crash table of docs/message-lifecycle.md: what happens between processes, C9 to C12 and C15 to C17.

Takeovers, servers that go away, stops and frozen senders, each on real processes. A stop and a kill of the whole tree
are tried in `tests/chaos/test_kills.py`.
"""

import signal

import pytest

from fleetcast.failpoints import Fault, Point
from fleetcast.transports.simulator.behaviour import SendOutcome
from fleetcast.transports.simulator.ledger import Ledger
from tests.chaos.stage import EVERY, PEOPLE, Stage
from tests.process_tree import eventually


@pytest.mark.parametrize("fault", EVERY)
async def test_c09_a_sender_that_fails_while_it_takes_over_is_followed_by_another(stage: Stage, fault: Fault) -> None:
    await stage.people(PEOPLE)
    campaign = await stage.launched()
    async with stage.beside("scheduler"):
        first = stage.start("sender", f"{Point.CLAIM_COMMITTED}=kill@3")
        await first.hits(Point.CLAIM_COMMITTED, Fault.KILL)
        second = stage.start("sender", f"{Point.LEASE_TAKEN}={fault}@1")
        await second.hits(Point.LEASE_TAKEN, fault)
        if second.process.poll() is not None:
            stage.start("sender")
        await stage.comes_to_its_end(campaign, sent=PEOPLE)


async def test_c09_what_an_old_sender_reports_after_a_takeover_is_kept_as_evidence(stage: Stage) -> None:
    await stage.people(PEOPLE)
    async with stage.control() as simulator, stage.beside("scheduler"):
        await simulator.force(SendOutcome.SLOW, count=2)
        old = stage.start("sender", FLEETCAST_SEND_SECONDS="60")
        campaign = await stage.launched()
        await stage.accepted(2)
        await stage.becomes("SELECT count(*) FROM broadcast_messages WHERE status = 'sending'", 2)
        old.process.send_signal(signal.SIGSTOP)
        stage.start("sender")
        await stage.comes_to_its_end(campaign, sent=PEOPLE)
        await simulator.release()
        old.process.send_signal(signal.SIGCONT)
        await stage.becomes("SELECT count(*) FROM inbox WHERE kind = 'accepted'", 2)
        await stage.comes_to_its_end(campaign, sent=PEOPLE)


@pytest.mark.parametrize("fault", EVERY)
async def test_c10_events_that_were_stored_and_not_confirmed_come_again_and_change_nothing(
    stage: Stage, fault: Fault
) -> None:
    async with stage.control() as simulator:
        await simulator.behave(delivered=1.0, delivered_after=[0.0, 0.2], read=1.0, read_after=[0.0, 0.2])
    await stage.outlives(Point.INBOX_STORED, fault, nth=3)
    await stage.becomes("SELECT count(*) FROM broadcast_messages WHERE delivery = 'read'", PEOPLE)
    assert await stage.value("SELECT sum(n)::int FROM campaign_tallies WHERE counter = 'read'") == PEOPLE


async def test_c10_a_receipt_that_comes_before_the_answer_is_evidence_and_the_answer_changes_nothing(
    stage: Stage,
) -> None:
    await stage.people(PEOPLE)
    async with stage.control() as simulator, stage.beside("scheduler"):
        await simulator.behave(delivered=1.0, delivered_after=[0.0, 0.01])
        await simulator.force(SendOutcome.SLOW, count=2)
        stage.start("sender", FLEETCAST_SEND_SECONDS="60")
        campaign = await stage.launched()
        await stage.becomes("SELECT count(*) FROM broadcast_messages WHERE resolution = 'receipt'", 2)
        await simulator.release()
        await stage.becomes("SELECT count(*) >= 2 FROM inbox WHERE kind = 'accepted' AND processed_at IS NOT NULL")
        await stage.comes_to_its_end(campaign, sent=PEOPLE)


async def test_c11_results_outlast_a_database_that_is_away_and_nothing_is_claimed_meanwhile(stage: Stage) -> None:
    await stage.people(PEOPLE)
    async with stage.control() as simulator:
        await simulator.force(SendOutcome.SLOW, count=2)
        async with stage.beside("scheduler"):
            sender, campaign = await stage.two_unanswered()
            async with stage.without_database():
                await simulator.release()
                await sender.says("results wait for the database")
                assert len(list(Ledger.read(stage.fleet.ledger))) == 2
            await stage.comes_to_its_end(campaign, sent=PEOPLE)
    assert sender.process.poll() is None
    assert await stage.value("SELECT count(*) FROM broadcast_messages WHERE attempts > 1") == 0


async def test_c12_an_emptied_redis_costs_seconds_and_no_burst(stage: Stage) -> None:
    devices, delay = 2, 0.1
    await stage.people(PEOPLE, devices=devices, delay=delay)
    redis, keys = stage.runtime.redis, stage.runtime.keys
    async with stage.beside("scheduler"):
        stage.start("sender")
        campaign = await stage.launched()
        for count in (5, 15, 25):
            await stage.accepted(count)
            await redis.delete(*[key async for key in redis.scan_iter(match=f"{keys.prefix}:*")], "nothing")
        await stage.comes_to_its_end(campaign, sent=PEOPLE)  # the invariants look at every gap


async def test_c15_a_polite_stop_claims_nothing_more_and_leaves_what_is_unanswered_in_doubt(stage: Stage) -> None:
    await stage.people(PEOPLE)
    async with stage.beside("scheduler"):
        sender = stage.start("sender", f"{Point.SEND_ANSWERED}=hang@7")
        campaign = await stage.launched()
        await sender.says(f"failpoint {Point.SEND_ANSWERED}: hang")
        sender.process.terminate()
        assert await sender.ends() == 0
        assert "attempts without an answer at the stop" in sender.said
        assert await stage.value("SELECT count(*) FROM broadcast_messages WHERE status = 'sending'") == 0
        assert await stage.value("SELECT count(*) FROM shards WHERE owner IS NOT NULL") == 0
        stage.start("sender")
        await stage.comes_to_its_end(campaign, sent=PEOPLE)


async def test_c16_a_row_that_kills_its_sender_three_times_fails_alone(stage: Stage) -> None:
    await stage.people(1, devices=1)
    campaign = await stage.launched()
    async with stage.beside("scheduler"):
        for _ in range(3):
            sender = stage.start("sender", f"{Point.CLAIM_COMMITTED}=kill")
            await sender.hits(Point.CLAIM_COMMITTED, Fault.KILL)
        stage.start("sender")
        await stage.comes_to_its_end(campaign, sent=0, failed=1)
    assert (await stage.fleet.show(campaign)).counts.by_reason["failed"] == {"poison": 1}


async def test_c17_what_a_frozen_sender_had_under_way_is_refused_when_it_arrives(stage: Stage) -> None:
    await stage.people(PEOPLE)
    async with stage.control() as simulator, stage.beside("scheduler"):
        await simulator.force(SendOutcome.LATE, count=2)
        frozen = stage.start("sender", FLEETCAST_SEND_SECONDS="60")
        campaign = await stage.launched()

        async def both_are_under_way() -> bool:
            return bool((await simulator.stats())["held"] == 2)

        await eventually(both_are_under_way, "two messages are on their way")
        frozen.process.send_signal(signal.SIGSTOP)
        stage.start("sender")
        await stage.comes_to_its_end(campaign, sent=PEOPLE)
        await simulator.release()
        frozen.process.send_signal(signal.SIGCONT)

        async def refused() -> bool:
            return bool((await simulator.stats())["ledger"]["late_refusals"] == 2)

        await eventually(refused, "both are refused as they arrive")
        await stage.comes_to_its_end(campaign, sent=PEOPLE)
