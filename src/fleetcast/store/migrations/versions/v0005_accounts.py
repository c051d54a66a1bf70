"""Accounts: who may do what in which workspace, how they prove who they are, and what was asked for by whom.

Nothing here can be used by who reads it: passwords are argon2 hashes, tokens of sessions, keys and invitations SHA-256,
secrets of the second factor sealed with a key outside the database.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE installation ADD COLUMN key_check bytea",  # recognises the key that secrets are sealed with
    "DROP TABLE members",  # of before there were users; nothing ever wrote to it
    """
CREATE TABLE users (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  created_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  password_changed_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  second_factor_since timestamptz, -- from then on a code is asked for
  second_factor_step bigint, -- time step of the last code that was used: each works once
  installation_owner boolean NOT NULL DEFAULT false, -- may make workspaces
  email text NOT NULL,
  name text NOT NULL,
  password_hash text NOT NULL,
  second_factor bytea -- sealed
)""",
    "CREATE UNIQUE INDEX users_email ON users (lower(email))",
    """
CREATE TABLE recovery_codes (
  user_id bigint NOT NULL REFERENCES users,
  used_at timestamptz,
  code_sha256 bytea NOT NULL,
  PRIMARY KEY (user_id, code_sha256)
)""",
    """
CREATE TABLE members (
  workspace_id bigint NOT NULL REFERENCES workspaces,
  user_id bigint NOT NULL REFERENCES users,
  since timestamptz NOT NULL DEFAULT fleetcast_now(),
  role member_role NOT NULL,
  PRIMARY KEY (workspace_id, user_id)
)""",
    "CREATE INDEX members_user ON members (user_id)",
    """
CREATE TABLE invitations (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL REFERENCES workspaces,
  created_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  expires_at timestamptz NOT NULL,
  ended_at timestamptz, -- accepted or withdrawn
  role member_role NOT NULL,
  email text NOT NULL,
  invited_by text NOT NULL,
  token_sha256 bytea NOT NULL UNIQUE
)""",
    "CREATE INDEX invitations_workspace ON invitations (workspace_id, id)",
    """
CREATE TABLE sessions (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id bigint NOT NULL REFERENCES users,
  created_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  seen_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  expires_at timestamptz NOT NULL,
  waits_for_code boolean NOT NULL, -- the password was right; until the code is, this opens nothing
  browser text NOT NULL,
  address text NOT NULL,
  token_sha256 bytea NOT NULL UNIQUE
)""",
    "CREATE INDEX sessions_user ON sessions (user_id)",
    """
CREATE TABLE api_keys (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id bigint NOT NULL REFERENCES workspaces,
  device_id bigint, -- works for this device only
  created_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  expires_at timestamptz,
  used_at timestamptz,
  revoked_at timestamptz,
  name text NOT NULL,
  created_by text NOT NULL,
  ending text NOT NULL, -- the last four characters, by which people tell keys apart
  scopes text[] NOT NULL CHECK (scopes <@ ARRAY['read', 'send', 'manage'] AND cardinality(scopes) > 0),
  token_sha256 bytea NOT NULL UNIQUE,
  FOREIGN KEY (workspace_id, device_id) REFERENCES devices (workspace_id, id)
)""",
    "CREATE INDEX api_keys_workspace ON api_keys (workspace_id, id)",
    "CREATE UNIQUE INDEX api_keys_name ON api_keys (workspace_id, lower(name)) WHERE revoked_at IS NULL",
    # Counted before a password or code is looked at, so that tries side by side are counted too.
    """
CREATE TABLE sign_in_failures (
  subject text PRIMARY KEY, -- of an account, its second factor or an address; hashed where it names a person
  failures integer NOT NULL,
  last_at timestamptz NOT NULL,
  blocked_until timestamptz
)""",
    """
CREATE TABLE idempotency_keys (
  workspace_id bigint NOT NULL REFERENCES workspaces,
  started_at timestamptz NOT NULL DEFAULT fleetcast_now(),
  finished_at timestamptz,
  status smallint, -- of the answer
  actor text NOT NULL,
  key text NOT NULL,
  media_type text,
  location text,
  fingerprint bytea NOT NULL, -- keyed hash of what was asked for; behind it, of a content that was read as a stream
  body bytea, -- sealed: an answer may show a secret, once
  PRIMARY KEY (workspace_id, actor, key)
)""",
    "CREATE INDEX idempotency_keys_age ON idempotency_keys (started_at)",
    "CREATE INDEX audit_workspace ON audit (workspace_id, id)",
    "CREATE TRIGGER never_emptied BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("going back is not supported; restore a backup instead")
