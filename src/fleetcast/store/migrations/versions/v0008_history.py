"""History: what was sent, delivered, read and failed over time, and senders that are to rest.

A campaign's counts are sums that know no time. The historian (`engine.historian`) writes their differences into slots
of a quarter of an hour, which every day and hour of every time zone is made of. Messages without a campaign, replies
and opt-outs have no such sums: their differences wait in `workspace_tallies` until it takes them. Nothing of it is
written for a message of a campaign.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COUNTS = ("sent", "delivered", "read", "failed", "skipped", "cancelled")
PEOPLE = ("replied", "opted_out")


def _columns(names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} bigint NOT NULL DEFAULT 0" for name in names)


STATEMENTS = (
    f"""
CREATE TABLE workspace_history (
  workspace_id bigint NOT NULL REFERENCES workspaces,
  slot timestamptz NOT NULL, -- when its quarter of an hour begins
  {_columns(COUNTS + PEOPLE)},
  PRIMARY KEY (workspace_id, slot)
) WITH (fillfactor = 70)""",
    # What of a campaign's sums is in the history already.
    f"""
CREATE TABLE history_marks (
  campaign_id bigint PRIMARY KEY REFERENCES campaigns ON DELETE CASCADE,
  {_columns(COUNTS)}
) WITH (fillfactor = 50)""",
    """
CREATE TABLE history_looks (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  looked_at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50)""",
    "INSERT INTO history_looks DEFAULT VALUES",
    "CREATE TABLE workspace_tallies (workspace_id bigint NOT NULL, n bigint NOT NULL, counter text NOT NULL)",
    "CREATE INDEX campaigns_ended ON campaigns (ended_at) WHERE ended_at IS NOT NULL",
    """
CREATE FUNCTION tally_single() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO workspace_tallies (workspace_id, counter, n)
  SELECT NEW.workspace_id, t.counter, t.n FROM (VALUES
    (OLD.status::text, -1, OLD.status <> NEW.status AND OLD.status IN ('sent', 'failed', 'skipped', 'cancelled')),
    (NEW.status::text, 1, OLD.status <> NEW.status AND NEW.status IN ('sent', 'failed', 'skipped', 'cancelled')),
    ('delivered', 1, OLD.delivery = 'none' AND NEW.delivery <> 'none'),
    ('read', 1, OLD.delivery <> 'read' AND NEW.delivery = 'read')) AS t (counter, n, moved)
  WHERE t.moved;
  RETURN NULL;
END $$""",
    # For a message of a campaign this is one look at whether it has one.
    """
CREATE TRIGGER single_tallies AFTER UPDATE OF status, delivery ON broadcast_messages FOR EACH ROW
WHEN (NEW.campaign_id IS NULL AND (OLD.status <> NEW.status OR OLD.delivery <> NEW.delivery))
EXECUTE FUNCTION tally_single()""",
    # Since when a sender is to own no shard, by a person's wish, and whose.
    "ALTER TABLE processes ADD COLUMN drained_at timestamptz, ADD COLUMN drained_by text",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("going back is not supported; restore a backup instead")
