"""Leads that people removed: what was known of them goes, their row stays for the messages that name it.

Also the order in which media are listed.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE leads ADD COLUMN deleted_at timestamptz",
    "CREATE INDEX media_newest ON media (workspace_id, created_at, sha256)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("going back is not supported; restore a backup instead")
