"""sequence_*: a million people are in sequences, a thousand are due a minute; then a hundred thousand come in at once.

What is measured is what their being there costs: the same processes are first watched while nothing is due. Messages go
to the null transport, so lateness is that of the sequencer, the dispatcher and the sender.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from bench import statements
from bench.figures import judge, percentile
from bench.outcome import Order, Outcome
from bench.seeding import ACTOR, Fleet, make_fleet, settle
from bench.stage import Parts, Stage, stage, until
from bench.writer import Writer
from fleetcast.cli.session import runner
from fleetcast.domain.identifiers import SequenceId, WorkspaceId
from fleetcast.domain.pacing import Pace
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.services.enrolments import count_existing, enrol_existing
from fleetcast.services.sequence_actions import activate_sequence
from fleetcast.services.sequence_fields import StepFields
from fleetcast.services.sequence_steps import add_step
from fleetcast.services.sequences import create_sequence
from fleetcast.store.connection import Connection

COURSES = 5
A_MINUTE = 1_000
PACE = Pace(0.5, 1.5)
"""Of each device: with three thousand of them a message seldom waits for another."""
STEPS: tuple[StepFields, ...] = (
    {"after": "60d", "body": "Hello {{ name }}, order {{ order_no }} is yours."},
    {"after": "60d", "body": "Did all go well, {{ name }}?"},
)
LONGEST = 900.0

# Everybody waits for the first step, months away. In the order of the leads, and no course has a lead twice.
_ENROL = """
INSERT INTO enrolments (workspace_id, sequence_id, device_id, lead_id, recipient, enrolled_at, anchor, step_id, moment,
  due_at, revision, source)
SELECT l.workspace_id, $2, l.device_id, l.id, l.phone, fleetcast_now(), current_date, s.id, m.at, m.at, q.revision,
  'existing'
FROM sequences q JOIN sequence_steps s ON s.sequence_id = q.id AND s.position = 0, leads l
  CROSS JOIN LATERAL (SELECT fleetcast_now() + interval '60 days' + l.id * interval '1 second' AS at) m
WHERE q.id = $2 AND l.workspace_id = $1 AND l.id % $3 = $4"""

# So many of all are due, one after the other, from in a moment on.
_DUE = """
WITH chosen AS (
  SELECT id, row_number() OVER (ORDER BY md5(id::text)) AS place FROM (
    SELECT id FROM enrolments WHERE state = 'active' AND id % greatest(1, $3::bigint / $1::bigint) = 0 LIMIT $1) e)
UPDATE enrolments e SET moment = m.at, due_at = m.at
FROM chosen, LATERAL (
  SELECT fleetcast_now() + interval '2 seconds' + chosen.place * make_interval(secs => $2::float8 / $1::bigint) AS at) m
WHERE e.id = chosen.id"""

_SENT = "SELECT count(*) FROM broadcast_messages WHERE sequence_id IS NOT NULL AND status = 'sent'"
_LATE = """
SELECT extract(epoch FROM sent_at - not_before)::float8 * 1000 AS late FROM broadcast_messages
WHERE sequence_id IS NOT NULL AND status = 'sent'"""


@dataclass(frozen=True, slots=True)
class Watched:
    """CPU of each process in a span of time, as parts of a core."""

    shares: Mapping[str, float]

    @property
    def whole(self) -> float:
        """All of them."""
        return sum(self.shares.values())

    def details(self) -> dict[str, float]:
        """For the report."""
        return {name: round(share, 4) for name, share in self.shares.items()}


def run(order: Order) -> Outcome:
    """Enrol a million, watch, let a thousand a minute be due, watch, enrol a hundred thousand in one act."""
    more = statements.settings(order.statements) | {"shared_buffers": order.scale.shared_buffers}
    with stage(more) as play:
        outcome = runner(_run(play, order))
    outcome.postgres_settings, outcome.servers = play.postgres_settings, play.versions
    return outcome


async def _run(play: Stage, order: Order) -> Outcome:
    scale, tell = order.scale, order.tell
    people, span = scale.sequence_people, scale.sequence_window
    async with open_runtime(play.settings, patience=600) as runtime:
        tell(f"{people:,} leads on {scale.devices:,} devices, enrolled in {COURSES} sequences ...")
        workspace = await make_fleet(runtime, Fleet(scale.devices, people, PACE, order.seed))
        courses = [await _sequence(runtime, workspace, f"Course {n}", STEPS) for n in range(COURSES)]
        async with runtime.db.connection() as connection:
            for n, sequence in enumerate(courses):
                await connection.execute(_ENROL, workspace, sequence, COURSES, n, timeout=LONGEST)
            await settle(connection, "enrolments", "sequence_tallies")
        with Parts(play, "scheduler", "sender") as parts:
            await asyncio.sleep(scale.moment + 8)
            idle = await _watch(play, parts, span / 2)
            tell(f"nothing is due: {idle.whole:.1%} of a core")
            due = max(1, round(A_MINUTE * span / 60))
            await statements.reset(runtime, order.statements)
            async with runtime.db.connection() as connection:
                await connection.execute(_DUE, due, span, people, timeout=LONGEST)
            busy = await _watch(play, parts, span)
            await until(lambda: _all_sent(runtime, due), f"{due} steps sent", seconds=LONGEST, parts=parts)
            async with runtime.db.connection() as connection:
                late = [row["late"] for row in await connection.fetch(_LATE, timeout=LONGEST)]
            tell(f"{A_MINUTE:,} due a minute: {busy.whole:.1%} of a core, p99 late by {percentile(late, 0.99):.0f} ms")
            by_statement = await statements.read(runtime, order.statements, due)
            enrolled, seconds, writer = await _in_one_act(runtime, workspace, parts, scale.sequence_act)
            tell(f"{enrolled:,} enrolled in {seconds:.1f} s; another writer's p99 {writer.p99:.1f} ms")
    return Outcome(
        [
            judge("sequence_lateness_p99_ms", percentile(late, 0.99)),
            judge("sequence_cpu_share", busy.whole - idle.whole),
            judge("sequence_enrol_seconds", seconds),
            judge("sequence_enrol_writer_p99_ms", writer.p99),
        ],
        {
            "enrolled": people,
            "due": due,
            "window_s": span,
            "cpu_idle": idle.details(),
            "cpu_busy": busy.details(),
            "lateness_ms": {f"p{round(share * 100)}": round(percentile(late, share)) for share in (0.5, 0.9, 0.99)}
            | {"max": round(max(late))},
            "enrolled_in_one_act": enrolled,
            "enrol_rows_per_s": round(enrolled / seconds),
            "writer_beside_enrolling_ms": writer.spread(),
        }
        | ({"statements": by_statement} if order.statements else {}),
    )


async def _sequence(
    runtime: Runtime, workspace: WorkspaceId, name: str, steps: tuple[StepFields, ...], *, niches: tuple[str, ...] = ()
) -> SequenceId:
    made = await create_sequence(runtime, workspace, {"name": name, "niches": niches}, actor=ACTOR)
    for step in steps:
        await add_step(runtime, workspace, made.id, step, actor=ACTOR)
    await activate_sequence(runtime, workspace, made.id, even_offline=True, actor=ACTOR)
    return made.id


async def _watch(play: Stage, parts: Parts, seconds: float) -> Watched:
    begun, before = time.monotonic(), parts.cpu() | play.cpu()
    await asyncio.sleep(seconds)
    parts.check()
    taken, after = time.monotonic() - begun, parts.cpu() | play.cpu()
    return Watched({name: (after[name] - before[name]) / taken for name in after})


async def _all_sent(runtime: Runtime, wanted: int) -> bool:
    async with runtime.db.connection() as connection:
        return bool(await connection.fetchval(_SENT) >= wanted)


async def _in_one_act(runtime: Runtime, workspace: WorkspaceId, parts: Parts, wanted: int) -> tuple[int, float, Writer]:
    """Enrol so many by a niche that they have; how many, how long it took, and who wrote meanwhile."""
    async with runtime.db.connection() as connection:
        await _give_niche(connection, workspace, wanted)
    sequence = await _sequence(runtime, workspace, "In one act", STEPS, niches=("act",))
    writer = Writer(runtime, workspace)
    async with writer.beside():
        people = await count_existing(runtime, workspace, sequence)
        begun = time.perf_counter()
        await enrol_existing(runtime, workspace, sequence, confirmed=people, actor=ACTOR)
        await until(lambda: _is_through(runtime), f"{people} enrolled", seconds=LONGEST, every=0.05, parts=parts)
        taken = time.perf_counter() - begun
    async with runtime.db.connection() as connection:
        enrolled = await connection.fetchval("SELECT count(*) FROM enrolments WHERE sequence_id = $1", sequence)
    if enrolled != people:
        raise RuntimeError(f"{people} were counted and {enrolled} enrolled")
    return people, taken, writer


async def _give_niche(connection: Connection, workspace: WorkspaceId, wanted: int) -> None:
    await connection.execute(
        "UPDATE leads SET niches = ARRAY['act'] WHERE workspace_id = $1 AND id IN ("
        "SELECT id FROM leads WHERE workspace_id = $1 ORDER BY md5(id::text) LIMIT $2)",
        workspace,
        wanted,
        timeout=LONGEST,
    )
    await settle(connection, "leads")


async def _is_through(runtime: Runtime) -> bool:
    async with runtime.db.connection() as connection:
        return not await connection.fetchval("SELECT EXISTS (SELECT FROM enrolment_runs WHERE finished_at IS NULL)")
