"""The statements behind `store.transitions`: every transition of a message, one guarded statement each.

No other module changes a message's status. The names T1 to T8u are those of `docs/message-lifecycle.md`. Each carries
its guard, so that a repeated, late or mistaken call matches no row; the database's trigger refuses every pair outside
the life cycle on top of it. Each also writes its differences to `campaign_tallies`, so a campaign's counts move with
its rows or not at all. Birth (T0) is planning and lives in `store.planning`; what ends without an attempt (T7) is in
`store.ending_statements`.

Rows that another statement may want at the same time are locked in the order of their ids, in every statement: a pause
in the midst of claims and results must wait for them and not they for it as well.
"""

from fleetcast.domain.device import NAMELESS
from fleetcast.domain.message import ANSWERS, PRIORITY_REPLY, Reason
from fleetcast.store.leads import LEAD_VARIABLES_SQL

CLOCK = "clock AS MATERIALIZED (SELECT fleetcast_now() AS now)"


def _tally(before: str, after: str) -> str:
    """Differences of `moved` between two fixed statuses, for the hot statements."""
    return f"""tally AS (
  INSERT INTO campaign_tallies (campaign_id, counter, n)
  SELECT m.campaign_id, s.counter, s.sign * m.n
  FROM (SELECT campaign_id, count(*) AS n FROM moved WHERE campaign_id IS NOT NULL GROUP BY campaign_id) m
    CROSS JOIN (VALUES ('{before}', -1), ('{after}', 1)) AS s (counter, sign))"""


# The same for statements whose rows differ: `moved` has campaign_id, before, was (its reason), after, why (its reason).
TALLY_EACH = """tally AS (
  INSERT INTO campaign_tallies (campaign_id, counter, reason, n)
  SELECT t.campaign_id, t.counter, t.reason, sum(t.n) FROM (
    SELECT campaign_id, before::text AS counter,
      CASE WHEN before IN ('failed', 'skipped') THEN was END AS reason, -1 AS n FROM moved
    UNION ALL
    SELECT campaign_id, after::text, CASE WHEN after IN ('failed', 'skipped') THEN why END, 1 FROM moved) t
  WHERE t.campaign_id IS NOT NULL GROUP BY 1, 2, 3 HAVING sum(t.n) <> 0)"""

NOT_SUPPRESSED = (
    "NOT EXISTS (SELECT 1 FROM suppressions x WHERE x.workspace_id = {m}.workspace_id AND x.recipient = {m}.recipient)"
)
"""The one rule of who may be written to, asked at planning, at T1 and again at T2. `{m}`: alias with both columns."""

TURN_OF = (
    "coalesce({m}.campaign_id, -{m}.sequence_id, "
    f"CASE WHEN {{m}}.priority > {PRIORITY_REPLY} THEN 0 ELSE {ANSWERS} END)"
)
"""By what a sender paces a message and in which turn it goes: its campaign, minus its sequence, or for a message of
neither whether it is an answer."""

SENT_ON = (
    "({m}.enrolment_id IS NULL OR EXISTS (SELECT 1 FROM enrolments e JOIN sequences q ON q.id = e.sequence_id "
    "WHERE e.id = {m}.enrolment_id AND e.state = 'active' AND q.status = 'active'))"
)
"""Whether the sequence of a message, if it has one, is active and its person still in it; asked at T1 and again at T2.
`{m}`: alias of the message."""

ANSWERS_ONLY = f"NOT d.is_ready AND {{m}}.priority > {PRIORITY_REPLY}"
"""What a device that may only answer keeps waiting. `{m}`: alias of the message, beside its device `d`."""

HELD = (
    f"d.transport = '{NAMELESS}' AND EXISTS (SELECT 1 FROM broadcast_messages o "
    "WHERE o.in_doubt_since IS NOT NULL AND o.device_id = {m}.device_id AND o.recipient = {m}.recipient)"
)
"""What waits until it is known whether the device's last message to the same person arrived; asked at T1 and again at
T2. `{m}`: alias of the message, beside its device `d`."""

_DUE = f"""p.is_open AND p.status = 'pending' AND p.not_before <= clock.now
      AND (p.expires_at IS NULL OR p.expires_at > clock.now) AND {NOT_SUPPRESSED.format(m="p")}
      AND NOT ({ANSWERS_ONLY.format(m="p")}) AND NOT ({HELD.format(m="p")})
      ORDER BY p.priority, p.not_before, p.id LIMIT need.room"""

# T1. For each device at most `room` due rows: those without a campaign and, turn by turn, those of each running one.
# A row is updated where the pick has just read it (`tid`), which saves looking for it in the primary key again.
TOP_UP = f"""
WITH {CLOCK},
pick AS MATERIALIZED (
  SELECT m.id, m.tid FROM clock, unnest($1::bigint[], $2::int[]) AS need (device_id, room)
  CROSS JOIN LATERAL (
    SELECT d.id, d.workspace_id, d.is_ready, d.transport FROM devices d JOIN shards s ON s.id = d.shard_id
    WHERE d.id = need.device_id AND d.may_answer AND s.owner IS NOT NULL AND s.expires_at > clock.now OFFSET 0) d
  CROSS JOIN LATERAL (
    SELECT z.id, z.tid FROM (
      (SELECT p.id, p.tid, p.priority, row_number() OVER () AS turn FROM (
        SELECT p.id, p.ctid AS tid, p.priority FROM broadcast_messages p
        WHERE p.device_id = d.id AND p.campaign_id IS NULL AND {SENT_ON.format(m="p")} AND {_DUE}) p)
      UNION ALL
      (SELECT r.id, r.tid, r.priority, r.turn FROM campaigns c CROSS JOIN LATERAL (
        SELECT p.id, p.tid, p.priority, row_number() OVER () AS turn FROM (
          SELECT p.id, p.ctid AS tid, p.priority FROM broadcast_messages p
          WHERE p.device_id = d.id AND p.campaign_id = c.id AND {_DUE}) p) r
       WHERE c.workspace_id = d.workspace_id AND c.status = 'running' AND d.is_ready)
    ) z ORDER BY z.priority, z.turn, z.id LIMIT need.room) m),
moved AS (
  UPDATE broadcast_messages b
  SET status = 'queued', queued_at = clock.now, reason = nullif(b.reason, '{Reason.PERSON_IN_DOUBT}') FROM pick, clock
  WHERE b.ctid = pick.tid AND b.id = pick.id AND b.status = 'pending'
  RETURNING b.shard_id, b.device_id, b.id, b.campaign_id, {TURN_OF.format(m="b")} AS turn),
{_tally("pending", "queued")}
SELECT shard_id, device_id, id, turn FROM moved"""

# T2. $1 ids, $2 shards, $3 drawn gaps in ms, $8 devices, $9 campaigns: one element a message. $4 sender, $5 the shards
# once each and $6 their epochs as the sender knows them, $7 installation. The shards' rows are locked FOR SHARE, so a
# takeover waits for claims that are just committing; in the order of their ids, as everywhere. Device and campaign are
# what the delay was drawn for: a hint that names others than the row has would send it in another's turn or pace. They
# are compared so that no plan joins by them: rows are found, and locked, in the order of $1.
CLAIM = f"""
WITH {CLOCK},
held AS MATERIALIZED (
  SELECT s.id, s.epoch FROM clock, unnest($5::smallint[], $6::bigint[]) AS mine (id, epoch)
    JOIN shards s ON s.id = mine.id AND s.epoch = mine.epoch
  WHERE s.owner = $4 AND s.expires_at > clock.now ORDER BY s.id FOR SHARE OF s),
lease AS MATERIALIZED (
  SELECT array_agg(h.epoch ORDER BY g.i) AS epochs FROM generate_series(0, 63) g (i) LEFT JOIN held h ON h.id = g.i),
moved AS (
  UPDATE broadcast_messages b
  SET status = 'sending', attempts = b.attempts + 1, lease_epoch = lease.epochs[u.shard + 1], claimed_at = clock.now
  FROM clock, lease,
    unnest($1::bigint[], $2::smallint[], $3::int[], $8::bigint[], $9::bigint[]) AS u (id, shard, gap, device, campaign)
  WHERE b.id = u.id AND b.shard_id = u.shard AND lease.epochs[u.shard + 1] IS NOT NULL AND b.status = 'queued'
    AND b.device_id IS NOT DISTINCT FROM u.device AND {TURN_OF.format(m="b")} IS NOT DISTINCT FROM u.campaign
    AND (b.expires_at IS NULL OR b.expires_at > clock.now)
    AND {NOT_SUPPRESSED.format(m="b")}
    AND EXISTS (SELECT 1 FROM devices d WHERE d.id = b.device_id AND d.may_answer
      AND NOT ({ANSWERS_ONLY.format(m="b")}) AND NOT ({HELD.format(m="b")}))
    AND (b.campaign_id IS NULL
      OR EXISTS (SELECT 1 FROM campaigns c WHERE c.id = b.campaign_id AND c.status = 'running'))
    AND {SENT_ON.format(m="b")}
  RETURNING b.id, b.workspace_id, b.device_id, b.campaign_id, b.attempts, b.lease_epoch, b.recipient, b.content_id,
    b.variables, b.created_at, b.payload_sha256, b.priority = {PRIORITY_REPLY} AS is_answer, u.gap),
attempt AS (
  INSERT INTO message_attempts (message_id, attempt, lease_epoch, sender, started_at, drawn_gap_ms, reference)
  SELECT m.id, m.attempts, m.lease_epoch, $4, clock.now, m.gap, $7 || '-' || m.id || '-' || m.attempts
  FROM moved m, clock),
{_tally("queued", "sending")}
SELECT m.id, m.workspace_id, m.device_id, m.attempts, m.lease_epoch, m.recipient, m.content_id, m.variables,
  extract(epoch FROM m.created_at)::float8, m.payload_sha256, extract(epoch FROM clock.now)::float8, m.is_answer
FROM moved m, clock"""

# T3a. $1 ids, $2 attempts, $3 epochs, $4 provider ids, $5 ends of the attempts in Unix seconds, $6 payload hashes,
# $7 paced devices.
# What matches no row is kept as evidence in the same statement; the second guard costs nothing while every row matched.
SENT = f"""
WITH u AS MATERIALIZED (
  SELECT id, attempt, epoch, provider_id, to_timestamp(finished) AS finished_at, sha
  FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::text[], $5::float8[], $6::bytea[])
    AS u (id, attempt, epoch, provider_id, finished, sha)),
moved AS (
  UPDATE broadcast_messages b
  SET status = 'sent', sent_at = u.finished_at, finished_at = u.finished_at, provider_id = u.provider_id,
    resolution = 'answer', reason = NULL, payload_sha256 = u.sha
  FROM u WHERE b.id = u.id AND b.status = 'sending' AND b.attempts = u.attempt AND b.lease_epoch = u.epoch
  RETURNING b.id, b.device_id, b.campaign_id, b.finished_at),
paced AS (
  UPDATE devices d SET last_send_at = greatest(d.last_send_at, e.at)
  FROM (SELECT device_id, max(finished_at) AS at FROM moved WHERE device_id = ANY ($7::bigint[]) GROUP BY 1) e
  WHERE d.id = e.device_id),
late AS (
  INSERT INTO inbox (workspace_id, device_id, occurred_at, kind, event_id, provider_id, reference)
  SELECT b.workspace_id, b.device_id, u.finished_at, 'accepted', 'answer-' || a.reference, u.provider_id, a.reference
  FROM u JOIN broadcast_messages b ON b.id = u.id
    JOIN message_attempts a ON a.message_id = u.id AND a.attempt = u.attempt
  WHERE (SELECT count(*) FROM moved) < (SELECT count(*) FROM u) AND NOT EXISTS (SELECT 1 FROM moved m WHERE m.id = u.id)
  ON CONFLICT DO NOTHING),
{_tally("sending", "sent")}
SELECT count(*) FROM moved"""

# T3b, T3c, T3d. Like T3a for every other outcome; `after` is failed, pending or in_doubt. $10 devices with a pace.
SETTLED = f"""
WITH {CLOCK},
u AS MATERIALIZED (
  SELECT *, to_timestamp(finished) AS finished_at
  FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::message_status[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::float8[], $11::float8[], $12::bytea[])
    AS u (id, attempt, epoch, after, reason, outcome, code, detail, finished, delay, sha)),
moved AS (
  UPDATE broadcast_messages b
  SET status = u.after, reason = u.reason, finished_at = u.finished_at,
    not_before = CASE WHEN u.after = 'pending' THEN clock.now + make_interval(secs => u.delay) ELSE b.not_before END,
    in_doubt_since = CASE WHEN u.after = 'in_doubt' THEN clock.now END,
    ended_at = CASE WHEN u.after = 'failed' THEN clock.now END,
    payload_sha256 = coalesce(b.payload_sha256, u.sha)
  FROM u, clock
  WHERE b.id = u.id AND b.status = 'sending' AND b.attempts = u.attempt AND b.lease_epoch = u.epoch
  RETURNING b.id, b.device_id, b.campaign_id, b.finished_at, b.attempts, 'sending'::message_status AS before,
    NULL AS was, u.after, u.reason AS why, u.outcome, u.code, u.detail),
ended AS (
  UPDATE message_attempts a SET finished_at = m.finished_at, outcome = m.outcome, code = m.code, detail = m.detail
  FROM moved m WHERE a.message_id = m.id AND a.attempt = m.attempts),
paced AS (
  UPDATE devices d SET last_send_at = greatest(d.last_send_at, e.at)
  FROM (SELECT device_id, max(finished_at) AS at FROM moved WHERE device_id = ANY ($10::bigint[]) GROUP BY 1) e
  WHERE d.id = e.device_id),
{TALLY_EACH}
SELECT count(*) FROM moved"""


def _requeue(which: str, why: str = "reason") -> str:
    """T4: queued → pending, no attempt open. `which` joins and restricts `broadcast_messages b`. At most $2 rows."""
    return f"""
WITH pick AS (SELECT b.id FROM {which} AND b.is_open AND b.status = 'queued' ORDER BY b.id LIMIT $2 FOR UPDATE OF b),
moved AS (
  UPDATE broadcast_messages b SET status = 'pending', queued_at = NULL, reason = {why} FROM pick
  WHERE b.id = pick.id AND b.status = 'queued' RETURNING b.campaign_id),
{_tally("queued", "pending")}
SELECT count(*) FROM moved"""


REQUEUE_CAMPAIGN = _requeue(
    "campaigns c JOIN devices d ON d.workspace_id = c.workspace_id "
    "JOIN broadcast_messages b ON b.device_id = d.id AND b.campaign_id = c.id WHERE c.id = $1"
)
REQUEUE_DEVICE = _requeue("broadcast_messages b WHERE b.device_id = $1")
# What a T1 that was just committing left queued behind the back of a pause or a disconnect.
REQUEUE_STRAYS = _requeue(
    "devices d JOIN broadcast_messages b ON b.device_id = d.id WHERE NOT d.is_ready "
    f"AND NOT (d.may_answer AND b.priority = {PRIORITY_REPLY}) AND "
    "greatest(d.state_since, d.paused_at) > (SELECT fleetcast_now()) - $1::interval"
)
# What was in the window before the message ahead of it came in doubt: it must not keep others out of the window.
REQUEUE_HELD = _requeue(
    "devices d JOIN broadcast_messages b ON b.device_id = d.id "
    f"WHERE b.id = ANY ($1::bigint[]) AND {HELD.format(m='b')}",
    f"'{Reason.PERSON_IN_DOUBT}'",
)
REQUEUE_SHARDS = _requeue(
    "devices d JOIN broadcast_messages b ON b.device_id = d.id WHERE d.shard_id = ANY ($1::smallint[])"
)

# T5. Rows in sending whose epoch is superseded, or whose lease is over by more than the transport's grace.
# $1 shards, $2 transports, $3 grace of each in seconds.
ORPHANED = f"""
WITH {CLOCK},
grace AS MATERIALIZED (SELECT * FROM unnest($2::text[], $3::float8[]) AS g (transport, seconds)),
pick AS (
  SELECT b.id FROM clock, shards s JOIN devices d ON d.shard_id = s.id
    JOIN broadcast_messages b ON b.device_id = d.id AND b.is_open AND b.status = 'sending'
    LEFT JOIN grace g ON g.transport = d.transport
  WHERE s.id = ANY ($1::smallint[])
    AND (b.lease_epoch < s.epoch OR s.expires_at < clock.now - make_interval(secs => coalesce(g.seconds, 100)))
  ORDER BY b.id FOR UPDATE OF b),
moved AS (
  UPDATE broadcast_messages b
  SET status = 'in_doubt', in_doubt_since = clock.now, crashes = b.crashes + 1, finished_at = clock.now,
    reason = 'sender_lost'
  FROM pick, clock WHERE b.id = pick.id AND b.status = 'sending'
  RETURNING b.id, b.device_id, b.campaign_id, b.attempts),
paced AS (
  UPDATE devices d SET last_send_at = clock.now FROM clock WHERE d.id IN (SELECT device_id FROM moved)),
ended AS (
  UPDATE message_attempts a SET finished_at = clock.now, outcome = 'unknown', code = 'sender_lost'
  FROM moved m, clock WHERE a.message_id = m.id AND a.attempt = m.attempts AND a.finished_at IS NULL),
{_tally("sending", "in_doubt")}
SELECT id FROM moved"""

# T5a and T6. $1 messages, $2 attempts the evidence speaks of, $3 provider ids, $4 instants, $5 resolution.
# A row that waits again after T8u is confirmed too; one that is being sent again only by evidence of this very attempt.
# When an attempt under way ended, only its answer knows (`inbox.fill_end`); until then the device rests from now on.
CONFIRMED = f"""
WITH {CLOCK},
u AS MATERIALIZED (
  SELECT DISTINCT ON (id) * FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::timestamptz[])
    AS u (id, attempt, provider_id, at) ORDER BY id, attempt DESC),
pick AS (
  SELECT b.id, b.status AS before, b.reason AS was FROM u JOIN broadcast_messages b ON b.id = u.id
  WHERE u.attempt <= b.attempts AND (b.status IN ('in_doubt', 'pending', 'queued')
    OR (b.status = 'sending' AND u.attempt = b.attempts) OR (b.status = 'failed' AND b.reason = 'unconfirmed'))
  ORDER BY b.id FOR UPDATE OF b),
moved AS (
  UPDATE broadcast_messages b
  SET status = 'sent', sent_at = u.at, provider_id = u.provider_id, resolution = $5, reason = NULL, ended_at = NULL,
    in_doubt_since = NULL,
    finished_at = CASE WHEN pick.before <> 'sending' THEN coalesce(b.finished_at, u.at) END
  FROM u JOIN pick ON pick.id = u.id WHERE b.id = u.id
  RETURNING b.id, b.device_id, b.campaign_id, pick.before, pick.was, 'sent'::message_status AS after, NULL AS why),
paced AS (
  UPDATE devices d SET last_send_at = clock.now FROM clock
  WHERE d.id IN (SELECT device_id FROM moved WHERE before = 'sending')),
{TALLY_EACH}
SELECT id FROM moved"""

# T5b and T5c. $1 ids in doubt, $2 the attempts that the decision is about, $3 where each goes (failed or pending),
# $4 reasons. A proof about an earlier attempt says nothing of a later one.
DOUBT_SETTLED = f"""
WITH {CLOCK},
u AS MATERIALIZED (
  SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::message_status[], $4::text[])
    AS u (id, attempt, after, reason)),
moved AS (
  UPDATE broadcast_messages b
  SET status = u.after, reason = u.reason, in_doubt_since = NULL,
    not_before = CASE WHEN u.after = 'pending' THEN clock.now ELSE b.not_before END,
    ended_at = CASE WHEN u.after = 'failed' THEN clock.now END
  FROM u, clock WHERE b.id = u.id AND b.status = 'in_doubt' AND b.attempts = u.attempt
  RETURNING b.id, b.device_id, b.campaign_id, 'in_doubt'::message_status AS before, NULL AS was, u.after,
    u.reason AS why),
{TALLY_EACH}
SELECT device_id FROM moved"""

# T6, failure after acceptance. sent_at stays: it had been accepted.
FAILED_LATER = f"""
WITH {CLOCK},
moved AS (
  UPDATE broadcast_messages b SET status = 'failed', reason = 'delivery_failed', ended_at = clock.now FROM clock
  WHERE b.id = ANY ($1::bigint[]) AND b.status = 'sent'
  RETURNING b.id, b.campaign_id, 'sent'::message_status AS before, NULL AS was, b.status AS after, b.reason AS why),
{TALLY_EACH}
SELECT count(*) FROM moved"""


# T8 and T8u: what certainly was not sent (of a campaign, perhaps of one device), what stayed unconfirmed (by list).
_RETRY = f"""
moved AS (
  UPDATE broadcast_messages b
  SET status = 'pending', reason = NULL, ended_at = NULL, crashes = 0, not_before = clock.now,
    expires_at = clock.now + coalesce(pick.deadline_after, least(b.expires_at - b.created_at, interval '7 days'))
  FROM pick, clock WHERE b.id = pick.id
  RETURNING b.id, b.device_id, b.campaign_id, pick.before, pick.was, b.status AS after, NULL AS why),
{TALLY_EACH}
SELECT device_id FROM moved"""
RETRY_CERTAIN = f"""
WITH {CLOCK},
pick AS (
  SELECT b.id, b.status AS before, b.reason AS was, c.deadline_after
  FROM campaigns c JOIN broadcast_messages b
    ON b.dedupe_key >= 'c:' || c.id || ':' AND b.dedupe_key < 'c:' || c.id || ';'
  WHERE c.workspace_id = $1 AND c.id = $2 AND ($3::bigint IS NULL OR b.device_id = $3)
    AND (b.status = 'skipped' AND b.reason <> 'missing_variable'
      OR b.status = 'failed' AND b.reason NOT IN ('unconfirmed', 'delivery_failed'))
    AND {NOT_SUPPRESSED.format(m="b")}
    AND NOT EXISTS (SELECT 1 FROM leads l WHERE l.id = b.lead_id AND l.deleted_at IS NOT NULL)
  ORDER BY b.id FOR UPDATE OF b),{_RETRY}"""
RETRY_UNCONFIRMED = f"""
WITH {CLOCK},
pick AS (
  SELECT b.id, b.status AS before, b.reason AS was, c.deadline_after
  FROM broadcast_messages b LEFT JOIN campaigns c ON c.id = b.campaign_id
  WHERE b.workspace_id = $1 AND b.id = ANY ($2::bigint[]) AND b.status = 'failed' AND b.reason = 'unconfirmed'
    AND {NOT_SUPPRESSED.format(m="b")}
    -- a sequence that has gone on since has perhaps another message under way
    AND (b.enrolment_id IS NULL OR EXISTS (
      SELECT 1 FROM enrolments e WHERE e.id = b.enrolment_id AND e.message_id = b.id AND e.state = 'active'))
  ORDER BY b.id FOR UPDATE OF b),{_RETRY}"""
# By the rule of a sequence. Its time does not change; what was never attempted says what there is to say by now.
RETRY_STEPS = f"""
WITH {CLOCK},
pick AS (
  SELECT b.id, b.attempts = 0 AS is_fresh, s.content_id, {LEAD_VARIABLES_SQL} AS variables
  FROM broadcast_messages b JOIN enrolments e ON e.id = b.enrolment_id AND e.message_id = b.id AND e.state = 'active'
    JOIN sequence_steps s ON s.id = b.step_id JOIN leads l ON l.id = b.lead_id
  WHERE b.id = ANY ($1::bigint[])
    AND (b.status = 'skipped' OR b.status = 'failed' AND b.reason NOT IN ('unconfirmed', 'delivery_failed'))
  ORDER BY b.id FOR UPDATE OF b)
UPDATE broadcast_messages b
SET status = 'pending', reason = NULL, ended_at = NULL, crashes = 0, not_before = clock.now,
  content_id = CASE WHEN pick.is_fresh THEN pick.content_id ELSE b.content_id END,
  variables = CASE WHEN pick.is_fresh THEN pick.variables ELSE b.variables END
FROM pick, clock WHERE b.id = pick.id AND b.status IN ('skipped', 'failed') RETURNING b.id"""
