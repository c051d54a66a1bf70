"""The crash table of docs/message-lifecycle.md: what happens to a sender on a message's way, C3 to C8.

Each on a real process. What chance finds beyond it is tried in `tests/chaos/test_kills.py`; guards and evidence are
tried statement by statement in `tests/store/test_transitions.py`.
"""

import pytest

from fleetcast.failpoints import Fault, Point
from fleetcast.transports.simulator.behaviour import SendOutcome
from tests.chaos.stage import CUT_SHORT, EVERY, PEOPLE, Stage


@pytest.mark.parametrize("fault", CUT_SHORT)
async def test_c03_hints_that_were_read_and_never_used_are_found_in_sql(stage: Stage, fault: Fault) -> None:
    await stage.outlives(Point.HINTS_READ, fault)


@pytest.mark.parametrize("fault", EVERY)
async def test_c04_what_was_claimed_and_never_left_is_sent_once(stage: Stage, fault: Fault) -> None:
    await stage.outlives(Point.CLAIM_COMMITTED, fault, nth=3)
    again = "SELECT count(*) > 0 FROM broadcast_messages WHERE attempts > 1"
    assert await stage.value(again), "a claim was open when it happened"


@pytest.mark.parametrize("fault", EVERY)
async def test_c05_what_was_accepted_without_anybodys_knowing_is_sent_by_the_ledger(stage: Stage, fault: Fault) -> None:
    await stage.outlives(Point.SEND_ANSWERED, fault, nth=7)
    by_ledger = "SELECT count(*) > 0 FROM broadcast_messages WHERE resolution = 'ledger' AND attempts = 1"
    assert await stage.value(by_ledger)


@pytest.mark.parametrize("fault", CUT_SHORT)
async def test_c06_answers_that_were_lost_with_the_process_are_found_in_the_ledger(stage: Stage, fault: Fault) -> None:
    await stage.outlives(Point.RESULTS_TAKEN, fault, nth=3)
    assert await stage.value("SELECT count(*) > 0 FROM broadcast_messages WHERE resolution = 'ledger'")


async def test_c06_answers_that_no_database_took_are_spooled_and_replayed_though_the_first_replay_is_killed(
    stage: Stage,
) -> None:
    await stage.people(PEOPLE)
    spool = stage.runtime.settings.data / "spool"
    async with stage.control() as simulator:
        await simulator.force(SendOutcome.SLOW, count=2)
        async with stage.beside("scheduler"):
            sender, campaign = await stage.two_unanswered()
        async with stage.without_database():
            await simulator.release()
            await sender.says("results wait for the database")
            sender.process.terminate()
            assert await sender.ends(60) == 0
        assert len([line for file in spool.iterdir() for line in file.read_text().splitlines()]) == 2
        second = stage.start("sender", f"{Point.SPOOL_REPLAYED}=kill@1")
        await second.hits(Point.SPOOL_REPLAYED, Fault.KILL)
        assert len(list(spool.iterdir())) == 1
        assert await stage.value("SELECT count(*) FROM broadcast_messages WHERE resolution = 'spool'") == 2
        async with stage.beside("scheduler"):
            stage.start("sender")
            await stage.comes_to_its_end(campaign, sent=PEOPLE)
        assert list(spool.iterdir()) == []


@pytest.mark.parametrize("fault", CUT_SHORT)
async def test_c07_what_was_recorded_is_not_sent_again_though_its_hint_is_still_there(
    stage: Stage, fault: Fault
) -> None:
    await stage.outlives(Point.RESULTS_COMMITTED, fault, nth=3)


async def test_c08_a_result_whose_commit_was_not_answered_is_written_again_and_matches_itself(stage: Stage) -> None:
    await stage.outlives(Point.RESULTS_COMMITTED, Fault.TIMEOUT, nth=3)
    assert await stage.value("SELECT count(*) FROM broadcast_messages WHERE resolution = 'answer'") == PEOPLE
