"""Processes: who runs at this moment, so that senders share the shards and a loop that stands still is seen."""

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
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("going back is not supported; restore a backup instead")
