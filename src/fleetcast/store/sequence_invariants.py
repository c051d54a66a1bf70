"""What must hold of sequences at every moment, as questions like those of `store.invariants`, which asks them.

Separate because they speak of people and steps; the promises about each single message hold for these as for all. Rows
that were kept long enough are deleted, so of what has ended the sums may say more than the rows, never less.
"""

# 1. The ledger says what the rows say: of people exactly, of messages under way exactly, of ended ones at least.
COUNTS = """
WITH counted AS (
  SELECT sequence_id, coalesce(step_id, 0) AS step_id, device_id, counter, coalesce(reason, '') AS reason, n
  FROM sequence_tallies
  UNION ALL SELECT sequence_id, step_id, device_id, counter, reason, n FROM sequence_sums WHERE device_id > 0),
there AS (
  SELECT sequence_id, step_id, device_id, status::text AS counter,
    coalesce(CASE WHEN status IN ('failed', 'skipped') THEN reason END, '') AS reason
  FROM broadcast_messages WHERE sequence_id IS NOT NULL
  UNION ALL
  SELECT sequence_id, step_id, device_id, k.counter::text, '' FROM broadcast_messages
    CROSS JOIN (VALUES ('delivered'::message_delivery), ('read')) AS k (counter)
  WHERE sequence_id IS NOT NULL AND delivery >= k.counter
  UNION ALL
  SELECT sequence_id, coalesce(CASE WHEN state = 'active' THEN step_id ELSE done_step_id END, 0), device_id,
    state::text, coalesce(stop_reason, '') FROM enrolments),
sums AS (
  SELECT sequence_id, step_id, device_id, counter, reason, sum(n) AS n FROM counted
  WHERE counter <> 'replied' GROUP BY 1, 2, 3, 4, 5),
found AS (
  SELECT sequence_id, step_id, device_id, counter, reason, count(*) AS n FROM there GROUP BY 1, 2, 3, 4, 5)
SELECT format('sequence %s, step %s, device %s', sequence_id, step_id, device_id) AS subject,
  format('%s %s: %s rows, counted %s', counter, reason, coalesce(f.n, 0), coalesce(s.n, 0)) AS what
FROM found f FULL JOIN sums s USING (sequence_id, step_id, device_id, counter, reason)
WHERE coalesce(f.n, 0) > coalesce(s.n, 0) OR coalesce(f.n, 0) < coalesce(s.n, 0)
  AND counter IN ('pending', 'queued', 'sending', 'in_doubt', 'active', 'completed', 'stopped')"""

TOTALS = """
SELECT format('sequence %s', sequence_id) AS subject,
  format('%s %s of step %s: %s of all devices, %s of each', counter, reason, step_id, total, each) AS what
FROM (
  SELECT sequence_id, step_id, counter, reason, coalesce(sum(n) FILTER (WHERE device_id = 0), 0) AS total,
    coalesce(sum(n) FILTER (WHERE device_id > 0), 0) AS each
  FROM sequence_sums GROUP BY 1, 2, 3, 4) z
WHERE total <> each"""

# 11. One message of a sequence under way a person, and it is the one that the enrolment names.
ONE_UNDER_WAY = """
SELECT 'enrolment ' || b.enrolment_id AS subject,
  format('message %s is %s, but the enrolment names %s', b.id, b.status, coalesce(e.message_id::text, 'none')) AS what
FROM broadcast_messages b LEFT JOIN enrolments e ON e.id = b.enrolment_id
WHERE b.sequence_id IS NOT NULL AND b.is_open AND e.message_id IS DISTINCT FROM b.id"""

ONE_ENROLMENT = """
SELECT format('sequence %s, %s', sequence_id, recipient) AS subject, 'is in it ' || count(*) || ' times' AS what
FROM enrolments WHERE state = 'active' GROUP BY workspace_id, sequence_id, recipient HAVING count(*) > 1"""

# A step is made only once the one before it has ended. Proof from elsewhere may come later than the next one.
IN_ORDER = """
SELECT 'enrolment ' || enrolment_id AS subject,
  format('message %s was made %s before %s had ended', id, ended - created_at, before) AS what
FROM (
  SELECT b.enrolment_id, b.id, b.created_at, lag(b.id) OVER way AS before, lag(CASE
    WHEN b.resolution IS DISTINCT FROM 'answer' AND b.status = 'sent' THEN NULL
    WHEN b.is_open THEN 'infinity'::timestamptz ELSE coalesce(b.sent_at, b.ended_at) END) OVER way AS ended
  FROM broadcast_messages b WHERE b.sequence_id IS NOT NULL
  WINDOW way AS (PARTITION BY b.enrolment_id ORDER BY b.id)) z
WHERE ended > created_at + interval '1 second'"""

OWN_DEVICE = """
SELECT 'message ' || b.id AS subject,
  format('is of device %s, the enrolment of %s, the lead of %s', b.device_id, e.device_id, l.device_id) AS what
FROM broadcast_messages b JOIN enrolments e ON e.id = b.enrolment_id JOIN leads l ON l.id = e.lead_id
WHERE (b.device_id, b.lead_id, b.recipient) IS DISTINCT FROM (e.device_id, e.lead_id, e.recipient)
  OR l.device_id <> e.device_id"""

# Nobody is forgotten: who is active waits for something that will come.
GOES_ON = """
SELECT 'enrolment ' || e.id AS subject, 'is active, but nothing is due and nothing is under way' AS what
FROM enrolments e LEFT JOIN broadcast_messages b ON b.id = e.message_id
WHERE e.state = 'active' AND e.due_at IS NULL AND b.is_open IS NOT TRUE
  AND NOT EXISTS (SELECT FROM sequence_ends n WHERE n.enrolment_id = e.id)"""

# 12. Never outside its window, and not after a stop. A claim that had seen the person in it may commit after the stop.
IN_WINDOW = """
SELECT 'message ' || b.id AS subject,
  CASE WHEN a.started_at > b.expires_at
    THEN format('attempt %s started %s late', a.attempt, a.started_at - b.expires_at)
    ELSE format('attempt %s started %s early', a.attempt, b.created_at - a.started_at) END AS what
FROM broadcast_messages b JOIN message_attempts a ON a.message_id = b.id
WHERE b.sequence_id IS NOT NULL AND (a.started_at > b.expires_at OR a.started_at < b.created_at)"""

AFTER_A_STOP = """
SELECT 'message ' || b.id AS subject,
  format('attempt %s started %s after its person was stopped', a.attempt, a.started_at - e.ended_at) AS what
FROM enrolments e JOIN broadcast_messages b ON b.enrolment_id = e.id JOIN message_attempts a ON a.message_id = b.id
WHERE e.state = 'stopped' AND a.started_at > e.ended_at + interval '5 seconds'"""
