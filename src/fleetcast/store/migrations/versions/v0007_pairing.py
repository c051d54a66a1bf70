"""Orders to link a device to a phone or to unlink it: what is wanted stands here, and the device's owner acts on it.

Codes are not stored. An update of a device that has no such order leaves the new index alone.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
ALTER TABLE devices
  ADD COLUMN pairing_order bigint NOT NULL DEFAULT 0, -- only grows: what is heard of an earlier order is known by it
  ADD COLUMN pairing_until timestamptz, -- somebody wants it linked, until then; NULL: nobody does
  ADD COLUMN pairing_phone text, -- of the phone that a code is typed into; NULL: it reads a QR code
  ADD COLUMN pairing_from device_state, -- what the device is again when nothing comes of it
  ADD COLUMN logout_ordered_at timestamptz -- it is to be unlinked at WhatsApp; NULL once that is done""",
    """
CREATE INDEX devices_link_orders ON devices (shard_id)
WHERE pairing_until IS NOT NULL OR logout_ordered_at IS NOT NULL""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("going back is not supported; restore a backup instead")
