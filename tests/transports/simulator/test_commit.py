"""No answer leaves before what it rests on is on disk."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

from fleetcast.transports.simulator.commit import GroupCommit
from fleetcast.transports.simulator.ledger import Ledger, Record, RecordKind


class SlowDisk(Ledger):
    """A ledger whose writes wait until the test lets them go, or fail when it says so."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go = threading.Event()
        self.began = threading.Event()
        self.full = False

    def write(self, lines: Sequence[bytes]) -> None:
        self.began.set()
        assert self.go.wait(10)
        if self.full:
            raise OSError("no space left on device")
        super().write(lines)


def record(reference: str) -> Record:
    return Record(RecordKind.ACCEPTED, reference, 1.0, device=1)


async def test_an_answer_waits_for_its_group_and_a_repeat_waits_too(tmp_path: Path) -> None:
    said: list[str] = []
    with SlowDisk(tmp_path / "ledger") as ledger:
        commit = GroupCommit(ledger, lambda error: said.append(str(error)))
        for reference in ("a", "b", "c"):
            commit.add(record(reference), lambda reference=reference: said.append(reference))  # type: ignore[misc]
        await asyncio.to_thread(ledger.began.wait, 10)
        assert "a" in ledger.accepted  # so a second arrival is known as a repeat,
        commit.add(None, lambda: said.append("a again"))  # which may not be told yet either
        assert said == []
        ledger.go.set()
        await commit.close()
        assert said == ["a", "b", "c", "a again"]
        assert (commit.groups, ledger.rows) == (1, 3)


async def test_nobody_is_answered_when_the_disk_fails(tmp_path: Path) -> None:
    said: list[str] = []
    failed = asyncio.Event()
    with SlowDisk(tmp_path / "ledger") as ledger:
        ledger.full = True
        ledger.go.set()
        commit = GroupCommit(ledger, lambda error: failed.set())
        commit.add(record("a"), lambda: said.append("a"))
        async with asyncio.timeout(10):
            await failed.wait()
        commit.add(record("b"), lambda: said.append("b"))
        await asyncio.sleep(0)
        assert said == []
        assert list(Ledger.read(tmp_path / "ledger")) == []


async def test_what_comes_during_a_write_goes_into_the_next_group(tmp_path: Path) -> None:
    said: list[str] = []
    with SlowDisk(tmp_path / "ledger") as ledger:
        commit = GroupCommit(ledger, lambda error: said.append(str(error)))
        commit.add(record("first"), lambda: said.append("first"))
        await asyncio.to_thread(ledger.began.wait, 10)
        for n in range(100):
            commit.add(record(str(n)), lambda: None)
        ledger.go.set()
        await commit.close()
        assert (commit.groups, ledger.rows) == (2, 101)
