"""Members of workspaces, and invitations to become one."""

from dataclasses import dataclass
from datetime import datetime

from fleetcast.domain.access import Role, UserId
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store.connection import Connection, Row


@dataclass(frozen=True, slots=True)
class Member:
    """A user in a workspace."""

    user_id: UserId
    email: str
    name: str
    role: Role
    since: datetime
    seen_at: datetime | None
    """When a session of theirs was last used."""
    second_factor: bool


@dataclass(frozen=True, slots=True)
class Membership:
    """A workspace of a user."""

    workspace_id: WorkspaceId
    workspace: str
    role: Role


@dataclass(frozen=True, slots=True)
class Invitation:
    """An offer to become a member, to whoever holds the link."""

    id: int
    workspace_id: WorkspaceId
    workspace: str
    email: str
    role: Role
    invited_by: str
    created_at: datetime
    expires_at: datetime


_MEMBER = """
SELECT u.id AS user_id, u.email, u.name, m.role::text, m.since, u.second_factor_since IS NOT NULL AS second_factor,
  (SELECT max(s.seen_at) FROM sessions s WHERE s.user_id = u.id AND NOT s.waits_for_code) AS seen_at
FROM members m JOIN users u ON u.id = m.user_id WHERE m.workspace_id = $1"""


def _member(row: Row) -> Member:
    return Member(**{**dict(row), "user_id": UserId(row["user_id"]), "role": Role(row["role"])})


async def of_workspace(connection: Connection, workspace_id: WorkspaceId, after: int, limit: int) -> list[Member]:
    """Members of a workspace, those with an id above `after`, by id."""
    rows = await connection.fetch(
        f"{_MEMBER} AND m.user_id > $2 ORDER BY m.user_id LIMIT $3", workspace_id, after, limit
    )
    return [_member(r) for r in rows]


async def one(connection: Connection, workspace_id: WorkspaceId, user_id: UserId) -> Member | None:
    """A member of a workspace."""
    row = await connection.fetchrow(f"{_MEMBER} AND m.user_id = $2", workspace_id, user_id)
    return _member(row) if row else None


async def of_user(connection: Connection, user_id: UserId) -> list[Membership]:
    """The workspaces of a user, oldest first."""
    rows = await connection.fetch(
        """SELECT w.id, w.name, m.role::text FROM members m JOIN workspaces w ON w.id = m.workspace_id
        WHERE m.user_id = $1 ORDER BY w.id""",
        user_id,
    )
    return [Membership(WorkspaceId(r["id"]), r["name"], Role(r["role"])) for r in rows]


async def lock(connection: Connection, workspace_id: WorkspaceId) -> None:
    """Wait until nobody else changes the members of this workspace: there must always be an owner."""
    await connection.execute("SELECT 1 FROM workspaces WHERE id = $1 FOR NO KEY UPDATE", workspace_id)


async def put(connection: Connection, workspace_id: WorkspaceId, user_id: UserId, role: Role) -> bool:
    """Make a user a member. False when they are one already, whatever their role."""
    made: int | None = await connection.fetchval(
        """INSERT INTO members (workspace_id, user_id, role) VALUES ($1, $2, $3::text::member_role)
        ON CONFLICT DO NOTHING RETURNING 1""",
        workspace_id,
        user_id,
        role,
    )
    return made is not None


async def write_role(connection: Connection, workspace_id: WorkspaceId, user_id: UserId, role: Role) -> None:
    """Give a member another role."""
    await connection.execute(
        "UPDATE members SET role = $3::text::member_role WHERE workspace_id = $1 AND user_id = $2",
        workspace_id,
        user_id,
        role,
    )


async def delete(connection: Connection, workspace_id: WorkspaceId, user_id: UserId) -> None:
    """Take a member out of a workspace."""
    await connection.execute("DELETE FROM members WHERE workspace_id = $1 AND user_id = $2", workspace_id, user_id)


async def owners(connection: Connection, workspace_id: WorkspaceId) -> int:
    """How many owners a workspace has."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM members WHERE workspace_id = $1 AND role = 'owner'", workspace_id
    )
    return found


_INVITATION = """
SELECT i.id, i.workspace_id, w.name AS workspace, i.email, i.role::text, i.invited_by, i.created_at, i.expires_at
FROM invitations i JOIN workspaces w ON w.id = i.workspace_id
WHERE i.ended_at IS NULL AND i.expires_at > fleetcast_now()"""


def _invitation(row: Row) -> Invitation:
    return Invitation(**{**dict(row), "workspace_id": WorkspaceId(row["workspace_id"]), "role": Role(row["role"])})


async def invite(
    connection: Connection,
    workspace_id: WorkspaceId,
    email: str,
    role: Role,
    invited_by: str,
    token_sha256: bytes,
    days: int,
) -> Invitation:
    """A new invitation; earlier ones to the same address into the same workspace end."""
    await connection.execute(
        """UPDATE invitations SET ended_at = fleetcast_now()
        WHERE workspace_id = $1 AND lower(email) = lower($2) AND ended_at IS NULL""",
        workspace_id,
        email,
    )
    made: int = await connection.fetchval(
        """INSERT INTO invitations (workspace_id, email, role, invited_by, token_sha256, expires_at)
        VALUES ($1, $2, $3::text::member_role, $4, $5, fleetcast_now() + make_interval(days => $6)) RETURNING id""",
        workspace_id,
        email,
        role,
        invited_by,
        token_sha256,
        days,
    )
    row = await connection.fetchrow(f"{_INVITATION} AND i.id = $1", made)
    assert row is not None
    return _invitation(row)


async def invitations(connection: Connection, workspace_id: WorkspaceId, after: int, limit: int) -> list[Invitation]:
    """Invitations of a workspace that can still be accepted, those with an id above `after`, oldest first."""
    rows = await connection.fetch(
        f"{_INVITATION} AND i.workspace_id = $1 AND i.id > $2 ORDER BY i.id LIMIT $3", workspace_id, after, limit
    )
    return [_invitation(r) for r in rows]


async def invitation(connection: Connection, token_sha256: bytes, *, lock: bool = False) -> Invitation | None:
    """The invitation that a link stands for, if it can still be accepted."""
    suffix = " FOR UPDATE OF i" if lock else ""
    row = await connection.fetchrow(f"{_INVITATION} AND i.token_sha256 = $1{suffix}", token_sha256)
    return _invitation(row) if row else None


async def end_invitation(connection: Connection, workspace_id: WorkspaceId, invitation_id: int) -> str | None:
    """Accept or withdraw an invitation; its address, or None when there is no open one with that id."""
    email: str | None = await connection.fetchval(
        """UPDATE invitations SET ended_at = fleetcast_now()
        WHERE workspace_id = $1 AND id = $2 AND ended_at IS NULL AND expires_at > fleetcast_now() RETURNING email""",
        workspace_id,
        invitation_id,
    )
    return email


async def end_invitations_by(connection: Connection, workspace_id: WorkspaceId, invited_by: str) -> list[str]:
    """End all open invitations that somebody made; their addresses."""
    rows = await connection.fetch(
        """UPDATE invitations SET ended_at = fleetcast_now()
        WHERE workspace_id = $1 AND invited_by = $2 AND ended_at IS NULL AND expires_at > fleetcast_now()
        RETURNING email""",
        workspace_id,
        invited_by,
    )
    return [row["email"] for row in rows]
