"""Processes: who runs at this moment, so that senders share the shards and a loop that stands still is seen; and when a
device was last given an order, so that its sender finds it although the nudge was lost.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
CREATE TABLE processes (
  name text PRIMARY KEY, -- host, pid and four random characters
  kind text NOT NULL CHECK (kind IN ('sender', 'scheduler', 'web')),
  node text NOT NULL REFERENCES nodes,
  started_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  beaten_at timestamptz NOT NULL DEFAULT fleetcast_now(), -- when its presence was last written
  leasing_at timestamptz, -- when its lease loop last came round: by this, senders are counted that share the shards
  stuck text[] NOT NULL DEFAULT '{}', -- loops that have stood still for too long
  figures jsonb NOT NULL DEFAULT '{}' -- what it measures of itself, by name
) WITH (fillfactor = 50)""",
    "ALTER TABLE devices ADD COLUMN ordered_at timestamptz",
    "CREATE INDEX devices_ordered ON devices (ordered_at)",
    """
CREATE FUNCTION note_order() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN NEW.ordered_at := fleetcast_now(); RETURN NEW; END $$""",
    # Not of last_send_at, which every paced send writes.
    """
CREATE TRIGGER ordered BEFORE UPDATE OF state, paused_at, deleted_at, min_delay, max_delay ON devices
FOR EACH ROW EXECUTE FUNCTION note_order()""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("going back is not supported; restore a backup instead")
