"""The calendar: campaigns of a month are found by when they started or are to start."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = ("CREATE INDEX campaigns_calendar ON campaigns (workspace_id, coalesce(started_at, starts_at), id)",)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("going back is not supported; restore a backup instead")
