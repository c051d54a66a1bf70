"""The yardstick of the pipeline: a queue reduced to claim, queue and mark, in one process.

No attempts, no guards, no pacing, no rendering, no transport. It is what a quickly written queue on PostgreSQL and a
stream does, and the pipeline's rate is given as a share of it, so that the machine cancels out. It runs on the table of
messages as it is, columns, checks and indexes, and for comparison on a slim table made for nothing else.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import cast

import asyncpg
import redis.asyncio as redis

SHARD_GROUPS = 8
BATCH = 500


@dataclass(frozen=True, slots=True)
class Table:
    """A table `bare_loop` with id, device_id, status, queued_at, sent_at and provider_id, and how it is filled."""

    create: str
    fill: str
    text: str
    """SQL: who a row is for and what it says, two columns."""


SAME = Table(
    create="""
DROP TABLE IF EXISTS bare_loop;
CREATE TABLE bare_loop (LIKE broadcast_messages INCLUDING ALL) WITH (
  fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.2)""",
    fill="""
INSERT INTO bare_loop (workspace_id, device_id, campaign_id, lead_id, content_id, not_before, created_at, shard_id,
  recipient, dedupe_key, variables)
SELECT workspace_id, device_id, 1, id, 1, now(), now(), 1, phone, 'c:1:' || phone, jsonb_build_object('name', name)
FROM leads ORDER BY id""",
    text="b.recipient, b.variables::text",
)
"""The table of messages. Its triggers are guards and stay away; its foreign keys are not looked at when a row is
updated."""

SLIM = Table(
    create="""
DROP TABLE IF EXISTS bare_loop;
CREATE TABLE bare_loop (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  campaign_id bigint NOT NULL,
  device_id bigint NOT NULL,
  lead_id bigint NOT NULL,
  phone text NOT NULL,
  body text NOT NULL,
  status text NOT NULL DEFAULT 'pending',
  created_at timestamptz NOT NULL DEFAULT now(),
  queued_at timestamptz,
  sent_at timestamptz,
  provider_id text
) WITH (fillfactor = 80);
CREATE INDEX bare_loop_device ON bare_loop (device_id, id) WHERE status IN ('pending', 'queued');
CREATE UNIQUE INDEX bare_loop_lead ON bare_loop (campaign_id, lead_id)""",
    fill="""
INSERT INTO bare_loop (campaign_id, device_id, lead_id, phone, body)
SELECT 1, device_id, id, phone, 'Hello ' || name || ', your order is ready to be collected.' FROM leads ORDER BY id""",
    text="b.phone, b.body",
)

_CLAIM = """
WITH picked AS (
  SELECT id FROM bare_loop WHERE status = 'pending' AND id > $2 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
UPDATE bare_loop b SET status = 'queued', queued_at = now() FROM picked WHERE b.id = picked.id
RETURNING b.id, b.device_id, {text}"""
# There is one claimer: it goes on behind the last row instead of stepping over those that it has claimed.

_MARK = """
UPDATE bare_loop b SET status = 'sent', sent_at = now(), provider_id = u.provider_id
FROM unnest($1::bigint[], $2::text[]) AS u (id, provider_id) WHERE b.id = u.id AND b.status = 'queued'"""


_Answer = dict[bytes, list[list[tuple[bytes, dict[bytes, bytes]]]]]
"""By stream, as Valkey answers in its newer protocol."""


class BareLoop:
    """One pass over as many rows as there are leads."""

    def __init__(self, database_url: str, redis_url: str, table: Table = SAME) -> None:
        self._database_url = database_url
        self._redis_url = redis_url
        self._table = table
        self._total = 0
        self._done = 0

    async def run(self, *, seconds: float) -> float:
        """Make the table, empty it, drop it; messages a second between first claim and last mark.

        Raises TimeoutError when the pass takes longer than `seconds`.
        """
        claims = await asyncpg.connect(self._database_url)
        marks = await asyncpg.connect(self._database_url)
        writer, reader = redis.from_url(self._redis_url, protocol=3), redis.from_url(self._redis_url, protocol=3)
        try:
            await claims.execute(self._table.create)
            await claims.execute(self._table.fill, timeout=600)
            await claims.execute("VACUUM (ANALYZE) bare_loop", timeout=600)
            await claims.execute("CHECKPOINT", timeout=600)
            self._total = await claims.fetchval("SELECT count(*) FROM bare_loop")
            self._done = 0
            begun = time.perf_counter()
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                group.create_task(self._produce(claims, writer), name="bare claims")
                group.create_task(self._consume(marks, reader), name="bare marks")
            taken = time.perf_counter() - begun
            sent = await claims.fetchval("SELECT count(*) FROM bare_loop WHERE status = 'sent'")
            if sent != self._total:
                raise RuntimeError(f"the bare loop marked {sent} of {self._total} rows")
            return self._total / taken
        finally:
            await writer.delete(*(_stream(group) for group in range(SHARD_GROUPS)))
            await claims.execute("DROP TABLE IF EXISTS bare_loop")
            await claims.close()
            await marks.close()
            await writer.aclose()
            await reader.aclose()

    async def _produce(self, connection: asyncpg.Connection, client: redis.Redis) -> None:
        claim = _CLAIM.format(text=self._table.text)
        last = 0
        while rows := await connection.fetch(claim, BATCH, last):
            last = max(row["id"] for row in rows)
            groups: dict[int, list[list[object]]] = {}
            for row in rows:
                groups.setdefault(row["device_id"] % SHARD_GROUPS, []).append(list(row))
            pipeline = client.pipeline(transaction=False)
            for group, entries in groups.items():
                pipeline.xadd(_stream(group), {"rows": json.dumps(entries)})
            await pipeline.execute()

    async def _consume(self, connection: asyncpg.Connection, client: redis.Redis) -> None:
        position: dict[bytes | str | memoryview[int], bytes | str | int | memoryview[int]] = {
            _stream(group): "0" for group in range(SHARD_GROUPS)
        }
        waiting: list[int] = []
        while self._done < self._total:
            answer = cast("_Answer", await client.xread(position, count=8, block=200) or {})
            for name, parts in answer.items():
                for key, fields in (entry for part in parts for entry in part):
                    position[name.decode()] = key.decode()
                    waiting += [row[0] for row in json.loads(fields[b"rows"])]
            while len(waiting) >= BATCH or (waiting and self._done + len(waiting) == self._total):
                batch, waiting = waiting[:BATCH], waiting[BATCH:]
                await connection.execute(_MARK, batch, [f"bare-{i}" for i in batch])
                self._done += len(batch)


def _stream(group: int) -> str:
    return f"bare:{group}"
