"""Sequences: steps that reach each person in order, at their own time.

What is due is found by one index over those who wait for a step, one sequence after the other. A message of a sequence
carries it, the enrolment and the step; the columns are empty in every other message and cost it nothing. What happens
to such messages, and to people in sequences, is counted by triggers as a ledger of differences like that of campaigns.
An end of a message waits in `sequence_ends`, and what may change whom a sequence is for in `lead_news`, until the
sequencer takes them: nobody who sends, receives or imports waits for a sequence.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATEMENTS = (
    "CREATE TYPE sequence_status AS ENUM ('draft', 'active', 'paused', 'archived')",
    """
CREATE TABLE sequences (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL REFERENCES workspaces,
  retime_cursor bigint, -- the timeline changed: enrolments up to this one are placed anew; NULL: all are
  created_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  activated_at timestamptz,
  paused_at timestamptz,
  archived_at timestamptz,
  late_by interval NOT NULL DEFAULT '12 hours', -- how long after its moment a step may still go out
  revision integer NOT NULL DEFAULT 1, -- of the timeline
  min_delay real,
  max_delay real,
  status sequence_status NOT NULL DEFAULT 'draft',
  auto_enrol boolean NOT NULL DEFAULT false,
  stop_on_reply boolean NOT NULL DEFAULT true,
  stop_on_conversion boolean NOT NULL DEFAULT true,
  recall boolean NOT NULL DEFAULT false, -- messages that wait may say what is no longer to be said
  name text NOT NULL CHECK (name <> ''),
  niches text[] NOT NULL DEFAULT '{}',
  niche_match text NOT NULL DEFAULT 'any' CHECK (niche_match IN ('any', 'all')),
  target_status text NOT NULL DEFAULT 'all' CHECK (target_status IN ('prospect', 'customer', 'all')),
  on_failure text NOT NULL DEFAULT 'continue' CHECK (on_failure IN ('continue', 'retry', 'stop')),
  paused_reason text,
  UNIQUE (workspace_id, id),
  CHECK (late_by > interval '0'),
  CHECK ((min_delay IS NULL) = (max_delay IS NULL)),
  CHECK (min_delay IS NULL OR (min_delay >= 0 AND max_delay >= min_delay AND max_delay <= 86400))
) WITH (fillfactor = 70)""",
    "CREATE INDEX sequences_active ON sequences (workspace_id) WHERE status IN ('active', 'paused')",
    # The content is immutable; a step that says something else points at another one.
    """
CREATE TABLE sequence_steps (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL,
  sequence_id bigint NOT NULL,
  content_id bigint NOT NULL,
  deleted_at timestamptz,
  after interval, -- the step before ended
  local_time time, -- by the person's clock
  day smallint, -- since they began
  position smallint NOT NULL, -- among those that were deleted, too
  UNIQUE (workspace_id, sequence_id, id),
  UNIQUE (sequence_id, position) DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (workspace_id, sequence_id) REFERENCES sequences (workspace_id, id),
  FOREIGN KEY (workspace_id, content_id) REFERENCES contents (workspace_id, id),
  CHECK ((day IS NULL) = (local_time IS NULL) AND (day IS NULL) <> (after IS NULL))
)""",
    "CREATE TYPE enrolment_state AS ENUM ('active', 'completed', 'stopped')",
    """
CREATE TABLE enrolments (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL,
  sequence_id bigint NOT NULL,
  device_id bigint NOT NULL, -- the lead's own, always
  lead_id bigint NOT NULL,
  step_id bigint, -- that is due, under way or to come
  done_step_id bigint, -- the last that ended
  message_id bigint, -- of the step that is under way; also while it is to be tried again
  enrolled_at timestamptz NOT NULL,
  due_at timestamptz, -- when something is to be done; NULL: a message is under way, or all is over
  moment timestamptz, -- of the step, by the person's clock; its window begins then
  expires_at timestamptz, -- of the message that is under way
  done_at timestamptz,
  done_moment timestamptz,
  replied_at timestamptz, -- when they first wrote
  ended_at timestamptz,
  anchor date NOT NULL, -- day 0
  revision integer NOT NULL, -- of the timeline that the moment is from
  tries smallint NOT NULL DEFAULT 0, -- of this step, by the rule
  state enrolment_state NOT NULL DEFAULT 'active',
  recipient text NOT NULL,
  source text NOT NULL CHECK (source IN ('niche', 'existing', 'person')),
  stop_reason text,
  UNIQUE (workspace_id, sequence_id, id),
  FOREIGN KEY (workspace_id, sequence_id) REFERENCES sequences (workspace_id, id),
  FOREIGN KEY (workspace_id, device_id, lead_id) REFERENCES leads (workspace_id, device_id, id),
  FOREIGN KEY (workspace_id, sequence_id, step_id) REFERENCES sequence_steps (workspace_id, sequence_id, id),
  CHECK ((state = 'stopped') = (stop_reason IS NOT NULL)),
  CHECK ((state = 'active') = (ended_at IS NULL)),
  CHECK (state = 'active' OR due_at IS NULL)
) WITH (fillfactor = 80)""",
    # One person is in a sequence once at a time, whatever device's leads they are; and who stops is found by it.
    """
CREATE UNIQUE INDEX enrolments_active ON enrolments (workspace_id, recipient, sequence_id) WHERE state = 'active'""",
    "CREATE INDEX enrolments_due ON enrolments (sequence_id, due_at, id) WHERE due_at IS NOT NULL",
    "CREATE INDEX enrolments_under_way ON enrolments (sequence_id, id) WHERE message_id IS NOT NULL",
    "CREATE INDEX enrolments_ended ON enrolments (id) WHERE message_id IS NOT NULL AND state <> 'active'",
    "CREATE INDEX enrolments_expiring ON enrolments (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX enrolments_list ON enrolments (sequence_id, state, id)",
    "CREATE INDEX enrolments_person ON enrolments (workspace_id, recipient, id)",
    # Enrolling many is done chunk by chunk, so that nobody waits behind it.
    """
CREATE TABLE enrolment_runs (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL,
  sequence_id bigint NOT NULL,
  cursor_id bigint NOT NULL DEFAULT 0, -- the last lead that was looked at
  last_id bigint NOT NULL, -- what came later is not looked at
  expected bigint NOT NULL,
  enrolled bigint NOT NULL DEFAULT 0,
  changed_since timestamptz, -- only leads that came or changed since; NULL: all
  started_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  finished_at timestamptz,
  actor text NOT NULL,
  FOREIGN KEY (workspace_id, sequence_id) REFERENCES sequences (workspace_id, id)
)""",
    "CREATE INDEX enrolment_runs_running ON enrolment_runs (id) WHERE finished_at IS NULL",
    "CREATE INDEX enrolment_runs_recent ON enrolment_runs (workspace_id, sequence_id, id)",
    # Of a step (NULL: before the first) and a device: messages by status, `delivered` and `read`; people `active` at
    # the step, `completed`, `stopped` and `replied` after it.
    """
CREATE TABLE sequence_tallies (
  sequence_id bigint NOT NULL,
  step_id bigint,
  device_id bigint NOT NULL,
  n bigint NOT NULL,
  counter text NOT NULL,
  reason text
)""",
    "CREATE INDEX sequence_tallies_sequence ON sequence_tallies (sequence_id)",
    # What was folded; 0 for no step, and for the sum of all devices.
    """
CREATE TABLE sequence_sums (
  sequence_id bigint NOT NULL,
  device_id bigint NOT NULL,
  step_id bigint NOT NULL,
  n bigint NOT NULL,
  counter text NOT NULL,
  reason text NOT NULL,
  PRIMARY KEY (sequence_id, device_id, step_id, counter, reason)
) WITH (fillfactor = 70)""",
    """
CREATE TABLE sequence_ends (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  enrolment_id bigint NOT NULL,
  message_id bigint NOT NULL
)""",
    """
CREATE TABLE lead_news (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL,
  lead_id bigint NOT NULL,
  converted boolean NOT NULL -- their standing changed
)""",
    "CREATE INDEX lead_news_workspace ON lead_news (workspace_id, id)",
    # Empty columns behind the last one take no room, and what is there needs no look: no row has a sequence yet.
    """
ALTER TABLE broadcast_messages ADD COLUMN sequence_id bigint, ADD COLUMN enrolment_id bigint, ADD COLUMN step_id bigint,
  ADD CHECK ((sequence_id IS NULL) = (enrolment_id IS NULL) AND (sequence_id IS NULL) = (step_id IS NULL)) NOT VALID,
  ADD FOREIGN KEY (workspace_id, sequence_id, enrolment_id) REFERENCES enrolments (workspace_id, sequence_id, id)
    NOT VALID""",
    """
CREATE FUNCTION tally_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sequence_tallies (sequence_id, step_id, device_id, counter, reason, n)
  SELECT NEW.sequence_id, NEW.step_id, NEW.device_id, t.counter, t.reason, t.n FROM (VALUES
    (OLD.status::text, CASE WHEN OLD.status IN ('failed', 'skipped') THEN OLD.reason END, -1,
     OLD.status <> NEW.status),
    (NEW.status::text, CASE WHEN NEW.status IN ('failed', 'skipped') THEN NEW.reason END, 1,
     OLD.status <> NEW.status),
    ('delivered', NULL, 1, OLD.delivery = 'none' AND NEW.delivery <> 'none'),
    ('read', NULL, 1, OLD.delivery <> 'read' AND NEW.delivery = 'read')) AS t (counter, reason, n, moved)
  WHERE t.moved;
  IF OLD.is_open AND NOT NEW.is_open THEN
    INSERT INTO sequence_ends (enrolment_id, message_id) VALUES (NEW.enrolment_id, NEW.id);
  END IF;
  RETURN NULL;
END $$""",
    # For every other message this is one look at whether it has a sequence.
    """
CREATE TRIGGER step_tallies AFTER UPDATE OF status, delivery ON broadcast_messages FOR EACH ROW
WHEN (NEW.sequence_id IS NOT NULL AND (OLD.status <> NEW.status OR OLD.delivery <> NEW.delivery))
EXECUTE FUNCTION tally_step()""",
    """
CREATE FUNCTION tally_enrolled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sequence_tallies (sequence_id, step_id, device_id, counter, n)
  SELECT sequence_id, step_id, device_id, 'active', count(*) FROM new_rows GROUP BY 1, 2, 3;
  RETURN NULL;
END $$""",
    """
CREATE TRIGGER enrolled AFTER INSERT ON enrolments REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION tally_enrolled()""",
    """
CREATE FUNCTION tally_enrolments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sequence_tallies (sequence_id, step_id, device_id, counter, reason, n)
  SELECT sequence_id, step_id, device_id, counter, reason, sum(n) FROM (
    SELECT sequence_id, CASE WHEN state = 'active' THEN step_id ELSE done_step_id END AS step_id, device_id,
      state::text AS counter, stop_reason AS reason, -1 AS n FROM old_rows
    UNION ALL
    SELECT sequence_id, CASE WHEN state = 'active' THEN step_id ELSE done_step_id END, device_id,
      state::text, stop_reason, 1 FROM new_rows
    UNION ALL
    SELECT n.sequence_id, n.done_step_id, n.device_id, 'replied', NULL, 1
    FROM new_rows n JOIN old_rows o ON o.id = n.id AND o.replied_at IS NULL
    WHERE n.replied_at IS NOT NULL) t
  GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0;
  RETURN NULL;
END $$""",
    """
CREATE TRIGGER enrolments_moved AFTER UPDATE ON enrolments REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION tally_enrolments()""",
    # Whoever imports leads where no sequence is at work pays for one look.
    """
CREATE FUNCTION tell_new_leads() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM sequences WHERE status = 'active' AND auto_enrol) THEN
    INSERT INTO lead_news (workspace_id, lead_id, converted)
    SELECT workspace_id, id, false FROM new_rows WHERE workspace_id IN (
      SELECT workspace_id FROM sequences WHERE status = 'active' AND auto_enrol);
  END IF;
  RETURN NULL;
END $$""",
    """
CREATE TRIGGER new_leads AFTER INSERT ON leads REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION tell_new_leads()""",
    """
CREATE FUNCTION tell_changed_leads() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM sequences WHERE status IN ('active', 'paused')) THEN
    INSERT INTO lead_news (workspace_id, lead_id, converted)
    SELECT n.workspace_id, n.id, n.target_status <> o.target_status FROM new_rows n JOIN old_rows o ON o.id = n.id
    WHERE n.deleted_at IS NULL
      AND (n.niches, n.target_status, n.consent) IS DISTINCT FROM (o.niches, o.target_status, o.consent)
      AND n.workspace_id IN (SELECT workspace_id FROM sequences WHERE status IN ('active', 'paused'))
    UNION ALL
    SELECT n.workspace_id, n.id, false FROM new_rows n JOIN old_rows o ON o.id = n.id
    WHERE n.deleted_at IS NULL AND o.deleted_at IS NOT NULL
      AND (n.niches, n.target_status, n.consent) IS NOT DISTINCT FROM (o.niches, o.target_status, o.consent)
      AND n.workspace_id IN (SELECT workspace_id FROM sequences WHERE status = 'active' AND auto_enrol);
  END IF;
  RETURN NULL;
END $$""",
    """
CREATE TRIGGER changed_leads AFTER UPDATE ON leads REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION tell_changed_leads()""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("going back is not supported; restore a backup instead")
