"""Who may be written to while something is open: answers from a restricted device, and one person at a time in doubt.

A restricted device whose connection stands still answers people who wrote. What is in doubt is found by device and
person: a linked device begins nothing more for somebody of whom it is not known whether the last message arrived.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE devices ADD COLUMN answers boolean NOT NULL DEFAULT false",  # while it is restricted
    """
ALTER TABLE devices ADD COLUMN may_answer boolean GENERATED ALWAYS AS (
  (state = 'online' OR state = 'restricted' AND answers) AND paused_at IS NULL AND deleted_at IS NULL) STORED""",
    "DROP INDEX broadcast_messages_in_doubt",
    """
CREATE INDEX broadcast_messages_in_doubt ON broadcast_messages (device_id, recipient)
  WHERE in_doubt_since IS NOT NULL""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("going back is not supported; restore a backup instead")
