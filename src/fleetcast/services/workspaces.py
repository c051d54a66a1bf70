"""Use cases of workspaces: make one, change one, find the one that is meant."""

from dataclasses import dataclass, replace
from datetime import datetime

from fleetcast.domain.access import Role, UserId
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.phone import country_name
from fleetcast.domain.schedule import parse_zone
from fleetcast.errors import Forbidden, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import paging
from fleetcast.services.naming import as_stored, checked_name
from fleetcast.store import audit, members, users, workspaces
from fleetcast.store.connection import Connection
from fleetcast.store.overview import now
from fleetcast.store.workspaces import Workspace

__all__ = [
    "OwnWorkspace",
    "Workspace",
    "checked_region",
    "create_own_workspace",
    "create_workspace",
    "edit_workspace",
    "find_workspace",
    "get_workspace",
    "list_workspaces",
    "own_workspaces",
    "workspace_now",
]


@dataclass(frozen=True, slots=True)
class OwnWorkspace:
    """A workspace of somebody, and what they are there."""

    id: WorkspaceId
    name: str
    time_zone: str
    region: str
    role: Role


def checked_region(name: str) -> str:
    """A country as two capital letters. Raises InvalidInput."""
    region = name.strip().upper()
    if country_name(region) == region:
        raise InvalidInput("region", f"'{name}' is not a known country; write two letters like MY or DE")
    return region


async def create_workspace(
    runtime: Runtime,
    name: str,
    *,
    time_zone: str = "UTC",
    region: str = "MY",
    owner: str | None = None,
    actor: str = "system",
) -> Workspace:
    """Make a workspace; `owner` is the address of a user, without it the installation's first user owns it.

    Raises InvalidInput for a name that is empty or taken, an unknown zone, country or owner.
    """
    name, zone, country = checked_name(name), parse_zone(time_zone).key, checked_region(region)
    async with runtime.db.transaction() as connection:
        if owner is None:
            first = await users.installation_owner(connection)
        elif (first := await users.by_email(connection, owner.strip())) is None:
            raise InvalidInput("owner", f"there is no user with the address {owner}")
        await _keep_free(connection, name)
        made = await workspaces.insert(connection, name, zone, country)
        if made is None:
            raise _taken(name)
        await audit.record(
            connection, made.id, actor, "workspace.create", name, after={"time_zone": zone, "region": country}
        )
        if first is not None:  # before the first start there is nobody
            await members.put(connection, made.id, first.id, Role.OWNER)
            after = {"role": Role.OWNER.value}
            await audit.record(connection, made.id, actor, "member.add", first.email, after=after)
    return made


async def create_own_workspace(
    runtime: Runtime, user_id: UserId, name: str, *, time_zone: str = "UTC", region: str = "MY"
) -> Workspace:
    """Make a further workspace, by the installation's owner. Raises Forbidden for everybody else, InvalidInput."""
    async with runtime.db.connection() as connection:
        user = await users.by_id(connection, user_id)
    if user is None or not user.installation_owner:
        raise Forbidden("Only the owner of this installation can make workspaces.")
    return await create_workspace(
        runtime, name, time_zone=time_zone, region=region, owner=user.email, actor=f"user:{user.email}"
    )


async def edit_workspace(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    *,
    name: str | None = None,
    time_zone: str | None = None,
    region: str | None = None,
    actor: str,
) -> Workspace:
    """Change what is given. Schedules already set keep their instants; numbers already read stay as they are.

    Raises InvalidInput for a name that is empty or taken, an unknown zone or country; NotFound.
    """
    async with runtime.db.transaction() as connection:
        before = await workspaces.by_id(connection, workspace_id, lock=True)
        if before is None:
            raise _unknown(workspace_id)
        after = replace(
            before,
            name=before.name if name is None else checked_name(name),
            time_zone=before.time_zone if time_zone is None else parse_zone(time_zone).key,
            region=before.region if region is None else checked_region(region),
        )
        if after.name != before.name:
            await _keep_free(connection, after.name, but=workspace_id)
        changed = [f for f in ("name", "time_zone", "region") if getattr(after, f) != getattr(before, f)]
        if changed:
            await workspaces.write(connection, after)
            old, new = ({f: getattr(each, f) for f in changed} for each in (before, after))
            await audit.record(connection, workspace_id, actor, "workspace.edit", after.name, old, new)
    return after


async def _keep_free(connection: Connection, name: str, *, but: WorkspaceId | None = None) -> None:
    """Nobody else gives this name until the transaction ends. Raises InvalidInput when it is taken."""
    await workspaces.await_names(connection)
    taken = await workspaces.by_name(connection, name)
    if taken is not None and taken.id != but:
        raise _taken(name)


def _taken(name: str) -> InvalidInput:
    return InvalidInput("name", f"a workspace called '{name}' already exists; choose another name")


def _unknown(workspace_id: WorkspaceId) -> NotFound:
    return NotFound(f"There is no workspace {workspace_id}.")


async def get_workspace(runtime: Runtime, workspace_id: WorkspaceId) -> Workspace:
    """The workspace with that id. Raises NotFound."""
    async with runtime.db.connection() as connection:
        found = await workspaces.by_id(connection, workspace_id)
    if found is None:
        raise _unknown(workspace_id)
    return found


async def workspace_now(runtime: Runtime, workspace_id: WorkspaceId) -> tuple[Workspace, datetime]:
    """The workspace, and what time it is by the database's clock. Raises NotFound."""
    async with runtime.db.connection() as connection:
        found, at = await workspaces.by_id(connection, workspace_id), await now(connection)
    if found is None:
        raise _unknown(workspace_id)
    return found, at


async def own_workspaces(
    runtime: Runtime, user_id: UserId, *, after: str | None = None, limit: int = 1_000
) -> tuple[list[OwnWorkspace], str | None]:
    """The workspaces of a user, oldest first; and where the next page begins."""
    start = paging.position(after, 0)
    async with runtime.db.connection() as connection:
        found = await workspaces.of_user(connection, user_id, start, limit + 1)
    told = [OwnWorkspace(w.id, w.name, w.time_zone, w.region, role) for w, role in found]
    return paging.cut(told, limit, lambda w: w.id)


async def find_workspace(runtime: Runtime, name: str | None) -> Workspace:
    """The workspace of that name, capitals aside; without a name the only one there is.

    Raises NotFound when there is none, InvalidInput when several exist and none was named.
    """
    async with runtime.db.connection() as connection:
        if name is not None:
            found = await workspaces.by_name(connection, as_stored(name))
            if found is None:
                raise NotFound(f"There is no workspace called '{name}'. `fleetcast workspace list` shows all.")
            return found
        every = await workspaces.every(connection)
    if not every:
        raise NotFound("There is no workspace yet. Make one with `fleetcast workspace create NAME`.")
    if len(every) > 1:
        names = ", ".join(w.name for w in every[:20]) + (", …" if len(every) > 20 else "")
        raise InvalidInput("workspace", f"there are several; name one with --workspace: {names}")
    return every[0]


async def list_workspaces(runtime: Runtime) -> list[Workspace]:
    """All workspaces, by name."""
    async with runtime.db.connection() as connection:
        return await workspaces.every(connection)
