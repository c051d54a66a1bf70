"""On which node the session of a linked device is, the copy that a clean stop left, and its proxy."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
CREATE TABLE linked_sessions (
  device_id bigint PRIMARY KEY REFERENCES devices,
  since timestamptz NOT NULL DEFAULT fleetcast_now(), -- it is on this node
  copied_at timestamptz,
  handed_over boolean NOT NULL DEFAULT false, -- closed there, and the copy is how it was left: another may take it
  node text NOT NULL REFERENCES nodes,
  copy bytea -- compressed and sealed
)""",
    "ALTER TABLE linked_sessions ALTER COLUMN copy SET STORAGE EXTERNAL",  # it cannot be made smaller
    "CREATE INDEX linked_sessions_node ON linked_sessions (node)",
    """
CREATE TABLE device_proxies (
  device_id bigint PRIMARY KEY REFERENCES devices,
  changed_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  shown text NOT NULL, -- without a password
  address bytea NOT NULL -- sealed
)""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("going back is not supported; restore a backup instead")
