"""How loops wait: for an event or a nudge, never by polling, and never past their stop."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from fleetcast.errors import Unavailable
from fleetcast.queue.nudges import Ears

log = structlog.get_logger()

T = TypeVar("T")

BEAT_SECONDS = 5.0
"""How often a loop that rests long between two turns says that it is there."""


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` returns, or None when `stop` is set first: then it is cancelled. Neither outlives the call."""
    working = asyncio.create_task(work, name="work until the stop")
    stopped = asyncio.create_task(stop.wait(), name="stop of the work")
    try:
        await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        stopped.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait `seconds`, or until `stop` is set."""
    if stop.is_set() or seconds <= 0:
        return
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def take_turns(stop: asyncio.Event, beat: Callable[[], None], turn: Callable[[], Awaitable[float]]) -> None:
    """One turn after another until `stop` is set. `turn` returns in how many seconds the next is due."""
    loop = asyncio.get_running_loop()
    following = loop.time()
    while not stop.is_set():
        beat()
        if loop.time() < following:
            await pause(stop, min(BEAT_SECONDS, following - loop.time()))
        else:
            following = await turn() + loop.time()


async def work_off(
    ears: Ears,
    stop: asyncio.Event,
    beat: Callable[[], None],
    turn: Callable[[Callable[[], None]], Awaitable[bool]],
    *,
    idle: float,
    what: str,
) -> None:
    """One turn after another until `stop` is set, as long as there is work; else a nudge is waited for, at most `idle`
    seconds. `what` waits for a database that is away.
    """
    while not stop.is_set():
        beat()
        try:
            if not await turn(beat):
                await ears.next(idle)
        except Unavailable as error:
            log.warning(f"{what} for the database", error=str(error))
            await pause(stop, idle)


async def either(first: asyncio.Event, second: asyncio.Event, seconds: float) -> None:
    """Wait until one of two events is set, at most `seconds`."""
    if first.is_set() or second.is_set() or seconds <= 0:
        return
    waits = [asyncio.ensure_future(first.wait()), asyncio.ensure_future(second.wait())]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
