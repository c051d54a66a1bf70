"""What happened to an account, written into the audit log of each workspace that its owner is a member of.

Separate because everything that concerns a person needs it, and because an account belongs to no workspace.
"""

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store import audit, members
from fleetcast.store.connection import Connection
from fleetcast.store.users import User


def as_actor(email: str) -> str:
    """A person as the log names them."""
    return f"user:{email}"


async def note(
    connection: Connection,
    user: User,
    action: str,
    *,
    actor: str | None = None,
    before: audit.Facts | None = None,
    after: audit.Facts | None = None,
) -> None:
    """Append it in the caller's transaction; `actor` is the person, if nobody else is named.

    Who is a member nowhere has it noted for the installation as a whole.
    """
    places: list[WorkspaceId | None] = [m.workspace_id for m in await members.of_user(connection, user.id)]
    for place in places or [None]:
        await audit.record(connection, place, actor or as_actor(user.email), action, user.email, before, after)
