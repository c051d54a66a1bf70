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
from tests.models.senders import Sender, record
from tests.models.world import REFUSALS, Flight, provider_id

BAD = ("unheard", "unheard", "astray", "astray", "not_sent", *REFUSALS)
ANSWERS = ("accepted", "accepted", "unheard", "unheard", "astray", "astray", "not_sent", *REFUSALS)


class Machines(Play):
    """The rules of the processes."""

    # -- planning and queueing

    @rule(how=st.sampled_from(("on", "on", "by another", "and dies half-way", "beside another")))
    def planning_goes(self, how: str) -> None:
        if how == "on":
            self.drive(self.planners[0].run_once())
        elif how == "by another":
            self.drive(self.planners[1].run_once())
        else:
            self.with_connection(lambda c: self.plan_half_way(c, beside_another=how == "beside another"))

    async def plan_half_way(self, connection: Connection, *, beside_another: bool) -> None:
        """The windows are committed, the cursor is not. Meanwhile another planner may come round."""
        for campaign_id in await planning.unplanned(connection):
            undone = connection.transaction()
            await undone.start()
            campaign = await planning.take(connection, campaign_id)
            if campaign is not None and campaign.plan_cursor >= 0:
                for after, upto in await planning.windows(connection, campaign.workspace_id, campaign.plan_cursor):
                    async with self.runtime.db.transaction() as own:
                        await planning.plan_window(own, campaign, after, upto)
            if beside_another:
                await self.planners[1].run_once()
            await undone.rollback()

    @rule(room=st.integers(1, 3), is_hinted=st.booleans())
    def dispatch(self, room: int, is_hinted: bool) -> None:
        async def work(connection: Connection) -> None:
            rows = await self.top_up(connection, room)
            if is_hinted:
                await self.hint(rows)

        self.with_connection(work)

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

    # Leased, queued, found, claimed and perhaps answered: by single steps alone a run seldom comes so far.

    @precondition(lambda self: self.waits)
    @rule(who=index, rounds=st.integers(1, 3))
    def all_goes_well_for_a_moment(self, who: int, rounds: int) -> None:
        for _ in range(rounds):
            self.with_connection(lambda c: self.moment(c, self.owner(who), ["accepted"] * 4, is_reported=True))

    @precondition(lambda self: self.waits)
    @rule(who=index, answers=st.lists(st.sampled_from(BAD), min_size=2, max_size=4), is_reported=st.booleans())
    def all_goes_wrong_for_a_moment(self, who: int, answers: list[str], is_reported: bool) -> None:
        self.with_connection(lambda c: self.moment(c, self.owner(who), answers, is_reported=is_reported))

    @precondition(lambda self: self.waits)
    @rule(who=index)
    def much_begins(self, who: int) -> None:
        self.with_connection(lambda c: self.moment(c, self.owner(who), [], is_reported=False))

    @precondition(lambda self: self.any("in_doubt") or self.any("pending"))
    @rule(who=index, is_mute=st.sampled_from((False, False, True)), how=st.sampled_from(("", "accepted")))
    def what_failed_is_tried_again(self, who: int, is_mute: bool, how: str) -> None:
        """Doubts are asked about, and the first delay is over. What is repeated then is about an earlier attempt."""
        self.with_connection(lambda c: self.pass_time(c, JUMPS[0]))
        self.drive(self.sweeper.run_once())
        self.world.is_mute = is_mute
        self.drive(self.reconciler.run_once())
        sender = self.owner(who)
        earlier = list(sender.reported)
        self.with_connection(lambda c: self.moment(c, sender, [how] * 3 if how else [], is_reported=bool(how), room=10))
        assert self.with_connection(lambda c: record(c, earlier, self.devices)) == 0, "a result matched again"

    @property
    def waits(self) -> bool:
        return self.any("pending") or self.any("queued")

    def owner(self, who: int) -> Sender:
        """A sender that has, or once had, a lease."""
        return pick([s for s in self.senders if s.epochs] or self.senders, who)

    async def moment(
        self, connection: Connection, sender: Sender, answers: list[str], *, is_reported: bool, room: int = 2
    ) -> None:
        await sender.lease(connection, 64)
        await self.hint(await self.top_up(connection, room))
        await sender.look(connection)
        place = 0
        for _ in self.live:  # the newest row of each device, for what comes back stands last
            place += not await self.claim(connection, sender, place)
        for device, how in zip(list(sender.open), answers, strict=False):
            await sender.finish(device, how)
        while is_reported and sender.results:
            await self.report_one(connection, sender)

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
            campaign = await connection.fetchval("SELECT campaign_id FROM broadcast_messages WHERE id = $1", message)
            asked = [Claim(message, shard, device, campaign or 0, 0)]
            rows = await claim(connection, asked, {shard: epoch}, name, self.install)
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
    @rule(who=index)
    def the_same_results_again(self, who: int) -> None:
        """All that a sender ever reported: its commits had succeeded, but it never heard of it. They match nothing."""
        sender = pick([s for s in self.senders if s.reported], who)
        assert self.with_connection(lambda c: record(c, sender.reported, self.devices)) == 0, "a result matched again"

    @rule(who=index, is_polite=st.booleans())
    def a_sender_dies(self, who: int, is_polite: bool) -> None:
        """Another takes its place. `is_polite`: what it knows to be accepted goes to disk."""
        sender = pick(self.senders, who)
        if is_polite:
            sender.keep_in_spool()
        self.drive(sender.die())
        self.senders[self.senders.index(sender)] = self.new_sender()

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
                    flight.reference if is_named or kind is ReceiptKind.ACCEPTED else None,
                )
                for kind in kinds
            ]
            await receive(self.runtime, self.install, events)

        self.with_connection(work)

    # -- time, and what is done in the course of it

    @rule(seconds=st.sampled_from(JUMPS))
    def time_passes(self, seconds: int) -> None:
        self.with_connection(lambda c: self.pass_time(c, seconds))

    @rule(what=st.sampled_from(("sweep", "ask", "ask in vain", "sweep and ask", "sweep", "look at evidence")))
    def a_loop_comes_round(self, what: str) -> None:
        if "sweep" in what:
            self.drive(self.sweeper.run_once())
        if "ask" in what:
            self.world.is_mute = what == "ask in vain"
            self.drive(self.reconciler.run_once())
        if what == "look at evidence":
            self.drive(settle_waiting(self.runtime, self.install))

    @rule(what=st.sampled_from(("fold tallies", "retention", "replay the spool", "empty redis")))
    def something_rare(self, what: str) -> None:
        if what == "fold tallies":
            self.with_connection(lambda c: sweeping.fold_tallies(c, 1))
        elif what == "retention":
            self.drive(Retention(self.runtime).run_once(asyncio.Event()))
        elif what == "replay the spool":
            self.with_connection(Spool(self.spool, "any").replay)
        else:
            self.drive(self.stage.empty_redis())
