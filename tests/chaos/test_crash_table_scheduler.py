"""The crash table of docs/message-lifecycle.md, the half of it that happens in the scheduler.

C1, C2, the scheduler's part of C4 and C5 (finding orphans, asking about doubts), C13 and C14. How a planner gets
half-way is tried window by window in `tests/engine/test_planner.py`, summer time in `tests/domain/test_schedule.py`.
"""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from fleetcast.engine import intake
from fleetcast.failpoints import Fault, Point
from fleetcast.transports.simulator.behaviour import SendOutcome
from tests.chaos.stage import CUT_SHORT, EVERY, PEOPLE, Stage
from tests.store.broadcast import move_time

KUALA_LUMPUR = ZoneInfo("Asia/Kuala_Lumpur")


@pytest.mark.parametrize("fault", EVERY)
async def test_c01_a_planner_that_fails_half_way_is_followed_by_one_that_adds_what_is_missing(
    stage: Stage, fault: Fault
) -> None:
    await stage.outlives(Point.PLANNER_WINDOWS, fault, kind="scheduler")


@pytest.mark.parametrize("fault", EVERY)
async def test_c02_rows_that_were_queued_without_a_hint_are_found_in_sql(
    stage: Stage, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the look into SQL, here every two seconds; that ten are kept is tried in `tests/engine/test_sending.py`."""
    monkeypatch.setattr(intake, "REREAD_SECONDS", 2.0)
    await stage.outlives(Point.DISPATCHER_QUEUED, fault, kind="scheduler")


@pytest.mark.parametrize("fault", EVERY)
async def test_c05_an_answer_about_a_doubt_that_was_not_written_is_asked_for_again(stage: Stage, fault: Fault) -> None:
    await stage.people(PEOPLE)
    campaign = await stage.launched()
    async with stage.control() as simulator, stage.beside("sender"):
        await simulator.force(SendOutcome.NO_ANSWER_ACCEPTED, count=2)
        await simulator.force(SendOutcome.NO_ANSWER_DROPPED, count=2)
        await stage.meets("scheduler", Point.RECONCILER_ASKED, fault)
        await stage.comes_to_its_end(campaign, sent=PEOPLE)
    assert await stage.value("SELECT count(*) FROM broadcast_messages WHERE resolution = 'ledger'") == 2
    assert await stage.value("SELECT count(*) FROM broadcast_messages WHERE attempts = 2") == 2


@pytest.mark.parametrize("fault", CUT_SHORT)
async def test_c04_orphans_that_were_being_found_are_found_again(stage: Stage, fault: Fault) -> None:
    await stage.people(PEOPLE)
    campaign = await stage.launched()
    first = stage.start("sender", f"{Point.CLAIM_COMMITTED}=kill@2")
    scheduler = stage.start("scheduler", f"{Point.SWEEPER_ORPHANED}={fault}@1")
    await first.hits(Point.CLAIM_COMMITTED, Fault.KILL)
    async with stage.beside("sender"):
        await scheduler.hits(Point.SWEEPER_ORPHANED, fault)
        assert await stage.value("SELECT count(*) > 0 FROM broadcast_messages WHERE status = 'sending'")
        stage.start("scheduler")
        await stage.comes_to_its_end(campaign, sent=PEOPLE)
    assert await stage.value("SELECT count(*) > 0 FROM broadcast_messages WHERE crashes = 1")


async def test_c13_a_clock_that_jumps_sends_nothing_twice_and_nothing_before_its_time(stage: Stage) -> None:
    await stage.people(PEOPLE)
    async with stage.beside("sender", "scheduler"):
        tomorrow = await stage.launched(schedule=f"{datetime.now(KUALA_LUMPUR) + timedelta(days=1):%Y-%m-%d %H:%M}")
        campaign = await stage.launched()
        await stage.accepted(10)
        async with stage.runtime.db.connection() as connection:
            await move_time(connection, timedelta(minutes=3))
        await stage.comes_to_its_end(campaign, sent=PEOPLE)
        assert (await stage.fleet.show(tomorrow)).counts.planned == 0
        async with stage.runtime.db.connection() as connection:
            await move_time(connection, timedelta(days=2))
        await stage.comes_to_its_end(tomorrow, sent=PEOPLE, by_others=PEOPLE)


async def test_c14_two_schedulers_and_two_senders_do_the_work_of_one(stage: Stage) -> None:
    await stage.people(PEOPLE)
    parts = [stage.start(kind) for kind in ("scheduler", "scheduler", "sender", "sender")]
    campaign = await stage.launched()
    await stage.comes_to_its_end(campaign, sent=PEOPLE)
    assert [part.process.poll() for part in parts] == [None] * 4
