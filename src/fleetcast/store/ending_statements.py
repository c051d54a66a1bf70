"""What ends without an attempt: T7, pending or queued → skipped or cancelled, never from sending or in_doubt.

Beside `store.transition_statements`, whose rules hold here too: each statement carries its guard, locks rows in the
order of their ids, and writes its differences with its rows. Separate because who ends what for which reason is a
subject of its own: owners, deadlines, stop words, removals, sequences.
"""

from fleetcast.domain.message import PRIORITY_SEQUENCE
from fleetcast.store.transition_statements import CLOCK, NOT_SUPPRESSED, TALLY_EACH


def _end(which: str, after: str, why: str, most: str = "$2") -> str:
    """T7: pending or queued → skipped or cancelled, never from sending or in_doubt. At most `most` rows at a time."""
    return f"""
WITH {CLOCK},
found AS MATERIALIZED (SELECT b.id, {why} AS why FROM {which} AND b.status IN ('pending', 'queued') LIMIT {most}),
pick AS (
  SELECT b.id, b.status AS before, found.why FROM found JOIN broadcast_messages b ON b.id = found.id
  WHERE b.status IN ('pending', 'queued') ORDER BY b.id FOR UPDATE OF b),
moved AS (
  UPDATE broadcast_messages b SET status = '{after}', reason = pick.why, ended_at = clock.now FROM pick, clock
  WHERE b.id = pick.id RETURNING b.campaign_id, pick.before, NULL AS was, b.status AS after, pick.why),
{TALLY_EACH}
SELECT count(*) FROM moved"""


_OF_CAMPAIGN = (
    "clock, campaigns c JOIN devices d ON d.workspace_id = c.workspace_id "
    "JOIN broadcast_messages b ON b.device_id = d.id AND b.campaign_id = c.id AND b.is_open WHERE c.id = $1"
)
_LATE = (
    "CASE WHEN d.deleted_at IS NOT NULL THEN 'device_removed' WHEN d.is_ready THEN 'expired' ELSE 'device_offline' END"
)
CANCEL_CAMPAIGN = _end(_OF_CAMPAIGN, "cancelled", "NULL::text")
EXPIRE_CAMPAIGN = _end(f"{_OF_CAMPAIGN} AND c.expires_at <= clock.now", "skipped", _LATE)
# Rows without a campaign have each a time of their own. The LIMIT keeps them looked for device by device.
EXPIRE_SINGLE = _end(
    "clock, devices d CROSS JOIN LATERAL (SELECT m.id, m.status FROM broadcast_messages m WHERE m.device_id = d.id "
    f"AND m.campaign_id IS NULL AND m.priority < {PRIORITY_SEQUENCE} AND m.is_open "
    "AND m.status IN ('pending', 'queued') AND m.expires_at <= clock.now LIMIT $1) b WHERE true",
    "skipped",
    _LATE,
    "$1",
)
SKIP_OFFLINE = _end(
    f"{_OF_CAMPAIGN} AND c.when_offline = 'skip' AND d.state NOT IN ('online', 'connecting') "
    "AND d.state_since < clock.now - interval '30 seconds'",
    "skipped",
    "'device_offline'",
)
SKIP_REMOVED = _end(
    "clock, devices d JOIN broadcast_messages b ON b.device_id = d.id AND b.is_open "
    "WHERE d.id = $1 AND d.deleted_at IS NOT NULL",
    "skipped",
    "'device_removed'",
)
SKIP_MISSING_VARIABLE = _end(
    "clock, broadcast_messages b WHERE b.id = ANY ($1::bigint[])", "skipped", "'missing_variable'"
)
# $1 messages. One rule for whom a campaign plans (`audience.WRITABLE`) and for a message to one person.
SKIP_UNWANTED = _end(
    f"clock, broadcast_messages b WHERE b.id = ANY ($1::bigint[]) AND NOT ({NOT_SUPPRESSED.format(m='b')} "
    "AND NOT EXISTS (SELECT 1 FROM leads l "
    "WHERE l.workspace_id = b.workspace_id AND l.phone = b.recipient AND l.consent = 'refused'))",
    "skipped",
    "'opt_out'",
)
# People's rows are found by their keys: in campaigns that are still open, by the devices those to one person, in
# sequences by their enrolments. What is asked of a row stands within, so that no plan reads every message to join them.
_OF_PEOPLE = (
    "clock, (SELECT m.id, m.status, m.lead_id FROM campaigns c CROSS JOIN unnest($3::text[]) AS person (phone) "
    "JOIN broadcast_messages m ON m.dedupe_key = 'c:' || c.id || ':' || person.phone "
    "WHERE c.workspace_id = $1 AND c.status IN ('running', 'paused') AND m.workspace_id = $1 UNION ALL "
    "SELECT m.id, m.status, m.lead_id FROM devices d "
    f"JOIN broadcast_messages m ON m.device_id = d.id AND m.campaign_id IS NULL AND m.priority < {PRIORITY_SEQUENCE} "
    "AND m.is_open WHERE d.workspace_id = $1 AND m.recipient = ANY ($3::text[]) UNION ALL "
    "SELECT m.id, m.status, m.lead_id FROM enrolments e JOIN broadcast_messages m ON m.id = e.message_id "
    "WHERE e.workspace_id = $1 AND e.recipient = ANY ($3::text[])) b WHERE true"
)
SKIP_PEOPLE = _end(_OF_PEOPLE, "skipped", "'opt_out'")
SKIP_LEADS = _end(f"{_OF_PEOPLE} AND b.lead_id = ANY ($4::bigint[])", "skipped", "'lead_removed'")
# What was on its way when its person said stop, and came back: nobody may claim it, so nobody else would end it.
SKIP_STOPPED = _end(
    "clock, suppressions x CROSS JOIN LATERAL ("
    "SELECT m.id, m.status FROM campaigns c "
    "JOIN broadcast_messages m ON m.dedupe_key = 'c:' || c.id || ':' || x.recipient "
    "WHERE c.workspace_id = x.workspace_id AND c.status IN ('running', 'paused') UNION ALL "
    "SELECT m.id, m.status FROM broadcast_messages m WHERE m.dedupe_key > 'm:' || x.workspace_id || ':' || x.recipient "
    "|| ':' AND m.dedupe_key < 'm:' || x.workspace_id || ':' || x.recipient || ';' UNION ALL "
    "SELECT m.id, m.status FROM enrolments e JOIN broadcast_messages m ON m.id = e.message_id "
    "WHERE e.workspace_id = x.workspace_id AND e.recipient = x.recipient) b "
    "WHERE x.effective_at > clock.now - $1::interval",
    "skipped",
    "'opt_out'",
)
# After a restore: what waits without a campaign may have gone out since the backup, and nothing else holds it.
SKIP_RESTORED = _end(
    "clock, devices d JOIN broadcast_messages b ON b.device_id = d.id AND b.campaign_id IS NULL WHERE b.is_open",
    "skipped",
    "'restored'",
    "$1",
)

# Of sequences. Each message has its own time; who is under way past it is found by an index of its own.
EXPIRE_STEPS = _end(
    "clock, enrolments e JOIN broadcast_messages b ON b.id = e.message_id JOIN devices d ON d.id = b.device_id "
    "WHERE e.expires_at <= clock.now AND b.expires_at <= clock.now",
    "skipped",
    _LATE,
    "$1",
)
SKIP_LATE = _end("clock, broadcast_messages b WHERE b.id = ANY ($1::bigint[])", "skipped", "'expired'")
# Their people are in the sequence no more.
CANCEL_STEPS = _end("clock, broadcast_messages b WHERE b.id = ANY ($1::bigint[])", "cancelled", "NULL::text")
