"""Two at the same time, each order of them made on purpose: one is held just before its commit, the other comes then.

Nothing is left to the scheduler. The second either waits for a lock of the first, which the server shows, or it is
through; only then does the first commit.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from fleetcast.services.campaign_actions import pause_campaign
from fleetcast.services.devices import remove_device
from fleetcast.services.suppressions import suppress
from fleetcast.store import planning
from fleetcast.store.connection import Connection
from tests.models.persons import MOST_SALES, MOST_STOPS, Persons
from tests.models.play import ACTOR, TEXTS, index, pick
from tests.models.senders import LEASE_SECONDS, Sender

BLOCKED = """
SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
  WHERE NOT l.granted AND a.datname = current_database())"""


class Races(Persons):
    """The rules of races."""

    async def meanwhile(self, second: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Start the second; come back when it is through or waits for a lock."""
        task = asyncio.create_task(second)
        async with self.runtime.db.connection() as connection:
            while not task.done() and not await connection.fetchval(BLOCKED):  # noqa: ASYNC110 - what holds it up is in the server
                await asyncio.sleep(0)
        return task

    async def held(self, first: Callable[[Connection], Coroutine[Any, Any, Any]], second: Any) -> Any:
        """`first` in a transaction of its own, held open until the second waits or is through. Returns the first's."""
        async with self.runtime.db.transaction() as connection:
            done = await first(connection)
            task = await self.meanwhile(second)
        await task
        return done

    @precondition(lambda self: len(self.stopped) < MOST_STOPS)
    @rule(at=index)
    def a_stop_word_while_its_window_is_planned(self, at: int) -> None:
        if len(self.sales) < MOST_SALES:
            self.try_to(self.new_sale(TEXTS[0], "7d", "wait"))

        async def work(connection: Connection) -> None:
            for campaign_id in await planning.unplanned(connection):
                async with connection.transaction():
                    campaign = await planning.take(connection, campaign_id)
                    if campaign is None or campaign.plan_cursor < 0:
                        continue
                    found = await planning.windows(connection, campaign.workspace_id, campaign.plan_cursor)
                    for after, upto in found:
                        who = await connection.fetchval("SELECT phone FROM leads WHERE id = $1", upto)
                        await self.held(
                            lambda c, a=after, u=upto, s=campaign: planning.plan_window(c, s, a, u),  # type: ignore[misc]
                            self.stop(who, at),
                        )
                    await planning.advance(connection, campaign_id, found)

        self.with_connection(work)

    def ready(self) -> list[Sender]:
        return [s for s in self.senders if s.known and s.epochs]

    @precondition(lambda self: self.ready() and len(self.stopped) < MOST_STOPS)
    @rule(who=index, place=index, is_stop_first=st.booleans())
    def a_stop_word_while_its_person_is_claimed(self, who: int, place: int, is_stop_first: bool) -> None:
        sender = pick(self.ready(), who)

        async def work(connection: Connection) -> None:
            free = await sender.free(connection)
            known = [(device, message) for device, message in reversed(sender.known) if device in free]
            if not known:
                return
            device, message = pick(known, place)
            phone = await connection.fetchval("SELECT recipient FROM broadcast_messages WHERE id = $1", message)
            if phone is None:
                return
            claimed = []

            async def claim(own: Connection) -> None:
                claimed.extend(await sender.claim(own, message, free[device]))

            if is_stop_first:
                self.stopped.add(phone)
                await self.held(lambda c: suppress(c, self.workspace.id, phone, "person"), claim(connection))
            else:
                await self.held(claim, self.stop(phone, 0))
            for row in claimed:
                await sender.begin(row)

        self.with_connection(work)

    @precondition(lambda self: self.ready())
    @rule(who=index, place=index)
    def a_takeover_while_a_claim_commits(self, who: int, place: int) -> None:
        """The lease runs out before the claim's commit, and another sender wants the shard at once."""
        sender = pick(self.ready(), who)
        other = pick([s for s in self.senders if s is not sender], who)

        async def work(connection: Connection) -> None:
            free = await sender.free(connection)
            known = [(device, message) for device, message in reversed(sender.known) if device in free]
            if not known:
                return
            device, message = pick(known, place)

            async def claim(own: Connection) -> list[Any]:
                rows = await sender.claim(own, message, free[device])
                await self.pass_time(connection, LEASE_SECONDS + 50)
                return rows

            for row in await self.held(claim, other.lease(connection, 64)):
                await sender.begin(row)

        self.with_connection(work)

    @precondition(lambda self: self.ready())
    @rule(who=index, place=index, at=index, is_pause=st.booleans())
    def a_pause_or_removal_while_a_claim_commits(self, who: int, place: int, at: int, is_pause: bool) -> None:
        sender = pick(self.ready(), who)
        device = pick(self.live, at)
        if not is_pause and self.removed:
            return

        async def wish() -> None:
            if is_pause:
                await pause_campaign(self.runtime, self.workspace.id, pick(self.sales, at).id, actor=ACTOR)
            else:
                await remove_device(self.runtime, self.workspace.id, device, actor=ACTOR)
                self.removed.add(device)

        async def work(connection: Connection) -> None:
            async def claim(own: Connection) -> list[Any]:
                free = await sender.free(own)
                known = [(d, message) for d, message in reversed(sender.known) if d in free]
                return await sender.claim(own, pick(known, place)[1], free[pick(known, place)[0]]) if known else []

            async def asked() -> None:
                self_asked = asyncio.create_task(wish())
                await asyncio.wait({self_asked})
                if not isinstance(self_asked.exception(), Exception):
                    return
                assert is_pause, self_asked.exception()

            for row in await self.held(claim, asked()):
                await sender.begin(row)

        self.with_connection(work)
