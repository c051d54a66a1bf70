"""What must hold at every moment, as questions to the database: each names the rows that break a promise.

The numbers are those of `docs/message-lifecycle.md`. Tests ask after each step, `fleetcast doctor` asks the live
database. Separate from the guards (triggers, keys, guarded statements) on purpose: this is the second opinion on them.
"""

from dataclasses import dataclass

from fleetcast.domain.device import NAMELESS
from fleetcast.store import sequence_invariants as of_sequences
from fleetcast.store.connection import Connection

SHOWN = 100
"""Offending rows that one check names at most."""
GUARDS = ("birth", "transitions", "delivery_grows")
"""Triggers of `broadcast_messages` that refuse what the life cycle does not know."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise: which, about what, and in plain words how."""

    invariant: int
    subject: str
    what: str


@dataclass(frozen=True, slots=True)
class Check:
    """One question; its statement returns `subject` and `what` for each row that breaks the promise."""

    invariant: int
    name: str
    sql: str


_CLOCK = "clock AS MATERIALIZED (SELECT fleetcast_now() AS now)"

# 1. The ledger of counts says what the rows say, reason by reason. Of a retired campaign it is all that is left.
_COUNTS = """
SELECT 'campaign ' || campaign_id AS subject,
  format('%s%s: %s rows, counted %s', counter, CASE WHEN reason <> '' THEN ' (' || reason || ')' END,
    coalesce(r.n, 0), coalesce(t.n, 0)) AS what
FROM (SELECT campaign_id, status::text AS counter,
        coalesce(CASE WHEN status IN ('failed', 'skipped') THEN reason END, '') AS reason, count(*) AS n
      FROM broadcast_messages WHERE campaign_id IS NOT NULL GROUP BY 1, 2, 3
      UNION ALL
      SELECT campaign_id, counter::text, '', count(*) FROM broadcast_messages
        CROSS JOIN (VALUES ('delivered'::message_delivery), ('read')) AS reached (counter)
      WHERE campaign_id IS NOT NULL AND delivery >= counter GROUP BY 1, 2) r
FULL JOIN (SELECT campaign_id, counter, coalesce(reason, '') AS reason, sum(n) AS n FROM campaign_tallies
           GROUP BY 1, 2, 3) t
  USING (campaign_id, counter, reason)
WHERE coalesce(r.n, 0) <> coalesce(t.n, 0)
  AND campaign_id NOT IN (SELECT id FROM campaigns WHERE retiring_at IS NOT NULL)"""

_ONE_COPY = """
SELECT 'campaign ' || campaign_id AS subject, recipient || ' was planned ' || count(*) || ' times' AS what
FROM broadcast_messages WHERE campaign_id IS NOT NULL GROUP BY campaign_id, recipient HAVING count(*) > 1"""

# 2.
_DEDUPE = """
SELECT 'messages ' || string_agg(id::text, ', ' ORDER BY id) AS subject, 'share the key ' || dedupe_key AS what
FROM broadcast_messages GROUP BY dedupe_key HAVING count(*) > 1"""

_PROVIDER = """
SELECT 'messages ' || string_agg(id::text, ', ' ORDER BY id) AS subject,
  'share provider id ' || provider_id || ' on device ' || device_id AS what
FROM broadcast_messages WHERE provider_id IS NOT NULL GROUP BY device_id, provider_id HAVING count(*) > 1"""

_REFERENCE = """
SELECT 'messages ' || string_agg(message_id::text, ', ' ORDER BY message_id) AS subject,
  'share the reference ' || reference AS what
FROM message_attempts GROUP BY reference HAVING count(*) > 1"""

# 3.
_EXPLAINED = """
SELECT 'message ' || b.id AS subject, CASE b.status
    WHEN 'sending' THEN 'is being sent without an open attempt row'
    WHEN 'sent' THEN 'is sent, but not by what this is known'
    WHEN 'in_doubt' THEN 'is in doubt, but not since when'
    ELSE format('waits again, but attempt %s was not shown to have failed', b.attempts) END AS what
FROM broadcast_messages b LEFT JOIN message_attempts a ON a.message_id = b.id AND a.attempt = b.attempts
WHERE CASE b.status
  WHEN 'sending' THEN a.message_id IS NULL OR a.finished_at IS NOT NULL
  WHEN 'sent' THEN b.resolution IS NULL OR b.sent_at IS NULL
  WHEN 'in_doubt' THEN b.in_doubt_since IS NULL
  WHEN 'pending' THEN b.attempts > 0 AND a.outcome IS NULL
  WHEN 'queued' THEN b.attempts > 0 AND a.outcome IS NULL
  ELSE false END"""

# 4.
_TENANT = """
SELECT 'message ' || b.id AS subject,
  format('is of workspace %s, its device of %s, lead of %s, campaign of %s, content of %s',
    b.workspace_id, d.workspace_id, l.workspace_id, c.workspace_id, t.workspace_id) AS what
FROM broadcast_messages b LEFT JOIN devices d ON d.id = b.device_id LEFT JOIN leads l ON l.id = b.lead_id
  LEFT JOIN campaigns c ON c.id = b.campaign_id LEFT JOIN contents t ON t.id = b.content_id
WHERE d.workspace_id IS DISTINCT FROM b.workspace_id OR t.workspace_id IS DISTINCT FROM b.workspace_id
  OR (b.lead_id IS NOT NULL AND (l.workspace_id, l.device_id) IS DISTINCT FROM (b.workspace_id, b.device_id))
  OR (b.campaign_id IS NOT NULL AND c.workspace_id IS DISTINCT FROM b.workspace_id)"""

# 5.
_SUPPRESSED = """
SELECT 'message ' || b.id AS subject,
  format('attempt %s to %s started %s after the person was suppressed', a.attempt, b.recipient,
    a.started_at - s.effective_at) AS what
FROM suppressions s JOIN broadcast_messages b ON b.workspace_id = s.workspace_id AND b.recipient = s.recipient
  JOIN message_attempts a ON a.message_id = b.id
WHERE a.started_at > s.effective_at"""

# 6. A Cloud number has several slots and no gap between them. An attempt that is still open has no end yet. A started
# time that follows the latest end by less than the drawn gap is too early; one millisecond is left to rounding. Of an
# attempt whose sender was lost T5 knows only when it was over at the latest; if the same sender began another after it,
# it was over then: its answer had come, and was lost with the sender. So it is for a moment while the answer of a
# living sender waits for its commit.
_PACE = """
WITH attempt AS (
  SELECT b.device_id, a.message_id, a.attempt, a.started_at, a.drawn_gap_ms,
    (a.code = 'sender_lost' OR b.status = 'sending' AND a.started_at > fleetcast_now() - interval '20 seconds')
      AND a.lease_epoch = lead(a.lease_epoch) OVER lane AS was_over,
    greatest(a.started_at, CASE
      WHEN a.finished_at IS NOT NULL THEN a.finished_at
      WHEN a.attempt < b.attempts THEN a.started_at
      WHEN b.status = 'sending' THEN 'infinity'
      ELSE b.finished_at END) AS ended_at
  FROM message_attempts a JOIN broadcast_messages b ON b.id = a.message_id JOIN devices d ON d.id = b.device_id
  WHERE d.transport <> 'cloud'
  WINDOW lane AS (PARTITION BY b.device_id ORDER BY a.started_at, a.message_id, a.attempt)),
follow AS (
  SELECT *, max(CASE WHEN was_over THEN started_at ELSE ended_at END) OVER (
    PARTITION BY device_id ORDER BY started_at, message_id, attempt
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
  FROM attempt)
SELECT format('device %s, message %s', device_id, message_id) AS subject,
  CASE WHEN before = 'infinity' THEN format('attempt %s started while another was open', attempt)
    WHEN started_at < before THEN format('attempt %s started %s before another had ended', attempt, before - started_at)
    ELSE format('attempt %s started %s after another, drawn were %s ms', attempt, started_at - before, drawn_gap_ms) END
    AS what
FROM follow
WHERE before = 'infinity' OR started_at < before + make_interval(secs => greatest(drawn_gap_ms - 1, 0) / 1000.0)"""

_ONE_OPEN = f"""
SELECT 'messages ' || string_agg(b.id::text, ', ' ORDER BY b.id) AS subject,
  format('are open at once for %s on device %s', b.recipient, b.device_id) AS what
FROM broadcast_messages b JOIN devices d ON d.id = b.device_id AND d.transport = '{NAMELESS}'
WHERE b.is_open AND b.status IN ('sending', 'in_doubt')
GROUP BY b.device_id, b.recipient HAVING count(*) > 1"""

# 7.
_EPOCHS = """
WITH attempt AS (
  SELECT b.shard_id, a.message_id, a.attempt, a.lease_epoch, max(a.lease_epoch) OVER (
    PARTITION BY b.shard_id ORDER BY a.started_at, a.lease_epoch
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS newer
  FROM message_attempts a JOIN broadcast_messages b ON b.id = a.message_id)
SELECT format('shard %s, message %s', shard_id, message_id) AS subject,
  format('attempt %s started under epoch %s after one under epoch %s', attempt, lease_epoch, newer) AS what
FROM attempt WHERE lease_epoch < newer"""

_FUTURE_EPOCH = """
SELECT format('shard %s, message %s', s.id, b.id) AS subject,
  format('was claimed under epoch %s, the shard is at %s', b.lease_epoch, s.epoch) AS what
FROM broadcast_messages b JOIN shards s ON s.id = b.shard_id WHERE b.lease_epoch > s.epoch"""

# 8. What a terminal row and its delivery must show; and that the guards which keep the rest are in place.
_ENDS = """
SELECT 'message ' || id AS subject, CASE
    WHEN status IN ('failed', 'skipped') AND reason IS NULL THEN format('is %s without a reason', status)
    WHEN status IN ('failed', 'skipped', 'cancelled') AND ended_at IS NULL
      THEN format('is %s, but not since when', status)
    WHEN delivery <> 'none' AND sent_at IS NULL THEN format('is %s, but was never sent', delivery)
    WHEN is_open THEN format('is %s, but carries the time of an end', status)
    ELSE format('is %s on the phone, but not since when', delivery) END AS what
FROM broadcast_messages
WHERE (status IN ('failed', 'skipped') AND reason IS NULL)
  OR (status IN ('failed', 'skipped', 'cancelled') AND ended_at IS NULL)
  OR (delivery <> 'none' AND sent_at IS NULL)
  OR (is_open AND (ended_at IS NOT NULL OR sent_at IS NOT NULL))
  OR (delivery = 'delivered' AND delivered_at IS NULL) OR (delivery = 'read' AND read_at IS NULL)"""

_GUARDED = f"""
SELECT 'guard ' || g.name AS subject, 'is missing or switched off' AS what
FROM unnest(ARRAY{list(GUARDS)}) AS g (name)
WHERE NOT EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = 'broadcast_messages'::regclass AND t.tgname = g.name
  AND t.tgenabled IN ('O', 'A'))"""

# 10. Grace and doubt windows are those of the transports, and time for the sweeper and the reconciler to come round.
_SENDING = f"""
WITH {_CLOCK}
SELECT 'message ' || b.id AS subject,
  format('has been sending for %s', date_trunc('second', clock.now - b.claimed_at)) AS what
FROM clock, broadcast_messages b JOIN devices d ON d.id = b.device_id JOIN shards s ON s.id = b.shard_id
WHERE b.is_open AND b.status = 'sending' AND (
  b.claimed_at < clock.now - interval '10 minutes'
  OR ((b.lease_epoch < s.epoch OR s.expires_at < clock.now) AND b.claimed_at < clock.now - interval '1 minute'
    AND greatest(s.expires_at, b.claimed_at) < clock.now - interval '1 minute' - CASE d.transport
      WHEN 'simulator' THEN interval '10 seconds' WHEN 'cloud' THEN interval '45 seconds'
      ELSE interval '100 seconds' END))"""

# Slow pacing is a reason to be queued for long, and so is that no sender runs at all.
_QUEUED = f"""
WITH {_CLOCK}
SELECT 'message ' || b.id AS subject,
  format('has been queued for %s on device %s%s', date_trunc('second', clock.now - b.queued_at), d.id,
    CASE WHEN NOT d.is_ready THEN ', which is not ready'
      WHEN c.status <> 'running' THEN ', its campaign is ' || c.status ELSE '' END) AS what
FROM clock, broadcast_messages b JOIN devices d ON d.id = b.device_id LEFT JOIN campaigns c ON c.id = b.campaign_id
WHERE b.is_open AND b.status = 'queued'
  AND b.queued_at < clock.now - greatest(interval '10 minutes',
    make_interval(secs => 4 * greatest(coalesce(c.max_delay, d.max_delay), d.max_delay)))
  AND EXISTS (SELECT 1 FROM shards s WHERE s.owner IS NOT NULL AND s.expires_at > clock.now)"""

# A campaign's rows end with its deadline, which may be moved while they are gone through; others have their own.
_OVERDUE = f"""
WITH {_CLOCK}
SELECT 'message ' || b.id AS subject,
  format('should have ended %s ago', date_trunc('second', clock.now - b.expires_at)) AS what
FROM clock, broadcast_messages b
WHERE b.is_open AND b.campaign_id IS NULL AND b.status IN ('pending', 'queued')
  AND b.expires_at < clock.now - interval '10 minutes'"""

_DOUBT = f"""
WITH {_CLOCK}
SELECT 'message ' || b.id AS subject,
  format('has been in doubt for %s', date_trunc('second', clock.now - b.in_doubt_since)) AS what
FROM clock, broadcast_messages b JOIN devices d ON d.id = b.device_id
WHERE b.in_doubt_since IS NOT NULL AND b.status = 'in_doubt' AND b.in_doubt_since < clock.now - interval '10 minutes'
  - CASE d.transport WHEN 'cloud' THEN interval '24 hours' ELSE interval '1 hour' END"""

SEQUENCE_CHECKS = (
    Check(1, "counts of sequences are those of their rows", of_sequences.COUNTS),
    Check(1, "sums of sequences are those of their devices", of_sequences.TOTALS),
    Check(11, "one step a person is under way", of_sequences.ONE_UNDER_WAY),
    Check(11, "a person is in a sequence once at a time", of_sequences.ONE_ENROLMENT),
    Check(11, "steps are made in order", of_sequences.IN_ORDER),
    Check(11, "steps go out from the lead's own device", of_sequences.OWN_DEVICE),
    Check(11, "everybody in a sequence goes on", of_sequences.GOES_ON),
    Check(12, "steps keep their windows", of_sequences.IN_WINDOW),
    Check(12, "nobody gets a step after a stop", of_sequences.AFTER_A_STOP),
)
CHECKS = (
    Check(1, "counts of campaigns are those of their rows", _COUNTS),
    Check(1, "one copy a person and campaign", _ONE_COPY),
    Check(2, "keys are unique", _DEDUPE),
    Check(2, "provider ids are unique per device", _PROVIDER),
    Check(2, "references are unique", _REFERENCE),
    Check(3, "every status is explained", _EXPLAINED),
    Check(4, "nothing crosses workspaces", _TENANT),
    Check(5, "nobody is written to after a stop", _SUPPRESSED),
    Check(6, "attempts of a device keep their gaps", _PACE),
    Check(6, "linked devices have one open attempt a person", _ONE_OPEN),
    Check(7, "epochs never fall", _EPOCHS),
    Check(7, "no epoch is ahead of its shard", _FUTURE_EPOCH),
    Check(8, "ends and deliveries are dated", _ENDS),
    Check(8, "the guards are in place", _GUARDED),
    Check(10, "nothing stays in sending", _SENDING),
    Check(10, "nothing stays queued", _QUEUED),
    Check(10, "nothing waits past its own end", _OVERDUE),
    Check(10, "nothing stays in doubt", _DOUBT),
    *SEQUENCE_CHECKS,
)


async def broken(connection: Connection, check: Check) -> list[Violation]:
    """The rows that break one promise, at most `SHOWN`."""
    rows = await connection.fetch(f"SELECT subject, what FROM ({check.sql}) z ORDER BY subject, what LIMIT {SHOWN}")
    return [Violation(check.invariant, r["subject"], r["what"]) for r in rows]


async def broken_invariants(connection: Connection) -> list[Violation]:
    """Everything that is broken now. Each check is one statement and so sees one moment."""
    found: list[Violation] = []
    for check in CHECKS:
        found += await broken(connection, check)
    return found
