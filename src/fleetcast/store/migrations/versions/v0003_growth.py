"""Growth: what keeps a message's cost the same in a large table as in a small one, and what is deleted in time.

The figures behind each choice are in `docs/decisions/0008-what-a-message-costs.md`.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Every message is changed three times on its way, so at 0.2 a running broadcast was analysed all the time; the
    # hot statements do not read statistics (decision 0003), and the others need only the order of magnitude.
    "ALTER TABLE broadcast_messages SET (autovacuum_analyze_scale_factor = 1)",
    # A row gets its second entry when it is finished. With half of each page left free, that entry finds room
    # beside the first; in full pages it split them or made them look for old entries to throw out.
    "ALTER INDEX broadcast_messages_pkey SET (fillfactor = 50)",
    # A campaign whose messages have been kept long enough: since when they go, and since when all are gone.
    "ALTER TABLE campaigns ADD COLUMN retiring_at timestamptz, ADD COLUMN retired_at timestamptz",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("going back is not supported; restore a backup instead")
