"""One run of the whole path over planned rows: how long it took, what it cost, and whether everything was done right.

Used by the pipeline benchmark and by growth, so that both measure the same.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from bench import usage
from bench.outcome import Order
from bench.seeding import ACTOR
from bench.stage import Parts, Stage, until
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import resume_campaign
from fleetcast.store.connection import Connection
from fleetcast.store.invariants import broken_invariants

SLICE_SECONDS = 5.0
READY_SECONDS = 120.0

_PROGRESS = """
SELECT clock_timestamp() AS now, coalesce(sum(n) FILTER (WHERE counter = 'sent'), 0)::bigint AS sent
FROM campaign_tallies WHERE campaign_id = $1"""

_TABLE = """
SELECT s.n_tup_upd AS updates, s.n_tup_hot_upd AS hot, s.n_dead_tup AS dead, s.autovacuum_count AS autovacuums,
  pg_relation_size(s.relid) AS heap, pg_indexes_size(s.relid) AS indexes
FROM pg_stat_user_tables s WHERE s.relname = 'broadcast_messages'"""

_VERIFY = """
SELECT (SELECT count(*) FROM broadcast_messages WHERE status = 'sent') AS sent,
  (SELECT count(*) FROM broadcast_messages) AS rows,
  (SELECT count(*) FROM message_attempts) AS attempts,
  (SELECT count(DISTINCT queued_at) FROM broadcast_messages) AS top_ups,
  (SELECT count(DISTINCT started_at) FROM message_attempts) AS claims,
  (SELECT min(started_at) FROM message_attempts) AS first_claim"""

_CONNECTIONS = "SELECT pid, coalesce(nullif(application_name, ''), backend_type) AS name FROM pg_stat_activity"


@dataclass(frozen=True, slots=True)
class Table:
    """Statistics of the message table at one moment."""

    updates: int
    hot: int
    dead: int
    autovacuums: int
    heap: int
    indexes: int

    @classmethod
    async def read(cls, connection: Connection) -> "Table":
        """As they are now."""
        row = await connection.fetchrow(_TABLE)
        assert row is not None
        return cls(**dict(row))


@dataclass(slots=True)
class Sending:
    """What one run measured."""

    rows: int
    seconds: float
    """From the first claim to the last row `sent`, by the database's clock."""
    slices: list[float]
    """Messages a second, every five seconds."""
    cpu: dict[str, float]
    """CPU seconds by process."""
    connections: dict[str, float]
    """CPU seconds of PostgreSQL's backends by what they are for."""
    wal_bytes: int
    before: Table
    after: Table
    top_ups: int
    claims: int
    broken: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.rows / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU microseconds a message, of everything."""
        return sum(self.cpu.values()) / self.rows * 1e6

    def details(self) -> dict[str, object]:
        """The numbers that explain the rate."""
        updates = self.after.updates - self.before.updates
        return {
            "rows": self.rows,
            "seconds": round(self.seconds, 2),
            "rate_each_5s": [round(rate) for rate in self.slices],
            "cpu_us_a_message": {name: round(s / self.rows * 1e6, 2) for name, s in self.cpu.items()},
            "cores_used": {name: round(s / self.seconds, 2) for name, s in self.cpu.items()},
            "postgres_us_a_message_by_connection": {
                name: round(s / self.rows * 1e6, 2) for name, s in sorted(self.connections.items(), key=lambda x: -x[1])
            },
            "wal_bytes_a_message": round(self.wal_bytes / self.rows),
            "hot_share": round((self.after.hot - self.before.hot) / updates, 3) if updates else 0.0,
            "rows_a_top_up": round(self.rows / max(1, self.top_ups), 1),
            "rows_a_claim": round(self.rows / max(1, self.claims), 1),
            "heap_mb": [self.before.heap >> 20, self.after.heap >> 20],
            "indexes_mb": [self.before.indexes >> 20, self.after.indexes >> 20],
            "autovacuums": self.after.autovacuums - self.before.autovacuums,
        }


async def send_everything(
    stage: Stage, runtime: Runtime, workspace: WorkspaceId, campaign: CampaignId, order: Order, seconds: float
) -> Sending:
    """Start the real parts, let the held campaign go, and wait until its last row is sent; then check it all.

    Raises TimeoutError past `seconds`, RuntimeError when rows are missing or a promise is broken.
    """
    async with runtime.db.connection() as connection:
        total: int = await connection.fetchval("SELECT count(*) FROM broadcast_messages WHERE status = 'pending'")
        before = await Table.read(connection)
        with Parts(stage, *["sender"] * order.senders, "scheduler") as parts:
            await until_ready(connection, parts, order.scale.moment)
            cpu = stage.cpu() | parts.cpu()
            backends = await _backends(connection)
            wal = await connection.fetchval("SELECT pg_current_wal_lsn()")
            await resume_campaign(runtime, workspace, campaign, actor=ACTOR)
            ended, slices = await _follow(connection, campaign, total, parts, seconds)
            after_cpu = stage.cpu() | parts.cpu()
            after_backends = await _backends(connection)
            wal_bytes = await connection.fetchval("SELECT pg_current_wal_lsn() - $1::pg_lsn", wal)
        row = await connection.fetchrow(_VERIFY, timeout=300)
        assert row is not None
        if not row["sent"] == row["rows"] == row["attempts"] == total:
            raise RuntimeError(f"{total} rows were planned, but in the tables there are {dict(row)}")
        broken = [f"{v.invariant}: {v.subject} {v.what}" for v in await broken_invariants(connection)]
        if broken:
            raise RuntimeError(f"promises were broken: {'; '.join(broken[:5])}")
        used: dict[str, float] = {}
        for (pid, name), spent in after_backends.items():
            used[name] = used.get(name, 0.0) + spent - backends.get((pid, name), 0.0)
        return Sending(
            rows=total,
            seconds=(ended - row["first_claim"]).total_seconds(),
            slices=slices,
            cpu={name: after_cpu[name] - cpu[name] for name in after_cpu},
            connections={name: spent for name, spent in used.items() if spent > 0},
            wal_bytes=int(wal_bytes),
            before=before,
            after=await Table.read(connection),
            top_ups=row["top_ups"],
            claims=row["claims"],
        )


async def until_ready(connection: Connection, parts: Parts, moment: float) -> None:
    """Every shard has its sender, and the dispatcher listens; then `moment` seconds more."""

    async def leased() -> bool:
        owned = await connection.fetchval("SELECT count(*) FROM shards WHERE expires_at > fleetcast_now()")
        listening = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fleetcast recount'"
        )
        return bool(owned == 64 and listening)

    await until(leased, "the senders hold all shards and the scheduler runs", seconds=READY_SECONDS, parts=parts)
    await asyncio.sleep(moment)


async def _follow(
    connection: Connection, campaign: CampaignId, total: int, parts: Parts, seconds: float
) -> tuple[datetime, list[float]]:
    slices: list[float] = []
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    slice_at: datetime | None = None
    slice_sent = 0
    while True:
        parts.check()
        row = await connection.fetchrow(_PROGRESS, campaign)
        assert row is not None
        now, sent = row["now"], row["sent"]
        if sent >= total:
            return now, slices
        if slice_at is None:
            if sent:
                slice_at, slice_sent = now, sent
        elif (passed := (now - slice_at).total_seconds()) >= SLICE_SECONDS:
            slices.append((sent - slice_sent) / passed)
            slice_at, slice_sent = now, sent
        if loop.time() > deadline:
            raise TimeoutError(f"{sent:,} of {total:,} messages were sent in {seconds:g} s")
        # a look costs a millisecond: seldom on the way, often at the end, which it dates
        await asyncio.sleep(0.02 if total - sent < 0.05 * total or total < 20_000 else 0.25)


async def _backends(connection: Connection) -> dict[tuple[int, str], float]:
    rows = await connection.fetch(_CONNECTIONS)
    return {(row["pid"], row["name"]): usage.cpu_seconds(row["pid"]) for row in rows}
