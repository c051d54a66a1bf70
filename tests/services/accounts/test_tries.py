"""How often somebody may try: the waits grow, side by side or one after another, and end."""

import asyncio
from datetime import timedelta

import pytest

from fleetcast.errors import TooMany
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import tries
from tests.services.accounts.stage import pass_time

LONG = timedelta(seconds=tries.LONGEST_WAIT)
SUBJECT = tries.of_account("ann@example.org")


async def wait_after(runtime: Runtime, subject: str, free: int = tries.FREE) -> float | None:
    """Count a try; for how long it blocks others, in seconds."""
    await tries.count(runtime, subject, free=free)
    async with runtime.db.connection() as connection:
        wait: float | None = await connection.fetchval(
            "SELECT extract(epoch FROM blocked_until - last_at)::float FROM sign_in_failures WHERE subject = $1",
            subject,
        )
    return wait


async def test_s33_waits_double_from_the_fifth_failure_on_and_end_at_a_quarter_of_an_hour(runtime: Runtime) -> None:
    waits = []
    for _ in range(17):
        waits.append(await wait_after(runtime, SUBJECT))
        await pass_time(runtime, LONG)
    assert waits == [None, None, None, None, *(2.0**n for n in range(10)), 900.0, 900.0, 900.0]


async def test_s33_an_address_may_be_shared_by_many_and_then_waits_too(runtime: Runtime) -> None:
    subject = tries.of_address("192.0.2.1")
    waits = [await wait_after(runtime, subject, tries.FREE_OF_ADDRESS) for _ in range(29)]
    assert waits == [None] * 29
    assert await wait_after(runtime, subject, tries.FREE_OF_ADDRESS) == 1.0


async def test_s33_tries_side_by_side_are_counted_before_they_are_looked_at(runtime: Runtime) -> None:
    for _ in range(12):  # the next one blocks for minutes: no time of the test's own makes a difference
        await tries.count(runtime, SUBJECT)
        await pass_time(runtime, LONG)
    outcomes = await asyncio.gather(*(tries.count(runtime, SUBJECT) for _ in range(50)), return_exceptions=True)
    assert [o for o in outcomes if not isinstance(o, TooMany)] == [13]


async def test_a_refusal_says_how_long_to_wait(runtime: Runtime) -> None:
    for _ in range(15):
        await pass_time(runtime, LONG)
        await tries.count(runtime, SUBJECT)
    with pytest.raises(TooMany, match="Wait 15 minutes and try again") as refused:
        await tries.count(runtime, SUBJECT)
    assert 890 < refused.value.retry_after <= 900


async def test_a_refused_try_makes_nothing_worse(runtime: Runtime) -> None:
    for _ in range(15):
        await pass_time(runtime, LONG)
        await tries.count(runtime, SUBJECT)
    for _ in range(20):
        with pytest.raises(TooMany):
            await tries.count(runtime, SUBJECT)
    await pass_time(runtime, LONG)
    assert await tries.count(runtime, SUBJECT) == 16


async def test_failures_of_yesterday_do_not_count(runtime: Runtime) -> None:
    for _ in range(10):
        await tries.count(runtime, SUBJECT)
        await pass_time(runtime, LONG)
    await pass_time(runtime, timedelta(days=1))
    assert await tries.count(runtime, SUBJECT) == 1


async def test_whoever_proves_to_be_right_starts_anew_and_their_address_has_one_failure_less(runtime: Runtime) -> None:
    address = tries.of_address("192.0.2.1")
    for subject in (SUBJECT, address):
        for _ in range(3):
            await tries.count(runtime, subject)
    await tries.forget(runtime, SUBJECT, "192.0.2.1")
    assert await tries.count(runtime, SUBJECT) == 1
    assert await tries.count(runtime, address) == 3


async def test_old_counts_are_swept_and_young_ones_stay(runtime: Runtime) -> None:
    await tries.count(runtime, SUBJECT)
    await pass_time(runtime, timedelta(days=1, seconds=1))
    await tries.count(runtime, tries.of_code(1))
    await tries.sweep(runtime)
    async with runtime.db.connection() as connection:
        left = await connection.fetch("SELECT subject FROM sign_in_failures")
    assert [row["subject"] for row in left] == ["code:1"]


def test_a_count_names_nobody_and_knows_capitals_and_networks() -> None:
    assert "ann" not in SUBJECT
    assert tries.of_account(" ANN@Example.org ") == SUBJECT
    assert tries.of_account("\ud800") != SUBJECT
    mine, neighbour, other = (tries.of_address(a) for a in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"))
    assert mine == neighbour != other
    assert tries.of_address("::ffff:192.0.2.1") == tries.of_address("192.0.2.1")
    assert tries.of_address("::ffff:192.0.2.1") != tries.of_address("::ffff:192.0.2.2")
    assert len(tries.of_address("x" * 10_000)) < 100
