"""Video and audio: how long they last, and a small picture of a video, which phones show until they have the whole."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

STATEMENTS = ("ALTER TABLE media ADD COLUMN duration_ms integer CHECK (duration_ms > 0), ADD COLUMN thumbnail bytea",)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("going back is not supported; restore a backup instead")
