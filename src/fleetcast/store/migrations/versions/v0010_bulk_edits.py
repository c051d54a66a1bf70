"""Changes of many leads or devices at once, with what is needed to go on and to take them back; and the order in which
leads are looked up by name, and what people decided about one thing.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = (
    "CREATE TYPE bulk_edit_status AS ENUM ('running', 'done', 'stopped')",
    """
CREATE TABLE bulk_edits (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL REFERENCES workspaces,
  undoes bigint REFERENCES bulk_edits,
  last_id bigint NOT NULL, -- what came later is not touched
  cursor_device bigint NOT NULL DEFAULT 0, -- leads are gone through device by device
  cursor_id bigint NOT NULL DEFAULT 0,
  expected bigint NOT NULL, -- as it was confirmed
  seen bigint NOT NULL DEFAULT 0,
  changed bigint NOT NULL DEFAULT 0,
  skipped bigint NOT NULL DEFAULT 0, -- messages that waited for what was removed
  started_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  finished_at timestamptz,
  forgotten_at timestamptz, -- since then what was there before is not known any more
  status bulk_edit_status NOT NULL DEFAULT 'running',
  things text NOT NULL CHECK (things IN ('leads', 'devices')),
  action text NOT NULL,
  actor text NOT NULL,
  value jsonb NOT NULL, -- what the action needs
  chosen jsonb NOT NULL -- whom it is done to
)""",
    "CREATE INDEX bulk_edits_running ON bulk_edits (id) WHERE status = 'running'",
    "CREATE INDEX bulk_edits_recent ON bulk_edits (workspace_id, id)",
    "CREATE UNIQUE INDEX bulk_edits_undoes ON bulk_edits (undoes)",
    # No foreign keys: a million of these are written at once, and they are deleted with what they name.
    """
CREATE TABLE bulk_edit_changes (
  edit_id bigint NOT NULL,
  device_id bigint NOT NULL,
  lead_id bigint NOT NULL,
  was text, -- the value that was replaced; NULL: there was none
  PRIMARY KEY (edit_id, device_id, lead_id)
)""",
    # One entry more for each lead that has a name; without it the beginning of a name is looked for in every lead.
    """CREATE INDEX leads_name ON leads (workspace_id, lower(name) COLLATE "C", id) WHERE name <> ''""",
    "CREATE INDEX audit_subject ON audit (workspace_id, subject, id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("going back is not supported; restore a backup instead")
