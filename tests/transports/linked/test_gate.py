"""Who is inside the library together: never a change with anybody, calls with calls; and nobody waits for ever."""

import asyncio
from random import Random

from fleetcast.transports.linked.gate import Gate


async def turns(times: int = 5) -> None:
    """Let everybody who can go on do so."""
    for _ in range(times):
        await asyncio.sleep(0)


class Inside:
    """Who is in the gate, noted as they come and go."""

    def __init__(self, gate: Gate, *, cancels: bool = False) -> None:
        self._gate = gate
        self._cancels = cancels
        """Calls that nobody waits for go on, so a change may come while they are inside."""
        self.log: list[str] = []
        self._calls = 0
        self._changes = 0

    async def change(self, name: str, leave: asyncio.Event) -> None:
        async with self._gate.change():
            assert self._changes == 0
            assert self._calls == 0 or self._cancels
            self._changes += 1
            self.log.append(name)
            try:
                await leave.wait()
            finally:
                self._changes -= 1

    async def call(self, name: str, leave: asyncio.Event) -> None:
        async with self._gate.call():
            assert self._changes == 0
            self._calls += 1
            self.log.append(name)
            try:
                await leave.wait()
            finally:
                self._calls -= 1


async def test_calls_are_inside_together_and_a_change_waits_for_them() -> None:
    inside, leave = Inside(Gate(look_seconds=60)), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(inside.call("one", leave))
        tasks.create_task(inside.call("two", leave))
        await turns()
        tasks.create_task(inside.change("change", leave))
        await turns()
        assert inside.log == ["one", "two"]
        leave.set()
    assert inside.log == ["one", "two", "change"]


async def test_a_call_that_has_found_its_client_does_not_hold_up_a_change_however_long_it_takes() -> None:
    gate, leave = Gate(look_seconds=0), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:

        async def long_call() -> None:
            async with gate.call():
                await leave.wait()

        tasks.create_task(long_call())
        await turns()
        async with asyncio.timeout(5), gate.change():
            assert not leave.is_set()
        leave.set()
    async with asyncio.timeout(5), gate.change():
        pass  # it was counted out once, not twice


async def test_changes_and_calls_take_turns() -> None:
    inside = Inside(Gate(look_seconds=60))
    leaves = {name: asyncio.Event() for name in ("first", "second", "call", "later call")}
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(inside.change("first", leaves["first"]))
        await turns()
        tasks.create_task(inside.change("second", leaves["second"]))
        tasks.create_task(inside.call("call", leaves["call"]))
        await turns()
        leaves["first"].set()
        await turns()
        assert inside.log == ["first", "call"], "a fleet that connects does not hold up messages"
        tasks.create_task(inside.call("later call", leaves["later call"]))
        await turns()
        assert inside.log == ["first", "call"], "nor do messages keep it from connecting"
        leaves["call"].set()
        await turns()
        assert inside.log == ["first", "call", "second"]
        for leave in leaves.values():
            leave.set()
    assert inside.log == ["first", "call", "second", "later call"]


async def test_whoever_gives_up_waiting_leaves_the_gate_as_it_was() -> None:
    random = Random(20261127)
    gate = Gate(look_seconds=0.001)
    for _ in range(200):
        inside = Inside(gate, cancels=True)
        tasks = []
        for n in range(random.randint(2, 8)):
            leave = asyncio.Event()
            if random.random() < 0.7:
                leave.set()
            enter = inside.change if random.random() < 0.4 else inside.call
            tasks.append((asyncio.create_task(enter(str(n), leave), name=str(n)), leave))
            await turns(random.randint(0, 3))
        for task, leave in tasks:
            if random.random() < 0.4:
                task.cancel()
            leave.set()
            await turns(random.randint(0, 2))
        await asyncio.wait([task for task, _ in tasks])
        for task, _ in tasks:
            if not task.cancelled():
                assert task.exception() is None
        async with asyncio.timeout(5), gate.change():
            pass


async def test_a_call_that_nobody_waits_for_any_more_counts_until_it_must_have_found_its_client() -> None:
    gate, entered, looked = Gate(look_seconds=0.05), asyncio.Event(), asyncio.get_running_loop().time

    async def call() -> None:
        async with gate.call():
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(call(), name="call")
    await entered.wait()
    began = looked()
    task.cancel()
    async with asyncio.timeout(5), gate.change():
        assert looked() - began > 0.03
