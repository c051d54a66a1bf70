"""The stage of the crash table: simulator and database, one part as a process that may fail, the other part beside it.

The part that is to fail is a real process (`fleetcast sender` or `fleetcast scheduler`) with short leases; the other
one runs in the test's own process, so that a case costs two starts. What a process said is read from its log: a
failpoint that was not hit proves nothing.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from fleetcast.domain.identifiers import CampaignId
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.engine.processes import run_scheduler, run_sender
from fleetcast.failpoints import Fault, Point
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import create_campaign
from fleetcast.services.devices import Device
from fleetcast.services.workspaces import create_workspace
from fleetcast.store.invariants import broken_invariants
from fleetcast.transports.simulator.control import SimulatorControl
from fleetcast.transports.simulator.launch import SimulatorProcess
from fleetcast.transports.simulator.ledger import Ledger, LedgerSummary, RecordKind
from tests.chaos.nursery import Forked, Nursery
from tests.process_tree import eventually
from tests.running import Fleet

PEOPLE = 40
"""Of each broadcast."""
EVERY = tuple(Fault)
CUT_SHORT = (Fault.KILL, Fault.RAISE, Fault.HANG)
"""Where nothing is executed that could time out."""

LEASE_SECONDS = 2.0
"""Of processes that are to fail: their successor comes soon."""
STEADY_LEASE_SECONDS = 5.0
"""Of the sender in the test's own process, which shares a core and must not lose its shards by that."""
SEND_SECONDS = 2.0
SURVIVED = {(Point.SEND_ANSWERED, Fault.RAISE)}
"""An error nobody foresaw ends its process, except inside an attempt: that ends as a row."""


class Part:
    """`fleetcast sender` or `fleetcast scheduler`, alive since it was made; what it says goes into a file."""

    def __init__(self, process: "Forked | subprocess.Popen[bytes]", said: Path) -> None:
        self.process = process
        self._said = said

    @classmethod
    def typed(cls, kind: str, said: Path, environment: dict[str, str]) -> "Part":
        """Started by the command that a person would type."""
        with said.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "fleetcast", kind],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | environment,
            )
        return cls(process, said)

    @property
    def said(self) -> str:
        """Its log so far."""
        return self._said.read_text()

    async def says(self, words: str, seconds: float = 60.0) -> None:
        """Wait until these words are in its log."""
        await eventually(lambda: words in self.said or self.process.poll() is not None, f"it says {words!r}", seconds)
        assert words in self.said, f"it ended ({self.process.returncode}) without {words!r}: {self.said}"

    async def ends(self, seconds: float = 30.0) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        await eventually(lambda: self.process.poll() is not None, f"it ends; it said: {self.said}", seconds)
        return int(self.process.returncode or 0)

    async def hits(self, point: Point, fault: Fault) -> None:
        """Wait until the fault has happened and see that the process is as the fault leaves it. One that hangs, as
        the one that watches it would do, is killed.
        """
        await self.says(f"failpoint {point}: {fault}")
        if fault is Fault.KILL:
            assert await self.ends() == -9
        elif fault is Fault.RAISE and (point, fault) not in SURVIVED:
            assert await self.ends() == 1
        elif fault is Fault.HANG:
            assert self.process.poll() is None
            self.process.kill()
            assert await self.ends() == -9


@dataclass
class Stage:
    """Simulator (no receipts unless asked for) and database with a workspace; nothing runs until it is started."""

    fleet: Fleet
    servers: EmbeddedServers
    nursery: Nursery
    parts: list[Part] = field(default_factory=list)

    @property
    def runtime(self) -> Runtime:
        """Of the test's own process."""
        return self.fleet.runtime

    def start(self, kind: str, failpoints: str = "", **environment: str) -> Part:
        """Start a process. `failpoints`: what is armed in it."""
        settings = self.runtime.settings
        assert settings.redis_url is not None
        ours = {
            "DATABASE_URL": self.runtime.db.dsn,
            "REDIS_URL": settings.redis_url.get_secret_value(),
            "FLEETCAST_REDIS_PREFIX": settings.redis_prefix,
            "FLEETCAST_DATA": str(settings.data),
            "FLEETCAST_LEASE_SECONDS": str(LEASE_SECONDS),
            "FLEETCAST_SEND_SECONDS": str(settings.send_seconds),
            "FLEETCAST_FAILPOINTS": failpoints,
        }
        said = self.fleet.folder / f"{len(self.parts)}-{kind}.log"
        part = Part(self.nursery.start(kind, said, os.environ | ours | environment), said)
        self.parts.append(part)
        return part

    @asynccontextmanager
    async def beside(self, *kinds: str) -> AsyncIterator[None]:
        """Parts that do not fail, in this process."""
        stop, work = asyncio.Event(), {"sender": run_sender, "scheduler": run_scheduler}
        running = [asyncio.create_task(work[kind](self.runtime, stop=stop), name=kind) for kind in kinds]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*running)

    def control(self) -> SimulatorControl:
        """The simulator's levers."""
        return SimulatorControl(self.runtime.simulator_socket)

    async def people(self, count: int, *, devices: int = 2, delay: float = 0.02) -> list[Device]:
        """So many leads in all, on devices that wait `delay` seconds between messages."""
        made = [await self.fleet.device(f"Device {n}", delay=delay) for n in range(devices)]
        for n, device in enumerate(made):
            await self.fleet.leads(
                device, "name,phone\n" + "".join(f"Person {p},+6012{p:07}\n" for p in range(n, count, devices))
            )
        return made

    async def launched(self, *, schedule: str = "now") -> CampaignId:
        """A campaign to everybody."""
        workspace = self.fleet.workspace.id
        campaign = await create_campaign(
            self.runtime,
            workspace,
            {"title": "Greetings", "body": "Hello {{ name }}", "schedule": schedule},
            actor="test",
        )
        await launch_campaign(self.runtime, workspace, campaign.id, actor="test")
        return campaign.id

    async def meets(self, kind: str, point: Point, fault: Fault, nth: int = 1) -> None:
        """A process meets the fault; unless it lives on, it is started again without it."""
        part = self.start(kind, f"{point}={fault}@{nth}")
        await part.hits(point, fault)
        if part.process.poll() is not None:
            self.start(kind)

    async def outlives(self, point: Point, fault: Fault, nth: int = 1, *, kind: str = "sender") -> None:
        """A broadcast whose sender, or scheduler, meets the fault. All is sent in the end."""
        await self.people(PEOPLE)
        campaign = await self.launched()
        async with self.beside("scheduler" if kind == "sender" else "sender"):
            await self.meets(kind, point, fault, nth)
            await self.comes_to_its_end(campaign, sent=PEOPLE)

    async def two_unanswered(self) -> tuple[Part, CampaignId]:
        """A sender of a new campaign waits long for the answers of its first two messages, which have arrived."""
        sender = self.start("sender", FLEETCAST_SEND_SECONDS="60")
        campaign = await self.launched()
        await self.accepted(2)
        await self.becomes("SELECT count(*) FROM broadcast_messages WHERE status = 'sending'", 2)
        return sender, campaign

    async def value(self, question: str, *arguments: object) -> object:
        """One value from the database."""
        async with self.runtime.db.connection() as connection:
            return await connection.fetchval(question, *arguments)

    @asynccontextmanager
    async def without_database(self) -> AsyncIterator[None]:
        """PostgreSQL crashes and comes back at the end."""
        assert self.servers.postgres_pid is not None
        os.kill(self.servers.postgres_pid, signal.SIGQUIT)
        await eventually(lambda: self.servers.check() != [], "PostgreSQL is gone")
        try:
            yield
        finally:
            await asyncio.to_thread(self.servers.restart_dead)

    async def becomes(self, question: str, answer: object = True, seconds: float = 60.0) -> None:
        """Wait until the database answers so."""

        async def is_so() -> bool:
            return await self.value(question) == answer

        await eventually(is_so, f"{question} = {answer!r}", seconds)

    async def accepted(self, count: int) -> None:
        """Wait until the simulator has accepted so many."""
        await eventually(lambda: self._people().total() >= count, f"{count} messages are accepted")

    def _people(self) -> Counter[str]:
        records = Ledger.read(self.fleet.ledger) if self.fleet.ledger.exists() else ()
        return Counter(record.recipient for record in records if record.kind is RecordKind.ACCEPTED)

    async def comes_to_its_end(self, campaign: CampaignId, *, sent: int, failed: int = 0, by_others: int = 0) -> None:
        """Wait for the campaign's end, then judge it: by the ledger first, never by counters alone. `by_others`: sent
        to the same people by other campaigns.
        """
        await eventually(lambda: self.fleet.has_finished(campaign), "the campaign has finished")
        people = self._people()
        accepted = sent + by_others
        assert (people.total(), len(people)) == (accepted, sent), f"everybody gets it once: {people}"
        summary = LedgerSummary.of(Ledger.read(self.fleet.ledger))
        assert (summary.duplicates, summary.accepted_after_seal) == ({}, ())
        verdict = await self.fleet.judge()
        assert (verdict.holds, verdict.accepted, verdict.sent) == (True, accepted, accepted)
        counts = (await self.fleet.show(campaign)).counts
        assert counts.planned == sent + failed
        assert counts.by_status == {s: n for s, n in {"sent": sent, "failed": failed}.items() if n}
        async with self.runtime.db.connection() as connection:
            broken = await broken_invariants(connection)
        assert broken == [], broken


@asynccontextmanager
async def set_up(runtime: Runtime, servers: EmbeddedServers, nursery: Nursery, folder: Path) -> AsyncIterator[Stage]:
    """A stage; afterwards no process of it is left."""
    hasty = {"lease_seconds": STEADY_LEASE_SECONDS, "send_seconds": SEND_SECONDS}
    hasty_runtime = replace(runtime, settings=runtime.settings.model_copy(update=hasty))
    workspace = await create_workspace(hasty_runtime, "My shop", time_zone="Asia/Kuala_Lumpur", region="MY")
    ledger = folder / "ledger.jsonl"
    async with SimulatorProcess(runtime.simulator_socket, ledger, profile="fast", latency_ms=(1, 5)):
        stage = Stage(Fleet(hasty_runtime, workspace, folder, ledger), servers, nursery)
        try:
            yield stage
        finally:
            for part in stage.parts:
                with contextlib.suppress(ProcessLookupError):
                    part.process.kill()
                part.process.wait(10)
