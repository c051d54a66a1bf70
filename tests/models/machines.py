"""What processes do, in any order: plan, queue, hint, lease, claim, send, report, die, sweep, ask and delete."""

import asyncio

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from fleetcast.engine.retention import Retention
from fleetcast.engine.spool import Spool
from fleetcast.services.inbound import receive, settle_waiting
from fleetcast.store import planning, sweeping
from fleetcast.store.connection import Connection
from fleetcast.store.transitions import Claim, claim
from fleetcast.transports.base import Receipt, ReceiptKind
from tests.models.play import JUMPS, Play, index, pick
from tests.models.senders import Open, Sender, record
from tests.models.world import REFUSALS, Flight, provider_id

ANSWERS = ("accepted", "accepted", "accepted", "unheard", "astray", "not_sent", *REFUSALS)


class Machines(Play):
    """The rules of the processes."""

    # -- planning and queueing

    @rule(planner=st.integers(0, 1), rounds=st.integers(1, 4))
    def plan(self, planner: int, rounds: int) -> None:
        async def work() -> None:
            for _ in range(rounds):
                await self.planners[planner].run_once()

        self.drive(work())

    @rule()
    def two_planners_at_once(self) -> None:
        async def work() -> None:
            await asyncio.gather(*(planner.run_once() for planner in self.planners))

        self.drive(work())

    @precondition(lambda self: self.sales)
    @rule()
    def a_planner_dies_half_way(self) -> None:
        """Its windows are committed, its cursor is not."""

        async def work(connection: Connection) -> None:
            for campaign_id in await planning.unplanned(connection):
                undone = connection.transaction()
                await undone.start()
                campaign = await planning.take(connection, campaign_id)
                if campaign is not None and campaign.plan_cursor >= 0:
                    found = await planning.windows(connection, campaign.workspace_id, campaign.plan_cursor)
                    for after, upto in found:
                        async with self.runtime.db.transaction() as own:
                            await planning.plan_window(own, campaign, after, upto)
                await undone.rollback()

        self.with_connection(work)

    @precondition(lambda self: self.sales)
    @rule(room=st.integers(1, 3), is_hinted=st.booleans())
    def dispatch(self, room: int, is_hinted: bool) -> None:
        async def work(connection: Connection) -> None:
            rows = await self.top_up(connection, room)
            if is_hinted:
                await self.hint(rows)

        self.with_connection(work)

    @rule()
    def redis_is_emptied(self) -> None:
        self.drive(self.stage.empty_redis())

    # -- senders

    @rule(who=index, most=st.sampled_from((2, 64)))
    def lease(self, who: int, most: int) -> None:
        sender = pick(self.senders, who)
        self.with_connection(lambda c: sender.lease(c, most))

    @rule(who=index, from_sql=st.booleans())
    def hear_of_rows(self, who: int, from_sql: bool) -> None:
        sender = pick(self.senders, who)
        if from_sql:
            self.with_connection(sender.look)
        else:
            self.drive(sender.read_hints())

    @precondition(lambda self: any(s.known and s.epochs for s in self.senders))
    @rule(who=index, place=index)
    def claim_and_begin(self, who: int, place: int) -> None:
        able = [s for s in self.senders if s.known and s.epochs]
        self.with_connection(lambda c: self.claim(c, pick(able, who), place))

    @precondition(lambda self: self.sales)
    @rule(who=index)
    def all_goes_well_for_a_moment(self, who: int) -> None:
        """Leased, queued, found and claimed: else a run seldom gets to the interesting answers."""
        sender = pick(self.senders, who)

        async def work(connection: Connection) -> None:
            await sender.lease(connection, 64)
            await self.top_up(connection, 2)
            await sender.look(connection)
            for place in range(len(self.live)):
                await self.claim(connection, sender, place)

        self.with_connection(work)

    @precondition(lambda self: any(s.known and s.epochs for s in self.senders))
    @rule(who=index, place=index, how=st.sampled_from(("an old epoch", "a new epoch", "another's lease", "no hint")))
    def claim_without_the_right_to(self, who: int, place: int, how: str) -> None:
        """A zombie, or a sender whose memory is wrong. `no hint`: a row that is not queued, in its own shard."""
        sender = pick([s for s in self.senders if s.known and s.epochs], who)

        async def work(connection: Connection) -> None:
            known = sender.known if how != "no hint" else await self.not_queued(connection)
            if not known:
                return
            device, message = pick(known, place)
            [shard] = await connection.fetchrow("SELECT shard_id FROM devices WHERE id = $1", device) or [0]
            epoch = sender.epochs.get(shard, 1) + {"an old epoch": -1, "a new epoch": 1}.get(how, 0)
            name = "nobody" if how == "another's lease" else sender.name
            rows = await claim(connection, [Claim(message, shard, 0)], {shard: epoch}, name, self.install)
            assert rows == [], f"claimed by {how}"

        self.with_connection(work)

    async def not_queued(self, connection: Connection) -> list[tuple[int, int]]:
        rows = await connection.fetch(
            "SELECT device_id, id FROM broadcast_messages WHERE status <> 'queued' ORDER BY id"
        )
        return [(row["device_id"], row["id"]) for row in rows]

    @precondition(lambda self: any(s.open for s in self.senders))
    @rule(at=index, how=st.sampled_from(ANSWERS), is_reported=st.booleans())
    def an_answer(self, at: int, how: str, is_reported: bool) -> None:
        sender, ongoing = pick([(s, o) for s in self.senders for o in s.open.values()], at)

        async def work(connection: Connection) -> None:
            ended = await sender.finish(ongoing.claimed.device, how)
            if ended.suppress and is_reported:
                self.stopped.add(ongoing.claimed.recipient)
            while is_reported and sender.results:
                await self.report_one(connection, sender)

        self.with_connection(work)

    async def report_one(self, connection: Connection, sender: Sender) -> None:
        claimed, ended = await sender.report(connection)
        if ended.suppress:
            self.stopped.add(claimed.recipient)

    @precondition(lambda self: any(s.results for s in self.senders))
    @rule(who=index)
    def a_late_report(self, who: int) -> None:
        sender = pick([s for s in self.senders if s.results], who)
        self.with_connection(lambda c: self.report_one(c, sender))

    @precondition(lambda self: any(s.reported for s in self.senders))
    @rule(who=index, at=index)
    def the_same_result_again(self, who: int, at: int) -> None:
        """Its commit had succeeded, but the sender never heard of it. By now it matches nothing."""
        sender = pick([s for s in self.senders if s.reported], who)
        result = pick(sender.reported[::-1], at)
        matched = self.with_connection(lambda c: record(c, result, self.devices[0]))
        assert matched == 0, f"matched again: {result}"

    @rule(who=index, is_polite=st.booleans())
    def a_sender_dies(self, who: int, is_polite: bool) -> None:
        """Another takes its place. `is_polite`: what it knows to be accepted goes to disk."""
        sender = pick(self.senders, who)
        if is_polite:
            sender.keep_in_spool()
        self.drive(sender.die())
        self.senders[self.senders.index(sender)] = self.new_sender()

    @rule()
    def the_spool_is_replayed(self) -> None:
        self.with_connection(Spool(self.spool, "any").replay)

    # -- the world

    @property
    def strays(self) -> list[Flight]:
        """Messages whose answer nobody waits for any more."""
        return [f for f in self.world.flights if f.answer.done()]

    @precondition(lambda self: self.strays)
    @rule(at=index, arrives=st.booleans())
    def a_stray_message(self, at: int, arrives: bool) -> None:
        flight = pick(self.strays, at)
        if arrives:
            self.world.arrive(flight)
        else:
            self.world.lose(flight)

    @precondition(lambda self: self.world.accepted)
    @rule(at=index, kinds=st.lists(st.sampled_from(ReceiptKind), min_size=1, max_size=3), is_named=st.booleans())
    def receipts(self, at: int, kinds: list[ReceiptKind], is_named: bool) -> None:
        """Early, late, repeated or out of order; with our reference or without."""
        flight = pick(list(self.world.accepted.values())[::-1], at)

        async def work(connection: Connection) -> None:
            now = await connection.fetchval("SELECT fleetcast_now()")
            events = [
                Receipt(
                    f"{flight.reference}-{kind}",
                    flight.message.device,
                    provider_id(flight.reference),
                    kind,
                    now,
                    flight.reference if is_named else None,
                )
                for kind in kinds
            ]
            await receive(self.runtime, self.install, events)

        self.with_connection(work)

    @rule()
    def waiting_evidence_is_looked_at(self) -> None:
        self.drive(settle_waiting(self.runtime, self.install))

    # -- time, and what is done in the course of it

    @rule(seconds=st.sampled_from(JUMPS))
    def time_passes(self, seconds: int) -> None:
        self.with_connection(lambda c: self.pass_time(c, seconds))

    @rule()
    def sweep(self) -> None:
        self.drive(self.sweeper.run_once())

    @rule(is_mute=st.sampled_from((False, False, True)))
    def reconcile(self, is_mute: bool) -> None:
        self.world.is_mute = is_mute
        self.drive(self.reconciler.run_once())

    @rule()
    def tallies_are_folded(self) -> None:
        self.with_connection(lambda c: sweeping.fold_tallies(c, 1))

    @rule()
    def retention(self) -> None:
        self.drive(Retention(self.runtime).run_once(asyncio.Event()))


__all__ = ["Machines", "Open"]
