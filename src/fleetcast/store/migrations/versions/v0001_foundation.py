"""Foundation: tenants, devices, leads, campaigns and the message queue with its guards.

Widths of a message row are ordered eight bytes first, then two, then variable, which leaves no padding. What is
indexed and how is measured, not guessed: see `docs/decisions/0003-hot-tables.md`.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INSTALLATION = """
CREATE TABLE installation (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  install_id text NOT NULL,
  clock_offset interval NOT NULL DEFAULT '0' -- for tests only; production mode refuses any other value
);
INSERT INTO installation (install_id) VALUES (substr(md5(gen_random_uuid()::text), 1, 8));

CREATE FUNCTION fleetcast_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
AS 'SELECT statement_timestamp() + (SELECT clock_offset FROM installation)'
"""

TENANTS = """
CREATE TABLE workspaces (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE CHECK (name <> ''),
  time_zone text NOT NULL DEFAULT 'UTC',
  region char(2) NOT NULL DEFAULT 'MY', -- reads phone numbers written without a country code
  attribute_keys text[] NOT NULL DEFAULT '{}', -- every attribute some lead has: what a text may name
  created_at timestamptz NOT NULL DEFAULT fleetcast_now()
);

CREATE TYPE member_role AS ENUM ('owner', 'operator', 'viewer');
CREATE TABLE members (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL REFERENCES workspaces,
  email text NOT NULL,
  name text NOT NULL DEFAULT '',
  role member_role NOT NULL,
  created_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  UNIQUE (workspace_id, email)
);

CREATE TABLE nodes (
  id text PRIMARY KEY,
  name text NOT NULL,
  first_seen_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  seen_at timestamptz NOT NULL DEFAULT fleetcast_now()
);

CREATE TABLE shards (
  id smallint PRIMARY KEY,
  epoch bigint NOT NULL DEFAULT 0, -- only grows
  recovered_epoch bigint NOT NULL DEFAULT 0, -- orphans of every older epoch are settled
  expires_at timestamptz NOT NULL DEFAULT '-infinity',
  owner text,
  home_node text REFERENCES nodes
) WITH (fillfactor = 50);
INSERT INTO shards (id) SELECT generate_series(0, 63)
"""

DEVICES = """
CREATE TYPE device_state AS ENUM
  ('unpaired', 'pairing', 'connecting', 'online', 'offline', 'restricted', 'logged_out', 'banned');
CREATE TABLE devices (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL REFERENCES workspaces,
  last_send_at timestamptz, -- end of the last attempt, by database time: pacing holds across restarts
  state_since timestamptz NOT NULL DEFAULT fleetcast_now(),
  restricted_until timestamptz,
  paused_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  deleted_at timestamptz,
  leads_version bigint NOT NULL DEFAULT 0, -- grows with every change of its leads
  min_delay real NOT NULL DEFAULT 10,
  max_delay real NOT NULL DEFAULT 30,
  state device_state NOT NULL DEFAULT 'unpaired',
  shard_id smallint NOT NULL REFERENCES shards,
  is_ready boolean GENERATED ALWAYS AS (state = 'online' AND paused_at IS NULL AND deleted_at IS NULL) STORED,
  name text NOT NULL CHECK (name <> ''),
  transport text NOT NULL,
  region char(2),
  phone text,
  jid text,
  lid text,
  state_reason text NOT NULL DEFAULT '',
  paused_by text,
  paused_reason text,
  UNIQUE (workspace_id, id),
  CHECK (min_delay >= 0 AND max_delay >= min_delay AND max_delay <= 86400)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX devices_name ON devices (workspace_id, lower(name)) WHERE deleted_at IS NULL;
CREATE INDEX devices_shard ON devices (shard_id)
"""

LEADS = """
CREATE TYPE lead_status AS ENUM ('prospect', 'customer');
CREATE TYPE lead_consent AS ENUM ('unknown', 'given', 'refused');
CREATE TABLE leads (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL,
  device_id bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  updated_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  consent_at timestamptz,
  target_status lead_status NOT NULL DEFAULT 'prospect',
  consent lead_consent NOT NULL DEFAULT 'unknown',
  shared boolean NOT NULL DEFAULT false, -- another device of the workspace has a lead with the same phone
  phone text NOT NULL CHECK (phone ~ '^\\+[1-9][0-9]{6,14}$'),
  name text NOT NULL DEFAULT '',
  niches text[] NOT NULL DEFAULT '{}',
  journey text NOT NULL DEFAULT '',
  time_zone text,
  consent_source text,
  attributes jsonb NOT NULL DEFAULT '{}',
  UNIQUE (device_id, phone),
  UNIQUE (workspace_id, device_id, id),
  FOREIGN KEY (workspace_id, device_id) REFERENCES devices (workspace_id, id)
);
CREATE INDEX leads_walk ON leads (workspace_id, id);
CREATE INDEX leads_person ON leads (workspace_id, phone);
CREATE INDEX leads_niches ON leads USING gin (niches)
"""

CONTENT = """
CREATE TABLE media (
  workspace_id bigint NOT NULL REFERENCES workspaces,
  sha256 text NOT NULL,
  size integer NOT NULL,
  width integer,
  height integer,
  created_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  mime text NOT NULL,
  filename text NOT NULL,
  data bytea NOT NULL,
  PRIMARY KEY (workspace_id, sha256)
);
ALTER TABLE media ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE contents (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL REFERENCES workspaces,
  created_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  body text NOT NULL,
  required_variables text[] NOT NULL DEFAULT '{}', -- printed without a default: a lead without one is skipped
  media_sha256 text,
  UNIQUE (workspace_id, id),
  FOREIGN KEY (workspace_id, media_sha256) REFERENCES media (workspace_id, sha256)
);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION '% rows are never changed', TG_TABLE_NAME USING ERRCODE = 'check_violation'; END $$;
CREATE TRIGGER immutable BEFORE UPDATE ON contents FOR EACH ROW EXECUTE FUNCTION refuse_change()
"""

CAMPAIGNS = """
CREATE TYPE campaign_status AS ENUM ('draft', 'scheduled', 'running', 'paused', 'finished', 'cancelled');
CREATE TABLE campaigns (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL REFERENCES workspaces,
  content_id bigint NOT NULL,
  plan_cursor bigint NOT NULL DEFAULT 0, -- the last lead the planner has looked at
  newest_device_id bigint, -- at the start; a device with a higher id is a newcomer
  starts_at timestamptz, -- the instant of schedule_local in schedule_zone
  expires_at timestamptz, -- set at the start from deadline_after
  created_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  launched_at timestamptz,
  started_at timestamptz,
  planned_at timestamptz, -- the planner is through; NULL again while an edit is planned anew
  paused_at timestamptz,
  ended_at timestamptz,
  schedule_local timestamp, -- what the person chose, by the clock on the wall
  deadline_after interval NOT NULL DEFAULT '7 days',
  min_delay real,
  max_delay real,
  status campaign_status NOT NULL DEFAULT 'draft',
  all_devices boolean NOT NULL DEFAULT true,
  takes_newcomers boolean NOT NULL DEFAULT true,
  replan boolean NOT NULL DEFAULT false, -- content or audience changed while paused: unattempted rows are made anew
  title text NOT NULL CHECK (title <> ''),
  niches text[] NOT NULL DEFAULT '{}',
  niche_match text NOT NULL DEFAULT 'any' CHECK (niche_match IN ('any', 'all')),
  target_status text NOT NULL DEFAULT 'all' CHECK (target_status IN ('prospect', 'customer', 'all')),
  when_offline text NOT NULL DEFAULT 'wait' CHECK (when_offline IN ('wait', 'skip')),
  schedule_zone text,
  paused_reason text,
  UNIQUE (workspace_id, id),
  FOREIGN KEY (workspace_id, content_id) REFERENCES contents (workspace_id, id),
  CHECK ((min_delay IS NULL) = (max_delay IS NULL)),
  CHECK (min_delay IS NULL OR (min_delay >= 0 AND max_delay >= min_delay AND max_delay <= 86400))
) WITH (fillfactor = 70);
CREATE INDEX campaigns_active ON campaigns (workspace_id, status) WHERE status IN ('scheduled', 'running', 'paused');

CREATE TABLE campaign_devices (
  workspace_id bigint NOT NULL,
  campaign_id bigint NOT NULL,
  device_id bigint NOT NULL,
  PRIMARY KEY (campaign_id, device_id),
  FOREIGN KEY (workspace_id, campaign_id) REFERENCES campaigns (workspace_id, id) ON DELETE CASCADE,
  FOREIGN KEY (workspace_id, device_id) REFERENCES devices (workspace_id, id)
);
CREATE TABLE campaign_newcomers (
  campaign_id bigint NOT NULL REFERENCES campaigns ON DELETE CASCADE,
  device_id bigint NOT NULL REFERENCES devices,
  planned_version bigint NOT NULL, -- the device's leads_version that is planned
  PRIMARY KEY (campaign_id, device_id)
);
-- Counts are a ledger of differences, folded now and then: no writer waits for another, and a sum is always exact.
CREATE TABLE campaign_tallies (
  campaign_id bigint NOT NULL,
  n bigint NOT NULL,
  counter text NOT NULL, -- a message_status, or 'delivered' or 'read'
  reason text
);
CREATE INDEX campaign_tallies_campaign ON campaign_tallies (campaign_id)
"""

MESSAGES = """
CREATE TYPE message_status AS ENUM
  ('pending', 'queued', 'sending', 'in_doubt', 'sent', 'failed', 'skipped', 'cancelled');
CREATE TYPE message_delivery AS ENUM ('none', 'delivered', 'read');
CREATE TABLE broadcast_messages (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL,
  device_id bigint NOT NULL,
  campaign_id bigint,
  lead_id bigint,
  content_id bigint NOT NULL,
  not_before timestamptz NOT NULL,
  expires_at timestamptz,
  created_at timestamptz NOT NULL, -- also the frozen `now` of the text
  queued_at timestamptz,
  claimed_at timestamptz,
  finished_at timestamptz, -- end of the last attempt
  sent_at timestamptz,
  in_doubt_since timestamptz,
  delivered_at timestamptz,
  read_at timestamptz,
  ended_at timestamptz, -- when it was skipped, failed or cancelled
  lease_epoch bigint,
  status message_status NOT NULL DEFAULT 'pending',
  delivery message_delivery NOT NULL DEFAULT 'none',
  shard_id smallint NOT NULL,
  priority smallint NOT NULL DEFAULT 3,
  attempts smallint NOT NULL DEFAULT 0,
  crashes smallint NOT NULL DEFAULT 0,
  shared boolean NOT NULL DEFAULT false,
  -- The queue's partial index reads this flag, never `status`: pending, queued and sending leave it alone and stay HOT.
  is_open boolean GENERATED ALWAYS AS (status IN ('pending', 'queued', 'sending', 'in_doubt')) STORED,
  recipient text NOT NULL,
  dedupe_key text COLLATE "C" NOT NULL, -- in C order the rows of one campaign lie side by side: `c:{campaign}:…`
  provider_id text,
  reason text,
  resolution text,
  payload_sha256 bytea,
  variables jsonb NOT NULL,
  FOREIGN KEY (workspace_id, device_id, lead_id) REFERENCES leads (workspace_id, device_id, id),
  FOREIGN KEY (workspace_id, campaign_id) REFERENCES campaigns (workspace_id, id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.2);
-- Transient states change faster than ANALYZE can follow: without statistics the plans do not depend on when it looked.
ALTER TABLE broadcast_messages ALTER COLUMN status SET STATISTICS 0;
CREATE UNIQUE INDEX broadcast_messages_dedupe ON broadcast_messages (dedupe_key);
CREATE INDEX broadcast_messages_open ON broadcast_messages
  (device_id, campaign_id, priority, not_before, id) WHERE is_open;
CREATE UNIQUE INDEX broadcast_messages_provider ON broadcast_messages (device_id, provider_id)
  WHERE provider_id IS NOT NULL;
CREATE INDEX broadcast_messages_in_doubt ON broadcast_messages (in_doubt_since) WHERE in_doubt_since IS NOT NULL;
CREATE INDEX broadcast_messages_shared ON broadcast_messages (lead_id) WHERE shared;

CREATE TABLE message_attempts (
  message_id bigint NOT NULL,
  started_at timestamptz NOT NULL,
  finished_at timestamptz,
  lease_epoch bigint NOT NULL,
  drawn_gap_ms integer NOT NULL, -- the delay drawn before this attempt
  attempt smallint NOT NULL,
  outcome text CHECK (outcome IN ('refused', 'not_sent', 'unknown')), -- NULL: plainly accepted, or not known yet
  sender text NOT NULL,
  reference text NOT NULL,
  code text,
  detail text,
  PRIMARY KEY (message_id, attempt)
)
"""

GUARDS = """
CREATE FUNCTION refuse_birth() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'a message is born pending, not %', NEW.status USING ERRCODE = 'check_violation'; END $$;
CREATE TRIGGER birth BEFORE INSERT ON broadcast_messages FOR EACH ROW
  WHEN (NEW.status <> 'pending') EXECUTE FUNCTION refuse_birth();

CREATE FUNCTION refuse_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'message %: % -> % is not a transition', NEW.id, OLD.status, NEW.status
    USING ERRCODE = 'check_violation';
END $$;
-- AFTER with WHEN: no lock of its own and no call for a legal pair; the exception still undoes the whole statement.
CREATE TRIGGER transitions AFTER UPDATE OF status ON broadcast_messages FOR EACH ROW
WHEN (OLD.status IS DISTINCT FROM NEW.status AND CASE OLD.status
  WHEN 'pending'  THEN NEW.status NOT IN ('queued', 'skipped', 'cancelled', 'sent')
  WHEN 'queued'   THEN NEW.status NOT IN ('sending', 'pending', 'skipped', 'cancelled', 'sent')
  WHEN 'sending'  THEN NEW.status NOT IN ('sent', 'failed', 'pending', 'in_doubt')
  WHEN 'in_doubt' THEN NEW.status NOT IN ('sent', 'failed', 'pending')
  WHEN 'sent'     THEN NEW.status NOT IN ('failed')
  WHEN 'failed'   THEN NEW.status NOT IN ('sent', 'pending')
  WHEN 'skipped'  THEN NEW.status NOT IN ('pending')
  ELSE true END) EXECUTE FUNCTION refuse_transition();

CREATE FUNCTION refuse_fall() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'message %: delivery never falls (% -> %)', NEW.id, OLD.delivery, NEW.delivery
    USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER delivery_grows AFTER UPDATE OF delivery ON broadcast_messages FOR EACH ROW
  WHEN (NEW.delivery < OLD.delivery) EXECUTE FUNCTION refuse_fall()
"""

EVIDENCE = """
CREATE TABLE inbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL REFERENCES workspaces,
  device_id bigint NOT NULL,
  received_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  occurred_at timestamptz NOT NULL,
  processed_at timestamptz,
  kind text NOT NULL, -- delivered, read, failed, accepted, reply
  event_id text NOT NULL,
  provider_id text,
  reference text,
  sender text, -- E.164 of who wrote
  body text,
  detail text,
  effect text, -- what processing it did
  UNIQUE (device_id, event_id),
  FOREIGN KEY (workspace_id, device_id) REFERENCES devices (workspace_id, id)
);
CREATE INDEX inbox_waiting ON inbox (id) WHERE processed_at IS NULL;
CREATE INDEX inbox_person ON inbox (workspace_id, sender, id) WHERE sender IS NOT NULL;

CREATE TABLE suppressions (
  workspace_id bigint NOT NULL REFERENCES workspaces,
  recipient text NOT NULL,
  effective_at timestamptz NOT NULL, -- read in a last statement, once the stop's updates hold their locks
  created_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  source text NOT NULL, -- reply, person, import, provider
  note text NOT NULL DEFAULT '',
  PRIMARY KEY (workspace_id, recipient)
);

CREATE TABLE audit (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint REFERENCES workspaces,
  at timestamptz NOT NULL DEFAULT fleetcast_now(),
  actor text NOT NULL,
  action text NOT NULL,
  subject text NOT NULL,
  before jsonb,
  after jsonb
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse_change()
"""


def statements(script: str) -> list[str]:
    """The statements of a script; a body in dollar quotes stays in one piece."""
    found, current, quoted = [], "", False
    for line in script.splitlines():
        current += line + "\n"
        if line.count("$$") % 2:
            quoted = not quoted
        if not quoted and line.split("--")[0].rstrip().endswith(";"):
            found.append(current.rstrip().rstrip(";"))
            current = ""
    return [s for s in [*found, current] if s.strip()]


def upgrade() -> None:
    for script in (INSTALLATION, TENANTS, DEVICES, LEADS, CONTENT, CAMPAIGNS, MESSAGES, GUARDS, EVIDENCE):
        for statement in statements(script):
            op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("there is nothing before the foundation; restore a backup instead")
