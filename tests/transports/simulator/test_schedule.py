"""Later things happen in the order of their times."""

import asyncio

from fleetcast.transports.simulator.schedule import Schedule


async def test_calls_come_in_the_order_of_their_times() -> None:
    schedule, said, done = Schedule(), list[int](), asyncio.Event()
    schedule.after(0.03, done.set)
    for n in (3, 1, 2, 0):
        schedule.after(n * 0.005, lambda n=n: said.append(n))  # type: ignore[misc]
    assert said == [0]  # zero means now
    async with asyncio.timeout(5):
        await done.wait()
    assert said == [0, 1, 2, 3]
    assert len(schedule) == 0


async def test_a_call_may_plan_further_calls() -> None:
    schedule, done = Schedule(), asyncio.Event()
    schedule.after(0.001, lambda: schedule.after(0.001, lambda: schedule.after(0, done.set)))
    async with asyncio.timeout(5):
        await done.wait()


async def test_an_earlier_call_is_not_held_up_by_a_later_one() -> None:
    schedule, done = Schedule(), asyncio.Event()
    schedule.after(3600, lambda: None)
    schedule.after(0.001, done.set)
    async with asyncio.timeout(5):
        await done.wait()
    schedule.close()
    assert len(schedule) == 0
