"""One run of the model: a small installation on the real database, emptied before each, and one event loop by hand.

Time moves only by the installation's offset, in steps that end far from every limit of the product (leases of 250 s,
retries after 1, 5 and 15 minutes, windows of 10 minutes), so that the second or two that a run itself takes decide
nothing.
"""

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import CampaignId, DeviceId, Phone
from fleetcast.engine.attempts import Contents
from fleetcast.engine.planner import Planner
from fleetcast.engine.reconciler import Reconciler
from fleetcast.engine.sweeper import Sweeper
from fleetcast.errors import Conflict, InvalidInput, InvalidInputs, NotFound
from fleetcast.queue.hints import Hint, HintWriter
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import launch_campaign, resume_campaign
from fleetcast.services.campaigns import create_campaign
from fleetcast.services.devices import add_device, resume_device, set_state
from fleetcast.services.inbound import settle_waiting
from fleetcast.services.lead_import import import_leads
from fleetcast.services.workspaces import Workspace, create_workspace
from fleetcast.store import identity, transitions
from fleetcast.store.connection import Connection
from tests.models.judge import Judge
from tests.models.senders import Sender
from tests.models.world import Copy, World

T = TypeVar("T")
ACTOR = "a person"
PATIENCE = 30.0
"""Seconds that one step may take: a lock that nobody lets go is a finding, not a test that never ends."""
PEOPLE = tuple(Phone(f"+601234567{n:02}") for n in range(10))
NOTES = {phone: ("" if n == 9 else f"Person {n}") for n, phone in enumerate(PEOPLE)}
"""Their names; one has none."""
JUMPS = (70, 70, 70, 70, 400, 400, 400, 400, 10_800, 8 * 86_400, 200 * 86_400)
"""Seconds. See above before changing one."""
TEXTS = ("Hello {{ name | default: 'friend' }}", "Hello {{ name }}")
PAST_EVERY_DEADLINE = 10 * 86_400
"""Seconds. What came back from an attempt more than a day after its person had said stop waits until then."""
ROUNDS = 60
"""Of everybody's work at the end, until everything must have come to its end."""
TABLES = """sequence_tallies, sequence_sums, sequence_ends, lead_news, enrolment_runs, enrolments, sequence_steps,
  sequences, processes, audit, suppressions, inbox, message_attempts, broadcast_messages, campaign_tallies,
  campaign_newcomers, campaign_devices, campaigns, contents, media, leads, lead_imports, api_keys, linked_sessions,
  device_proxies, devices, invitations, members, idempotency_keys, history_marks, workspace_history, workspace_tallies,
  bulk_edit_changes, bulk_edits, workspaces"""
EMPTY = f"""
ALTER TABLE audit DISABLE TRIGGER never_emptied;
TRUNCATE {TABLES} RESTART IDENTITY;
ALTER TABLE audit ENABLE TRIGGER never_emptied;
UPDATE shards SET owner = NULL, epoch = 0, recovered_epoch = 0, expires_at = '-infinity'
WHERE epoch <> 0;
UPDATE installation SET clock_offset = '0'"""

index = st.integers(0, 11)
"""Chooses from whatever there is, see `pick`."""


def pick(what: Sequence[T], at: int) -> T:
    return what[at % len(what)]


@dataclass
class Stage:
    """What all runs of a test share: an event loop, a database and a Valkey."""

    loop: asyncio.AbstractEventLoop
    runtime: Runtime

    def drive(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one step to its end. What waits for an answer of the world stays where it is meanwhile."""
        return self.loop.run_until_complete(asyncio.wait_for(work, PATIENCE))

    async def empty(self) -> None:
        """An installation in which nothing has ever happened."""
        async with self.runtime.db.connection() as connection:
            await connection.execute(EMPTY)
        await self.empty_redis()

    async def empty_redis(self) -> None:
        redis = self.runtime.redis
        if left := [key async for key in redis.scan_iter(match=f"{self.runtime.keys.prefix}:*", count=1000)]:
            await redis.delete(*left)


@dataclass
class Sale:
    """A campaign as the world knows it."""

    id: CampaignId
    word: str
    """What its texts begin with."""
    reach: dict[DeviceId, set[str]] = field(default_factory=dict)
    """Who was a lead of which device when it was launched."""
    is_cancelled: bool = False


class Play(RuleBasedStateMachine):
    """The state of a run and what all rules use. `stage` is given by the test."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self.runtime = self.stage.runtime
        self.world = World()
        self.judge = Judge(self.world)
        self.devices: list[DeviceId] = []
        self.removed: set[DeviceId] = set()
        self.leads: dict[DeviceId, set[str]] = {}
        self.sales: list[Sale] = []
        self.stopped: set[str] = set()
        """People who ever asked for no more messages."""
        self.is_restored = False
        self.senders: list[Sender] = []
        self.numbers = itertools.count(1)
        self.drive(self._begin())

    def drive(self, work: Coroutine[Any, Any, T]) -> T:
        return self.stage.drive(work)

    def with_connection(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """A step on a connection of its own."""

        async def run() -> T:
            async with self.runtime.db.connection() as connection:
                return await work(connection)

        return self.drive(run())

    def try_to(self, work: Coroutine[Any, Any, T]) -> T | None:
        """A person's wish, which the product may refuse in so many words."""
        with suppress(Conflict, InvalidInput, InvalidInputs, NotFound):
            return self.drive(work)
        return None

    async def _begin(self) -> None:
        await self.stage.empty()
        self.workspace: Workspace = await create_workspace(self.runtime, "Shop")
        async with self.runtime.db.connection() as connection:
            self.install = await identity.install_id(connection)
        self.contents = Contents(self.runtime.db)
        self.planners = [Planner(self.runtime), Planner(self.runtime)]
        self.sweeper = Sweeper(self.runtime, {TransportKind.SIMULATOR: World.grace})
        self.reconciler = Reconciler(self.runtime, {TransportKind.SIMULATOR: self.world})
        self.hints = HintWriter(self.runtime.redis, self.runtime.keys)
        for delay, some in ((0.0, PEOPLE[:5]), (0.0, PEOPLE[3:8]), (20.0, PEOPLE[7:])):
            await self.new_device(delay)
            await self.import_people(self.devices[-1], some)
        self.senders = [self.new_sender(), self.new_sender()]
        await self.new_sale(TEXTS[0], "7d", "wait")
        while await self.planners[0].run_once():
            pass

    async def new_device(self, delay: float) -> None:
        made = await add_device(
            self.runtime,
            self.workspace.id,
            f"Phone {len(self.devices) + 1}",
            min_delay=delay,
            max_delay=delay,
            state=DeviceState.ONLINE,
        )
        self.devices.append(made.id)
        self.leads[made.id] = set()

    async def import_people(self, device: DeviceId, people: Sequence[Phone]) -> None:
        path = self.runtime.settings.data / "leads.csv"
        path.write_text("phone,name\n" + "".join(f"{p},{NOTES[p]}\n" for p in people))
        await import_leads(self.runtime, self.workspace.id, device, path)
        self.leads[device] |= set(people)

    async def new_sale(self, text: str, deadline: str, offline: str) -> None:
        """A campaign to everybody, launched."""
        word = f"[{len(self.sales) + 1}]"
        made = await create_campaign(
            self.runtime,
            self.workspace.id,
            {"title": f"Sale {word}", "body": f"{word} {text}", "deadline": deadline, "when_offline": offline},
            actor=ACTOR,
        )
        await launch_campaign(self.runtime, self.workspace.id, made.id, actor=ACTOR)
        self.sales.append(Sale(made.id, word, {device: set(self.leads[device]) for device in self.live}))

    def new_sender(self) -> Sender:
        name = f"sender-{next(self.numbers)}"
        return Sender(name, self.runtime, self.world, self.install, self.contents, self.spool)

    @property
    def spool(self) -> Path:
        return self.runtime.settings.data / "spool"

    @property
    def live(self) -> list[DeviceId]:
        """Devices that were not removed."""
        return [d for d in self.devices if d not in self.removed]

    async def top_up(self, connection: Connection, room: int) -> list[transitions.Queued]:
        rows = await transitions.top_up(connection, self.devices, [room] * len(self.devices))
        await self.judge.queued(connection, [row.id for row in rows])
        return rows

    async def hint(self, rows: Sequence[transitions.Queued]) -> None:
        by_shard: dict[int, list[Hint]] = {}
        for row in rows:
            by_shard.setdefault(row.shard, []).append(Hint(row.device, [(row.id, row.campaign)]))
        if by_shard:
            await self.hints.write(by_shard)

    async def claim(self, connection: Connection, sender: Sender, place: int) -> bool:
        """One claim as the sender would make it, by whatever it believes to know."""
        free = await sender.free(connection)
        known = [(device, message) for device, message in reversed(sender.known) if device in free]
        if not known:
            return False
        device, message = pick(known, place)
        rows = await sender.claim(connection, message, free[device])
        await self.judge.claimed(connection, [r.id for r in rows], sender.name, sender.epochs[free[device].shard])
        for row in rows:
            await sender.begin(row)
        return bool(rows)

    async def pass_time(self, connection: Connection, seconds: float) -> None:
        await connection.execute("UPDATE installation SET clock_offset = clock_offset + $1", timedelta(seconds=seconds))

    async def messages(self, connection: Connection, *statuses: str, reason: str | None = None) -> list[Any]:
        """(id, campaign, recipient) of messages that a person sees on the pages."""
        return await connection.fetch(
            "SELECT id, campaign_id, recipient FROM broadcast_messages WHERE status::text = ANY ($1::text[]) "
            "AND ($2::text IS NULL OR reason = $2) ORDER BY id",
            list(statuses),
            reason,
        )

    @property
    def words(self) -> dict[int, str]:
        return {sale.id: sale.word for sale in self.sales}

    def any(self, status: str, reason: str | None = None) -> bool:
        """Whether the last step left such a message."""
        rows = self.judge.before.values()
        return any(row["status"] == status and (reason is None or row["reason"] == reason) for row in rows)

    @invariant()
    def every_promise_holds(self) -> None:
        self.with_connection(self.judge.after_a_step)

    def teardown(self) -> None:
        """All faults are over: everybody works, and everything comes to its end. Not after a step that has failed."""
        try:
            if sys.exc_info()[0] is None:
                self._finish()
        finally:
            for sender in self.senders:
                self.drive(sender.die())

    def _finish(self) -> None:
        self.drive(self._recover())
        for turn in range(ROUNDS):
            if not self.with_connection(self._work):
                break
            jump = PAST_EVERY_DEADLINE if turn == ROUNDS // 2 else 70
            self.with_connection(lambda c, j=jump: self.pass_time(c, j))  # type: ignore[misc]
            self.every_promise_holds()
        for flight in list(self.world.flights):  # what went astray long ago arrives at last
            self.world.arrive(flight)
        self.with_connection(lambda c: self.judge.at_the_end(c, self.words, self._expected()))

    async def _recover(self) -> None:
        self.world.is_mute = False
        for device in self.live:
            await set_state(self.runtime, device, DeviceState.ONLINE, "")
            await resume_device(self.runtime, self.workspace.id, device, actor=ACTOR)
        for sender in self.senders:
            for open_at in list(sender.open):
                await sender.finish(open_at, "accepted")

    async def _work(self, connection: Connection) -> bool:
        """A round of everybody's work. Whether anything is left to do."""
        for sender in self.senders:
            while sender.results:
                await sender.report(connection)
            await sender.lease(connection, 64)
        while await self.planners[0].run_once():
            pass
        for sale in self.sales:
            with suppress(Conflict):
                await resume_campaign(self.runtime, self.workspace.id, sale.id, actor=ACTOR)
        await self.top_up(connection, 3)
        for sender in self.senders:
            await sender.look(connection)
            while await self._send_all(connection, sender):
                pass
        await self.sweeper.run_once()
        await self.reconciler.run_once()
        await settle_waiting(self.runtime, self.install)
        left: int = await connection.fetchval(
            "SELECT (SELECT count(*) FROM broadcast_messages WHERE is_open) + (SELECT count(*) FROM campaigns "
            "WHERE status NOT IN ('finished', 'cancelled') OR ended_at IS NULL)"
        )
        return left > 0

    async def _send_all(self, connection: Connection, sender: Sender) -> bool:
        """Claim, send and report what can be now. Whether anything was."""
        claims = [await self.claim(connection, sender, place) for place in range(len(sender.known))]
        for device in list(sender.open):
            await sender.finish(device, "accepted")
        while sender.results:
            await sender.report(connection)
        return any(claims)

    def _expected(self) -> dict[Copy, CampaignId]:
        """Everybody who was a lead at the launch, never stopped, and has a device that was never removed."""
        return {
            (sale.word, person): sale.id
            for sale in self.sales
            if not sale.is_cancelled
            for device in self.live
            for person in sale.reach.get(device, set()) - self.stopped
        }
