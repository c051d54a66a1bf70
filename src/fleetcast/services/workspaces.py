"""Use cases of workspaces: make one, find the one that is meant."""

from fleetcast.domain.access import Role
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.phone import country_name
from fleetcast.domain.schedule import parse_zone
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.naming import as_stored, checked_name
from fleetcast.store import audit, members, users, workspaces
from fleetcast.store.workspaces import Workspace

__all__ = [
    "Workspace",
    "checked_region",
    "create_workspace",
    "find_workspace",
    "get_workspace",
    "list_workspaces",
]


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
        taken = await workspaces.by_name(connection, name)
        made = None if taken else await workspaces.insert(connection, name, zone, country)
        if made is None:
            raise InvalidInput("name", f"a workspace called '{name}' already exists; choose another name")
        await audit.record(
            connection, made.id, actor, "workspace.create", name, after={"time_zone": zone, "region": country}
        )
        if first is not None:  # before the first start there is nobody
            await members.put(connection, made.id, first.id, Role.OWNER)
            after = {"role": Role.OWNER.value}
            await audit.record(connection, made.id, actor, "member.add", first.email, after=after)
    return made


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


async def get_workspace(runtime: Runtime, workspace_id: WorkspaceId) -> Workspace:
    """The workspace with that number. Raises NotFound."""
    async with runtime.db.connection() as connection:
        found = await workspaces.by_id(connection, workspace_id)
    if found is None:
        raise NotFound("There is no such workspace.")
    return found


async def list_workspaces(runtime: Runtime) -> list[Workspace]:
    """All workspaces, by name."""
    async with runtime.db.connection() as connection:
        return await workspaces.every(connection)
