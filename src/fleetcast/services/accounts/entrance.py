"""The one door: from the token of a session or a key to an `Access`. Every request passes here, pages and API alike."""

from dataclasses import dataclass

from fleetcast.domain.access import SCOPES, Access, SessionId, UserId
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import Forbidden, NotFound, Unauthenticated
from fleetcast.runtime import Runtime
from fleetcast.services.accounts.account_log import as_actor
from fleetcast.services.accounts.sign_in import IDLE_SECONDS
from fleetcast.services.accounts.tokens import KEY, SESSION, token_hash
from fleetcast.store import api_keys, members, sessions, users
from fleetcast.store.members import Membership

OVER = "This session is over. Sign in again."


def cookie_name(*, secure: bool) -> str:
    """The cookie of a session. With TLS its name keeps other hosts of the domain from planting one."""
    return "__Host-fleetcast" if secure else "fleetcast"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is signed in, and where they may go."""

    user_id: UserId
    session_id: SessionId
    email: str
    name: str
    installation_owner: bool
    memberships: tuple[Membership, ...]

    def access(self, workspace_id: WorkspaceId | None = None) -> Access:
        """What they may do in a workspace; without one, in their oldest. Raises NotFound where they are no member, as
        if there were no such workspace, Forbidden for who is a member nowhere.
        """
        if not self.memberships:
            raise Forbidden("You are not a member of any workspace. Ask an owner for an invitation.")
        found = next((m for m in self.memberships if workspace_id in (None, m.workspace_id)), None)
        if found is None:
            raise NotFound(f"There is no workspace {workspace_id}.")
        return Access(
            found.workspace_id,
            as_actor(self.email),
            SCOPES[found.role],
            user_id=self.user_id,
            session_id=self.session_id,
        )


async def visitor(runtime: Runtime, token: str | None) -> Visitor:
    """Who a session belongs to. Raises Unauthenticated for none, an unknown one and one that is over."""
    if not token or not token.startswith(SESSION):
        raise Unauthenticated("Sign in first.")
    async with runtime.db.connection() as connection:
        found = await sessions.by_token(connection, token_hash(token), idle_seconds=IDLE_SECONDS)
        user = await users.by_id(connection, found.user_id) if found else None
        if found is None or user is None:
            raise Unauthenticated(OVER)
        await sessions.touch(connection, found.id)
        places = await members.of_user(connection, user.id)
        if not places and await sessions.by_token(connection, token_hash(token), idle_seconds=IDLE_SECONDS) is None:
            raise Unauthenticated(OVER)  # they were removed just now, and their sessions with them
    return Visitor(user.id, found.id, user.email, user.name, user.installation_owner, tuple(places))


async def of_key(runtime: Runtime, token: str) -> Access:
    """What a key of the API may do. Raises Unauthenticated for an unknown, revoked or expired one."""
    found = None
    if token.startswith(KEY):
        async with runtime.db.connection() as connection:
            found = await api_keys.by_token(connection, token_hash(token))
            if found is not None:
                await api_keys.touch(connection, found.id)
    if found is None:
        raise Unauthenticated("The API key is not known, was revoked, or has expired.")
    return Access(
        found.workspace_id, f"key:{found.id} {found.name}", found.scopes, device_id=found.device_id, key_id=found.id
    )
