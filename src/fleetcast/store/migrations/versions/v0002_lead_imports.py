"""Imports of leads as rows: how far each is, and what is needed to go on after the process was killed.

Each import has a staging table of its own that inherits from `lead_staging`, `lead_staging_ID`, made when it starts and
dropped when it ends: dropping leaves no dead rows behind, and a later change of the columns reaches all of them. It is
logged, so that it also survives a crash of PostgreSQL.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    "CREATE TYPE lead_import_status AS ENUM ('staging', 'merging', 'done', 'failed', 'abandoned')",
    """
CREATE TABLE lead_imports (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL,
  device_id bigint NOT NULL,
  started_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  updated_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  finished_at timestamptz,
  size bigint NOT NULL, -- bytes to be read
  bytes_read bigint NOT NULL DEFAULT 0,
  position bigint NOT NULL DEFAULT 0, -- rows of the file, blank ones too, that are staged or rejected
  accepted bigint NOT NULL DEFAULT 0,
  rejected bigint NOT NULL DEFAULT 0,
  status lead_import_status NOT NULL DEFAULT 'staging',
  filename text NOT NULL,
  sha256 text NOT NULL,
  actor text NOT NULL,
  options jsonb NOT NULL, -- what decides how the file is read; going on keeps it
  attribute_keys text[] NOT NULL DEFAULT '{}', -- of the rows so far
  problems jsonb NOT NULL DEFAULT '[]', -- the first rejected rows: line, column, reason
  report jsonb,
  FOREIGN KEY (workspace_id, device_id) REFERENCES devices (workspace_id, id)
)""",
    "CREATE INDEX lead_imports_recent ON lead_imports (workspace_id, id)",
    """
CREATE TABLE lead_staging (
  line bigint NOT NULL, phone text NOT NULL, name text NOT NULL, niches text[] NOT NULL, target_status text,
  journey text NOT NULL, time_zone text, consent text NOT NULL, attributes text NOT NULL)""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("going back would lose imports under way; restore a backup instead")
