"""The statements that write the state of a large install (`state`). Whatever is drawn is drawn by hash of an id and a
seed, so that the same seed makes the same state.

The time of an attempt is the start of its campaign and one step a message; campaigns follow each other with days in
between, so attempts of one device never meet.
"""

ATTRIBUTES = ["city", "member_since", "order_no", "plan"]

INDEXES = """
SELECT i.indexname, i.indexdef FROM pg_indexes i WHERE i.schemaname = 'public' AND i.tablename = ANY ($1::text[])
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conname = i.indexname)"""

_DRAWN = "(hashint8extended({0}, {1}) & 9223372036854775807)"
"""A number drawn for an id."""

# $1 workspace, $2 how many, $3 seed.
DEVICES = f"""
INSERT INTO devices (workspace_id, name, transport, state, state_reason, state_since, restricted_until, paused_at,
  paused_by, paused_reason, shard_id, min_delay, max_delay, phone, last_send_at)
SELECT $1::bigint, 'Shop ' || lpad(i::text, 4, '0'), 'simulator', s.state::device_state, s.reason,
  fleetcast_now() - make_interval(hours => 1 + (r % 400)::int),
  CASE WHEN s.state = 'restricted' THEN fleetcast_now() + interval '5 hours' END,
  CASE WHEN s.paused THEN fleetcast_now() - interval '2 hours' END, CASE WHEN s.paused THEN 'user:ann@example.org' END,
  CASE WHEN s.paused THEN 'number is being checked' END, i % 64, 5, 15,
  '+6018' || lpad(($1::bigint * 100000 + i)::text, 8, '0'),
  fleetcast_now() - interval '1 day'
FROM generate_series(1, $2::int) i CROSS JOIN LATERAL (SELECT {_DRAWN.format("i::bigint", "$3::bigint")} AS r) d
CROSS JOIN LATERAL (SELECT CASE WHEN r % 100 < 88 THEN 'online' WHEN r % 100 < 94 THEN 'offline'
    WHEN r % 100 < 96 THEN 'restricted' WHEN r % 100 < 98 THEN 'logged_out' WHEN r % 100 < 99 THEN 'banned'
    ELSE 'unpaired' END AS state,
  CASE WHEN r % 100 BETWEEN 88 AND 93 THEN 'the phone is not on the network'
    WHEN r % 100 BETWEEN 94 AND 95 THEN 'too many messages to people who do not answer'
    WHEN r % 100 BETWEEN 96 AND 97 THEN 'logged out on the phone' WHEN r % 100 = 98 THEN 'the account was banned'
    ELSE '' END AS reason, r % 37 = 0 AS paused) s"""

# $1 workspace, $2 how many, $3 seed. Odd times a number, modulo 2^32, never repeats: every lead is another person.
LEADS = f"""
INSERT INTO leads (workspace_id, device_id, created_at, updated_at, phone, name, niches, target_status, journey,
  consent, consent_at, consent_source, attributes, deleted_at)
SELECT $1, d.ids[1 + r % d.n], at.at, at.at, '+60' || (1000000000 + ((i * 2654435761) & 4294967295)),
  CASE WHEN gone THEN '' ELSE first.names[1 + r / 7 % 20] || ' ' || last.names[1 + r / 131 % 25] END,
  CASE WHEN gone THEN '{{}}' WHEN i % 997 = 0 THEN ARRAY['collectors'] WHEN r % 3 = 0 THEN ARRAY['beauty']
    WHEN i > 0.99 * $2 THEN ARRAY['newcomers', 'retail'] ELSE ARRAY['fitness', 'retail'] END,
  CASE WHEN r % 5 = 0 AND NOT gone THEN 'customer' ELSE 'prospect' END::lead_status,
  CASE WHEN r % 11 = 0 AND NOT gone THEN 'asked for the catalogue' ELSE '' END,
  consent.said::lead_consent, CASE WHEN consent.said <> 'unknown' THEN at.at END,
  CASE WHEN consent.said <> 'unknown' THEN 'form at the counter' END,
  CASE WHEN gone THEN '{{}}' ELSE jsonb_build_object('order_no', 'A-' || i, 'plan', plan.names[1 + r / 17 % 3],
    'city', city.names[1 + r / 29 % 12], 'member_since', (2015 + r / 53 % 11)::text) END,
  CASE WHEN gone THEN fleetcast_now() - interval '3 days' END
FROM generate_series(1::bigint, $2::bigint) i
CROSS JOIN (SELECT array_agg(id ORDER BY id) AS ids, count(*) AS n FROM devices WHERE workspace_id = $1) d
CROSS JOIN (SELECT string_to_array('Aminah,Wei,Siti,Kumar,Mei,Farid,Nurul,Jason,Priya,Hafiz,Grace,Azlan,Li,Zara,Daniel,'
  'Aisyah,Ravi,Chong,Elena,Tan', ',') AS names) first
CROSS JOIN (SELECT string_to_array('binti Ahmad,Tan,Lim,Ong,Raj,Abdullah,Wong,Lee,Ng,Hassan,Ibrahim,Chan,Yusof,Goh,'
  'Chua,Ismail,Krishnan,Teo,Rahman,Low,Singh,Koh,Omar,Yap,Devi', ',') AS names) last
CROSS JOIN (SELECT string_to_array('Kuala Lumpur,Johor Bahru,George Town,Ipoh,Kuching,Kota Kinabalu,Shah Alam,Malacca,'
  'Alor Setar,Miri,Klang,Petaling Jaya', ',') AS names) city
CROSS JOIN (SELECT ARRAY['basic', 'plus', 'gold'] AS names) plan
CROSS JOIN LATERAL (SELECT {_DRAWN.format("i", "$3::bigint")} AS r, i % 500 = 0 AS gone) drawn
CROSS JOIN LATERAL (SELECT CASE WHEN gone THEN 'unknown' WHEN r % 100 < 28 THEN 'given' ELSE 'unknown' END AS said)
  consent
CROSS JOIN LATERAL (
  SELECT fleetcast_now() - interval '200 days' + i * (interval '180 days' / greatest($2, 1)) AS at) at"""

# $1 workspace, $2 days. One in a hundred said stop at some time; those who did refuse.
SUPPRESSIONS = """
WITH chosen AS (
  UPDATE leads SET consent = 'refused', consent_at = at.at, consent_source = 'reply'
  FROM (SELECT id, fleetcast_now() - id % 97 * make_interval(secs => $2::int * 86400 / 97.0) AS at FROM leads
    WHERE workspace_id = $1 AND hashint8extended(id, 7) & 127 = 0 AND deleted_at IS NULL) at
  WHERE leads.id = at.id RETURNING phone, consent_at)
INSERT INTO suppressions (workspace_id, recipient, effective_at, created_at, source, note)
SELECT $1, phone, consent_at, consent_at, 'reply', '' FROM chosen
UNION ALL
SELECT $1, '+61' || (400000000 + i), fleetcast_now() - interval '30 days', fleetcast_now(), 'import',
  'file do-not-write.csv'
FROM generate_series(1, 10000) i"""

# $1 workspace, $2 how many, $3 days, $4 messages of an ordinary one. Oldest first; the first goes to everybody, the
# last two are paused half-way, one in forty was cancelled. `gap`: seconds between two messages.
CAMPAIGNS = """
WITH texts AS (
  INSERT INTO contents (workspace_id, body, required_variables)
  SELECT $1, 'Hello {{ name }}, offer ' || i || ' is waiting for you in {{ city }}. Reply STOP and we will not write.',
    ARRAY['name', 'city'] FROM generate_series(0, $2::int - 1) i RETURNING id),
numbered AS (SELECT id, row_number() OVER (ORDER BY id) - 1 AS i FROM texts),
planned AS (
  SELECT n.id, n.i, fleetcast_now() - make_interval(secs => $3::int * 86400.0 * ($2 - n.i) / $2) AS at,
    CASE WHEN n.i >= $2 - 2 THEN 'paused' WHEN n.i > 0 AND n.i % 40 = 0 THEN 'cancelled' ELSE 'finished' END AS status,
    CASE WHEN n.i = 0 THEN 0.004 ELSE least(0.1, $3 * 43200.0 / $2 / $4::int) END AS gap
  FROM numbered n),
made AS (
  INSERT INTO campaigns (workspace_id, content_id, created_at, launched_at, started_at, planned_at, expires_at,
    paused_at, ended_at, status, title, plan_cursor, paused_reason, niches)
  SELECT $1, id, at - interval '1 hour', at, at, at + interval '1 minute',
    greatest(at, fleetcast_now()) + interval '7 days',
    CASE WHEN status = 'paused' THEN at + interval '2 hours' END,
    CASE WHEN status <> 'paused' THEN at + interval '9 hours' END, status::campaign_status,
    'Offer ' || lpad(i::text, 3, '0'),
    9223372036854775807, CASE WHEN status = 'paused' THEN 'waits for stock' END,
    CASE WHEN i % 4 = 1 THEN ARRAY['fitness'] ELSE '{}' END
  FROM planned ORDER BY i RETURNING id, content_id, status)
SELECT m.id, p.gap::float8 AS gap, m.status = 'paused' AS lively
FROM made m JOIN planned p ON p.id = m.content_id ORDER BY m.id"""

# $1 workspace, $2 campaign, $3 first and $4 last lead, $5 seconds between two messages, $6 whether it still goes on.
# Who had said stop before is skipped; the end of a paused campaign still waits, a few of it are in doubt; of a
# cancelled one the end was cancelled.
MESSAGES = """
INSERT INTO broadcast_messages (workspace_id, device_id, campaign_id, lead_id, content_id, not_before, created_at,
  queued_at, claimed_at, finished_at, sent_at, in_doubt_since, delivered_at, read_at, ended_at, lease_epoch, status,
  delivery, shard_id, attempts, recipient, dedupe_key, provider_id, reason, resolution, payload_sha256, variables)
SELECT $1, l.device_id, c.id, l.id, c.content_id, c.started_at, c.started_at,
  CASE WHEN s.tried THEN t.at - interval '1 second' END, CASE WHEN s.tried THEN t.at END,
  CASE WHEN s.tried THEN t.at + interval '2 ms' END, CASE WHEN s.status = 'sent' THEN t.at + interval '2 ms' END,
  CASE WHEN s.status = 'in_doubt' THEN fleetcast_now() END,
  CASE WHEN s.status = 'sent' AND r % 100 < 88 THEN t.at + interval '4 seconds' END,
  CASE WHEN s.status = 'sent' AND r % 100 < 41 THEN t.at + interval '90 seconds' END,
  CASE WHEN s.status IN ('failed', 'skipped', 'cancelled') THEN t.at + interval '2 ms' END,
  CASE WHEN s.tried THEN 1 END, s.status::message_status,
  (CASE WHEN s.status <> 'sent' OR r % 100 >= 88 THEN 'none' WHEN r % 100 < 41 THEN 'read' ELSE 'delivered' END
    )::message_delivery,
  d.shard_id, CASE WHEN s.tried THEN 1 ELSE 0 END, l.phone, 'c:' || c.id || ':' || l.phone,
  CASE WHEN s.status = 'sent' THEN 'large-' || c.id || '-' || l.id END,
  CASE s.status WHEN 'failed' THEN (ARRAY['not_on_whatsapp', 'not_on_whatsapp', 'not_on_whatsapp', 'recipient_refused',
      'retries_exhausted', 'unconfirmed'])[1 + r / 7 % 6]
    WHEN 'skipped' THEN CASE WHEN x.recipient IS NOT NULL THEN 'opt_out' ELSE
      (ARRAY['device_offline', 'missing_variable', 'expired'])[1 + r / 7 % 3] END
    WHEN 'in_doubt' THEN 'no_answer' END,
  CASE WHEN s.status = 'sent' THEN 'answer' END,
  CASE WHEN s.tried THEN decode(md5(l.phone) || md5(c.id::text), 'hex') END,
  jsonb_build_object('name', l.name, 'city', l.attributes -> 'city')
FROM campaigns c, leads l JOIN devices d ON d.id = l.device_id
LEFT JOIN suppressions x ON x.workspace_id = l.workspace_id AND x.recipient = l.phone AND x.effective_at < (
  SELECT started_at + interval '9 hours' FROM campaigns WHERE id = $2)
CROSS JOIN LATERAL (SELECT hashint8extended(l.id, $2) & 9223372036854775807 AS r,
  (l.id - $3::bigint)::float8 / greatest(1, $4::bigint - $3::bigint) AS part) drawn
CROSS JOIN LATERAL (SELECT CASE
  WHEN x.recipient IS NOT NULL THEN 'skipped'
  WHEN $6 AND part > 0.5 THEN CASE WHEN l.id > $4::bigint - 6 THEN 'in_doubt' ELSE 'pending' END
  WHEN c.status = 'cancelled' AND part > 0.8 THEN 'cancelled'
  WHEN r % 1000 < 25 THEN 'failed' WHEN r % 1000 < 45 THEN 'skipped' ELSE 'sent' END AS status) how
CROSS JOIN LATERAL (SELECT how.status, how.status IN ('sent', 'failed', 'in_doubt') AS tried) s
CROSS JOIN LATERAL (SELECT c.started_at + (l.id - $3::bigint) * make_interval(secs => $5) AS at) t
WHERE c.id = $2 AND l.workspace_id = $1 AND l.id BETWEEN $3::bigint AND $4::bigint"""

# $1 workspace, $2 how many. Sent one by one yesterday, each with a text of its own.
SINGLE = """
WITH texts AS (
  INSERT INTO contents (workspace_id, body) SELECT $1, 'Your order ' || i || ' is ready.'
  FROM generate_series(1, $2::int) i RETURNING id),
numbered AS (SELECT id, row_number() OVER (ORDER BY id) AS i FROM texts),
people AS (SELECT *, row_number() OVER (ORDER BY id) AS i FROM (
  SELECT l.id, l.device_id, l.phone, d.shard_id FROM leads l JOIN devices d ON d.id = l.device_id
  WHERE l.workspace_id = $1 AND l.deleted_at IS NULL AND l.consent <> 'refused' ORDER BY l.id LIMIT $2) l)
INSERT INTO broadcast_messages (workspace_id, device_id, lead_id, content_id, not_before, created_at, queued_at,
  claimed_at, finished_at, sent_at, expires_at, lease_epoch, status, shard_id, priority, attempts, recipient,
  dedupe_key, provider_id, resolution, payload_sha256, variables)
SELECT $1, p.device_id, p.id, n.id, at.at, at.at, at.at, at.at, at.at + interval '2 ms', at.at + interval '2 ms',
  at.at + interval '7 days', 1, 'sent', p.shard_id, 1, 1, p.phone, 'm:' || $1::bigint || ':' || p.phone || ':large',
  'large-single-' || n.id, 'answer', decode(md5(p.phone) || md5(p.phone), 'hex'), '{}'
FROM numbered n JOIN people p USING (i)
CROSS JOIN LATERAL (SELECT fleetcast_now() - interval '30 minutes' + i * interval '8 ms' AS at) at"""

FIRST_MESSAGE = "SELECT coalesce(min(id), 0) FROM broadcast_messages WHERE workspace_id = $1"

# $1 workspace, $2 first message. All that were not plainly accepted, and one of five that were.
ATTEMPTS = """
INSERT INTO message_attempts (message_id, started_at, finished_at, lease_epoch, drawn_gap_ms, attempt, outcome, sender,
  reference, code)
SELECT b.id, b.claimed_at, CASE WHEN b.status <> 'sent' THEN b.finished_at END, 1, 0, 1,
  CASE WHEN b.status = 'in_doubt' OR b.reason = 'unconfirmed' THEN 'unknown'
    WHEN b.status = 'failed' THEN 'refused' END,
  'sender-large', 'large-' || b.id || '-1', b.reason
FROM broadcast_messages b
WHERE b.id >= $2 AND b.workspace_id = $1 AND b.attempts = 1 AND (b.status <> 'sent' OR b.id % 5 = 0)"""

TALLIES = """
INSERT INTO campaign_tallies (campaign_id, counter, reason, n)
SELECT campaign_id, status::text, CASE WHEN status IN ('failed', 'skipped') THEN reason END, count(*)
FROM broadcast_messages WHERE id >= $2 AND workspace_id = $1 AND campaign_id IS NOT NULL GROUP BY 1, 2, 3
UNION ALL
SELECT campaign_id, counter::text, NULL, count(*) FROM broadcast_messages
  CROSS JOIN (VALUES ('delivered'::message_delivery), ('read')) AS reached (counter)
WHERE id >= $2 AND workspace_id = $1 AND campaign_id IS NOT NULL AND delivery >= counter GROUP BY 1, 2"""

RECEIPTS = """
INSERT INTO inbox (workspace_id, device_id, received_at, occurred_at, processed_at, kind, event_id, provider_id, effect)
SELECT $1, b.device_id, r.at, r.at, r.at, r.kind, r.kind || '-' || b.id, b.provider_id, r.kind
FROM broadcast_messages b
CROSS JOIN LATERAL (VALUES ('delivered', b.delivered_at), ('read', b.read_at)) AS r (kind, at)
WHERE b.id >= $2 AND b.workspace_id = $1 AND b.id % 50 = 0 AND r.at IS NOT NULL"""

REPLIES = """
INSERT INTO inbox (workspace_id, device_id, received_at, occurred_at, processed_at, kind, event_id, sender, body)
SELECT $1, b.device_id, b.read_at, b.read_at, b.read_at, 'reply', 'reply-' || b.id, b.recipient,
  'Thank you, I will come'
FROM broadcast_messages b
WHERE b.id >= $2 AND b.workspace_id = $1 AND b.id % 200 = 0 AND b.read_at IS NOT NULL"""

# $1 workspace, $2 days.
IMPORTS = """
INSERT INTO lead_imports (workspace_id, device_id, started_at, updated_at, finished_at, size, bytes_read, position,
  accepted, rejected, status, filename, sha256, actor, options, problems, report)
SELECT $1, d.id, at.at, at.at, at.at + interval '20 seconds', 90000, 90000, 1003, 1000, 3, 'done',
  'leads-' || to_char(at.at, 'YYYY-MM-DD') || '.csv', md5(d.id::text) || md5(d.name), 'user:ann@example.org',
  '{"region": "MY", "sheet": null, "mapping": null, "all_or_nothing": false, "consent_source": null}',
  '[{"line": 12, "column": "phone", "reason": "the number is missing"}]',
  '{"rows": 1003, "added": 900, "merged": 60, "unchanged": 30, "duplicates": 10, "rejected": 3, "skipped": 0}'
FROM devices d CROSS JOIN LATERAL (SELECT fleetcast_now() - make_interval(days => (d.id % $2::int)::int) AS at) at
WHERE d.workspace_id = $1 AND d.id % 5 = 0"""

# $1 workspace, $2 days, $3 how many.
AUDIT = """
INSERT INTO audit (workspace_id, at, actor, action, subject, after)
SELECT $1, fleetcast_now() - make_interval(secs => $2::int * 86400.0 * ($3 - i) / $3),
  CASE i % 3 WHEN 0 THEN 'user:ann@example.org' WHEN 1 THEN 'user:ben@example.org' ELSE 'key:1 shop export' END,
  (ARRAY['lead.change', 'device.pause', 'device.resume', 'campaign.launch', 'leads.export'])[1 + i % 5],
  CASE WHEN i % 5 = 0 THEN i || ' +60 1•-••• ••' || lpad((i % 100)::text, 2, '0') ELSE 'Shop ' || i % 3000 END,
  '{"fields": ["niches"]}'
FROM generate_series(1, $3::int) i"""

SHARDS = "UPDATE shards SET epoch = greatest(epoch, 1), recovered_epoch = greatest(recovered_epoch, 1)"
