"""Sequences in the state of a large install: half of the leads are or were in one of them, most of them in the first.

Beside `state_statements`, whose rules hold here too. No message of theirs is written: what a page of sequences reads
are people and sums.
"""

from bench.outcome import Tell
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store.connection import Connection

MANY = 5
STEPS = 3

# $1 workspace.
SEQUENCES = """
INSERT INTO sequences (workspace_id, name, status, activated_at, niches, auto_enrol)
SELECT $1, 'Course ' || i, 'active', fleetcast_now() - interval '40 days', '{fitness}', i = 1
FROM generate_series(1, $2::int) i RETURNING id"""

STEPS_OF = """
INSERT INTO sequence_steps (workspace_id, sequence_id, content_id, position, day, local_time)
SELECT $1, $2, (SELECT min(id) FROM contents WHERE workspace_id = $1), i - 1, 30 * i, '09:00'
FROM generate_series(1, $3::int) i"""

# $1 workspace, $2 sequence, $3 of how many leads one, $4 which of them. Three quarters wait for their second step.
ENROLMENTS = """
INSERT INTO enrolments (workspace_id, sequence_id, device_id, lead_id, recipient, enrolled_at, anchor, step_id, moment,
  due_at, done_step_id, done_at, done_moment, ended_at, revision, source, state, stop_reason)
SELECT l.workspace_id, $2, l.device_id, l.id, l.phone, at.at, at.at::date, s.steps[2], later.at,
  CASE WHEN k.state = 'active' THEN later.at END, s.steps[1], at.at, at.at, CASE WHEN k.state <> 'active' THEN at.at
  END, 1, 'niche', k.state::enrolment_state, CASE WHEN k.state = 'stopped' THEN (ARRAY['replied', 'opted_out',
  'converted'])[1 + l.id / 8 % 3] END
FROM leads l, (SELECT array_agg(id ORDER BY position) AS steps FROM sequence_steps WHERE sequence_id = $2) s,
  LATERAL (SELECT fleetcast_now() - interval '30 days' + l.id % 86400 * interval '10 seconds' AS at) at,
  LATERAL (SELECT fleetcast_now() + interval '30 days' + l.id % 86400 * interval '10 seconds' AS at) later,
  LATERAL (SELECT CASE WHEN l.id / 2 % 8 < 6 THEN 'active' WHEN l.id / 2 % 8 = 6 THEN 'completed' ELSE 'stopped' END
    AS state) k
WHERE l.workspace_id = $1 AND l.deleted_at IS NULL AND l.id % $3 = $4"""

SUMS = """
WITH counted AS (
  SELECT sequence_id, device_id, CASE WHEN state = 'active' THEN step_id ELSE done_step_id END AS step_id,
    state::text AS counter, coalesce(stop_reason, '') AS reason, count(*) AS n
  FROM enrolments WHERE workspace_id = $1 GROUP BY 1, 2, 3, 4, 5)
INSERT INTO sequence_sums (sequence_id, device_id, step_id, counter, reason, n)
SELECT sequence_id, d.id, step_id, counter, reason, sum(n)
FROM counted CROSS JOIN LATERAL (VALUES (0::bigint), (device_id)) AS d (id) GROUP BY 1, 2, 3, 4, 5"""


async def make_sequences(connection: Connection, workspace: WorkspaceId, tell: Tell, patience: float) -> None:
    """Write them all."""
    tell("sequences ...")
    for place, row in enumerate(await connection.fetch(SEQUENCES, workspace, MANY)):
        await connection.execute(STEPS_OF, workspace, row["id"], STEPS)
        # Half of the leads in the first, few in each of the others.
        share, which = (2, 0) if place == 0 else (40, 2 * place)
        await connection.execute(ENROLMENTS, workspace, row["id"], share, which, timeout=patience)
    await connection.execute(SUMS, workspace, timeout=patience)
