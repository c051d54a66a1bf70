"""Workspaces: the tenants. Nothing of one is ever seen from another."""

from dataclasses import dataclass

from fleetcast.domain.access import Role, UserId
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store.connection import Connection, Row


@dataclass(frozen=True, slots=True)
class Workspace:
    """One tenant."""

    id: WorkspaceId
    name: str
    time_zone: str
    """IANA name; schedules and reports use it."""
    region: str
    """Two letters; reads phone numbers that are written without a country code."""
    attribute_keys: tuple[str, ...]
    """Every attribute that some lead has: what a text may name."""


_COLUMNS = "id, name, time_zone, region, attribute_keys"


def _workspace(row: Row) -> Workspace:
    return Workspace(WorkspaceId(row["id"]), row["name"], row["time_zone"], row["region"], tuple(row["attribute_keys"]))


async def insert(connection: Connection, name: str, time_zone: str, region: str) -> Workspace | None:
    """A new workspace, or None when the name is taken."""
    row = await connection.fetchrow(
        f"INSERT INTO workspaces (name, time_zone, region) VALUES ($1, $2, $3) "
        f"ON CONFLICT (name) DO NOTHING RETURNING {_COLUMNS}",
        name,
        time_zone,
        region,
    )
    return _workspace(row) if row else None


async def by_name(connection: Connection, name: str) -> Workspace | None:
    """The workspace of that name; capitals make no difference."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM workspaces WHERE lower(name) = lower($1) ORDER BY name <> $1, id LIMIT 1", name
    )
    return _workspace(row) if row else None


async def by_id(connection: Connection, workspace_id: WorkspaceId, *, lock: bool = False) -> Workspace | None:
    """The workspace with that id; `lock` until the transaction ends."""
    suffix = " FOR NO KEY UPDATE" if lock else ""
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM workspaces WHERE id = $1{suffix}", workspace_id)
    return _workspace(row) if row else None


async def of_user(connection: Connection, user_id: UserId, after: int, limit: int) -> list[tuple[Workspace, Role]]:
    """The workspaces of a user, those with an id above `after`, oldest first; and what they are there."""
    rows = await connection.fetch(
        """SELECT w.id, w.name, w.time_zone, w.region, w.attribute_keys, m.role::text
        FROM members m JOIN workspaces w ON w.id = m.workspace_id
        WHERE m.user_id = $1 AND w.id > $2 ORDER BY w.id LIMIT $3""",
        user_id,
        after,
        limit,
    )
    return [(_workspace(r), Role(r["role"])) for r in rows]


async def write(connection: Connection, workspace: Workspace) -> None:
    """Store what people may change of a workspace."""
    await connection.execute(
        "UPDATE workspaces SET name = $2, time_zone = $3, region = $4 WHERE id = $1",
        workspace.id,
        workspace.name,
        workspace.time_zone,
        workspace.region,
    )


async def await_names(connection: Connection) -> None:
    """Wait until no other process gives a workspace a name: capitals make no difference, which no index says."""
    await connection.execute("SELECT pg_advisory_xact_lock(7215306)")


async def every(connection: Connection) -> list[Workspace]:
    """All workspaces, by name. For the operator of the installation, never for a member."""
    return [_workspace(r) for r in await connection.fetch(f"SELECT {_COLUMNS} FROM workspaces ORDER BY name")]
