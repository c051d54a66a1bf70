"""The supervisor: a process that has lost a loop, in whatever way, does not look alive."""

import asyncio
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from fleetcast.engine.supervisor import Beat, Stuck, Supervisor
from fleetcast.engine.waiting import pause


async def moving(stop: asyncio.Event, beat: Beat) -> None:
    while not stop.is_set():
        beat()
        await pause(stop, 0.05)


async def standing(stop: asyncio.Event, beat: Beat) -> None:
    await asyncio.Event().wait()


async def waiting(stop: asyncio.Event, beat: Beat) -> None:
    await stop.wait()


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetcast.engine.supervisor.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("fleetcast.engine.supervisor.STOP_SECONDS", 0.2)


@pytest.mark.usefixtures("_hasty")
async def test_a_loop_that_stands_still_for_too_long_ends_its_process_and_is_named() -> None:
    loops = Supervisor("sender", patience=0.4)
    loops.add("claims", standing)
    loops.add("results", moving)
    with capture_logs() as logged:
        async with asyncio.timeout(10):
            with pytest.raises(Stuck, match="claims"):
                await loops.run(asyncio.Event())
    said = [line for line in logged if line["event"] == "a loop stands still: the process ends"]
    assert [(line["process"], line["loop"]) for line in said] == [("sender", "claims")]
    assert not loops.stopping  # nobody asked for it: this is no clean stop


@pytest.mark.usefixtures("_hasty")
async def test_a_process_that_nobody_starts_anew_goes_on() -> None:
    loops, stop = Supervisor("up"), asyncio.Event()
    loops.add("watch", waiting)
    run = asyncio.ensure_future(loops.run(stop))
    done, _ = await asyncio.wait({run}, timeout=0.5)
    assert not done
    assert loops.ages()["watch"] > 0.3
    stop.set()
    await run


@pytest.mark.usefixtures("_hasty")
async def test_a_process_that_was_stopped_as_a_whole_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by SIGSTOP or a machine without a CPU to spare: each loop gets its time anew, for none of them is stuck."""
    monkeypatch.setattr("fleetcast.engine.supervisor.FROZEN_SECONDS", 0.3)
    loops, stop = Supervisor("sender", patience=1.0), asyncio.Event()
    loops.add("slow", waiting)
    run = asyncio.ensure_future(loops.run(stop))
    await asyncio.sleep(0)  # let it begin
    frozen_by = asyncio.get_running_loop().time() + 1.2
    while asyncio.get_running_loop().time() < frozen_by:
        pass
    done, _ = await asyncio.wait({run}, timeout=0.2)
    assert not done
    stop.set()
    await run


async def test_the_ages_leave_out_what_has_ended() -> None:
    loops, stop = Supervisor("sender"), asyncio.Event()
    ages: list[dict[str, float]] = []

    async def last(stop: asyncio.Event, beat: Beat) -> None:
        await stop.wait()
        ages.append(loops.ages())

    loops.add("claims", waiting, stage=1)
    loops.add("presence", last)
    stop.set()
    await loops.run(stop)
    assert list(ages[0]) == ["presence"]


BLOCKED = """
import asyncio, time
from fleetcast.engine import supervisor
supervisor.HARD_END_SECONDS = 0.5

async def hogging(stop, beat):
    time.sleep(60)

loops = supervisor.Supervisor("sender", patience=0.5)
loops.add("claims", hogging)
asyncio.run(loops.run())
"""


def test_code_that_never_gives_the_others_a_turn_ends_its_process_hard_and_is_shown() -> None:
    ended = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "in hogging" in ended.stderr
