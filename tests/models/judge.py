"""What must hold after each step and at the end: the product's own invariants, and what they cannot see.

The product asks its database at one moment. Here two moments are compared (what may never fall, vanish or change), and
the database is compared with the world (who got how many copies).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fleetcast.store.connection import Connection, Row
from fleetcast.store.invariants import CHECKS, broken_invariants
from tests.models.world import Copy, World

MESSAGES = """
SELECT id, campaign_id, recipient, status::text, delivery::text, attempts, reason, resolution, provider_id,
  sent_at IS NOT NULL AS was_sent
FROM broadcast_messages ORDER BY id"""
# Retention may only take what ended so long ago.
RETIRING = """
SELECT id FROM campaigns WHERE retiring_at IS NOT NULL AND status IN ('finished', 'cancelled')
  AND ended_at <= retiring_at - interval '180 days'"""
# A stop ends what waits in campaigns that go on. What was attempted before may still come back from its attempt, and is
# not tried again.
STILL_WAITING = """
SELECT b.id, b.status::text FROM suppressions s JOIN broadcast_messages b USING (workspace_id, recipient)
  JOIN campaigns c ON c.id = b.campaign_id
WHERE b.status IN ('pending', 'queued') AND b.attempts = 0 AND c.status IN ('running', 'paused')"""
STILL_OPEN = """
SELECT b.id, b.status::text, b.reason, b.attempts, b.recipient, b.not_before, b.expires_at, d.is_ready,
  c.status::text AS campaign, c.planned_at, c.plan_cursor, c.expires_at AS ends_at, c.ended_at, fleetcast_now() AS now,
  EXISTS (SELECT FROM suppressions x WHERE x.recipient = b.recipient) AS suppressed
FROM broadcast_messages b JOIN devices d ON d.id = b.device_id LEFT JOIN campaigns c ON c.id = b.campaign_id
WHERE b.is_open"""
# The attempt row is the claim's: of the same instant, by the same owner and epoch.
CLAIMED_APART = """
SELECT b.id FROM broadcast_messages b LEFT JOIN message_attempts a ON a.message_id = b.id AND a.attempt = b.attempts
WHERE b.status = 'sending' AND (a.started_at, a.lease_epoch) IS DISTINCT FROM (b.claimed_at, b.lease_epoch)"""
_OPEN_GATE = """d.is_ready AND c.status = 'running' AND b.expires_at > fleetcast_now()
    AND s.expires_at > fleetcast_now() AND s.owner IS NOT NULL
    AND NOT EXISTS (SELECT FROM suppressions x WHERE x.workspace_id = b.workspace_id AND x.recipient = b.recipient)"""
_PASSED = f"""
SELECT b.id, coalesce({_OPEN_GATE}, false) AS may, s.owner, s.epoch
FROM broadcast_messages b JOIN devices d ON d.id = b.device_id JOIN shards s ON s.id = b.shard_id
  LEFT JOIN campaigns c ON c.id = b.campaign_id WHERE b.id = ANY ($1::bigint[])"""

# All checks of the product in one question: each of thousands of steps asks it. How long things lie (10) is asked when
# the loops have come round.
_STEP = " UNION ALL ".join(
    f"(SELECT {check.invariant} AS invariant, subject, what FROM ({check.sql}) c{n})"
    for n, check in enumerate(CHECKS)
    if check.invariant != 10
)

OPEN = ("pending", "queued", "sending", "in_doubt")
DELIVERY = ("none", "delivered", "read")
UNCERTAIN = ("unconfirmed", "delivery_failed")


@dataclass
class Judge:
    """The verdicts on one run. Each raises AssertionError with what is wrong."""

    world: World
    before: dict[int, Row] = field(default_factory=dict)
    edited: set[int] = field(default_factory=set)
    """Campaigns whose rows may be planned anew where they were never attempted."""
    may_reopen: bool = False
    """This step is a person's retry."""

    def the_world(self) -> None:
        """Nobody has two copies, and no message left that should not have."""
        assert not self.world.wrong, self.world.wrong
        twice = [c for c, n in self.world.copies.items() if n > 1 and c not in self.world.again]
        assert not twice, f"more than one copy was accepted: {twice}"

    async def after_a_step(self, connection: Connection) -> None:
        """Everything that holds at every moment."""
        self.the_world()
        found = await connection.fetch(_STEP)
        assert not found, found
        waiting = await connection.fetch(STILL_WAITING)
        assert not waiting, f"waits although the person is suppressed: {waiting}"
        apart = await connection.fetch(CLAIMED_APART)
        assert not apart, f"the attempt row is not of the claim: {apart}"
        rows = {row["id"]: row for row in await connection.fetch(MESSAGES)}
        await self._compare(connection, rows)
        self.before, self.may_reopen = rows, False

    async def _compare(self, connection: Connection, rows: dict[int, Row]) -> None:
        gone = [row for number, row in self.before.items() if number not in rows]
        if gone:
            retiring = {row["id"] for row in await connection.fetch(RETIRING)}
            for was in gone:
                retired = was["campaign_id"] in retiring and was["status"] not in OPEN
                anew = was["campaign_id"] in self.edited and was["attempts"] == 0
                assert retired or anew, f"a message is gone: {was}"
        for number, now in rows.items():
            if number not in self.before or self.before[number] == now:
                continue
            was = self.before[number]
            assert DELIVERY.index(now["delivery"]) >= DELIVERY.index(was["delivery"]), f"delivery fell: {was} {now}"
            assert now["attempts"] >= was["attempts"], f"attempts fell: {was} {now}"
            assert now["was_sent"] >= was["was_sent"], f"no longer sent: {was} {now}"
            ends = was["status"], was["reason"], now["status"], now["reason"]
            if was["status"] not in OPEN and ends[:2] != ends[2:] and not self._may_change(was, now):
                raise AssertionError(f"a message that had ended has changed: {was} {now}")

    def _may_change(self, was: Row, now: Row) -> bool:
        if was["status"] == "sent":
            return (now["status"], now["reason"]) == ("failed", "delivery_failed")
        if was["status"] == "failed" and was["reason"] == "unconfirmed" and now["status"] in ("sent", "failed"):
            return True  # evidence; and a failure reported after it
        return self.may_reopen and was["status"] != "cancelled" and now["status"] == "pending"

    async def queued(self, connection: Connection, messages: Sequence[int]) -> None:
        """T1 gave these out: the gate was open for each."""
        for row in await connection.fetch(_PASSED, messages):
            assert row["may"], f"was queued although it may not be sent now: {row}"

    async def claimed(self, connection: Connection, messages: Sequence[int], sender: str, epoch: int) -> None:
        """T2 gave these to a sender that holds this epoch: the gate was open, and it owns the shard."""
        for row in await connection.fetch(_PASSED, messages):
            assert row["may"], f"was claimed although it may not be sent now: {row}"
            assert (row["owner"], row["epoch"]) == (sender, epoch), f"{sender} does not own what it claimed: {row}"

    async def at_the_end(self, connection: Connection, words: dict[int, str], expected: Mapping[Copy, int]) -> None:
        """All faults are over and everything was driven to its end. `expected`: who must have been planned."""
        self.the_world()
        found = await broken_invariants(connection)
        assert not found, found
        rows = await connection.fetch(MESSAGES)
        still = await connection.fetch(STILL_OPEN)
        assert not still, f"never came to an end: {still}"
        planned = {(words[row["campaign_id"]], row["recipient"]): row for row in rows}
        retired = {row["id"] for row in await connection.fetch(RETIRING)}
        missing = [copy for copy, sale in expected.items() if copy not in planned and sale not in retired]
        assert not missing, f"was never planned: {missing}"
        for copy, row in planned.items():
            accepted = self.world.copies[copy]
            if row["status"] == "sent" and row["resolution"] != "person":
                assert accepted == 1 or (accepted and copy in self.world.again), f"{accepted} copies accepted: {row}"
            elif row["status"] != "sent" and row["reason"] not in UNCERTAIN and copy not in self.world.again:
                assert accepted == 0, f"was accepted, but is {row}"
