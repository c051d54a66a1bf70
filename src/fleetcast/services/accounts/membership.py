"""Members of a workspace: invite, accept, change a role, remove. A workspace always has an owner."""

from dataclasses import dataclass

from fleetcast.domain.access import Role, UserId
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import Conflict, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import paging
from fleetcast.services.accounts import keys, passwords, people
from fleetcast.services.accounts.account_log import as_actor
from fleetcast.services.accounts.tokens import INVITATION, new_token, token_hash
from fleetcast.store import audit, members, sessions, users
from fleetcast.store.connection import Connection
from fleetcast.store.members import Invitation, Member, Membership

__all__ = [
    "Invitation",
    "Invited",
    "Member",
    "Membership",
    "accept_as",
    "accept_as_new",
    "add_member",
    "change_role",
    "get_invitation",
    "get_member",
    "invite",
    "list_invitations",
    "list_members",
    "remove_member",
    "show_invitation",
    "withdraw",
]

INVITATION_DAYS = 7


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation just made. The token is known here and nowhere else: the link is shown once."""

    invitation: Invitation
    token: str


async def list_members(
    runtime: Runtime, workspace_id: WorkspaceId, *, after: str | None = None, limit: int = 1_000
) -> tuple[list[Member], str | None]:
    """Members, by the order in which they got their accounts; and where the next page begins."""
    start = paging.position(after, 0)
    async with runtime.db.connection() as connection:
        found = await members.of_workspace(connection, workspace_id, start, limit + 1)
    return paging.cut(found, limit, lambda m: m.user_id)


async def get_member(runtime: Runtime, workspace_id: WorkspaceId, user_id: UserId) -> Member:
    """One member. Raises NotFound."""
    async with runtime.db.connection() as connection:
        found = await members.one(connection, workspace_id, user_id)
    if found is None:
        raise _no_member(user_id)
    return found


async def invite(runtime: Runtime, workspace_id: WorkspaceId, email: str, role: Role, *, actor: str) -> Invited:
    """Invite an address for seven days; an earlier invitation to it ends. Raises InvalidInput, Conflict (a member)."""
    clean = people.checked_email(email)
    token = new_token(INVITATION)
    async with runtime.db.transaction() as connection:
        await members.lock(connection, workspace_id)
        known = await users.by_email(connection, clean)
        if known is not None and await members.one(connection, workspace_id, known.id):
            raise Conflict(f"{clean} is a member already.")
        made = await members.invite(connection, workspace_id, clean, role, actor, token_hash(token), INVITATION_DAYS)
        await audit.record(connection, workspace_id, actor, "member.invite", clean, after={"role": role.value})
    return Invited(made, token)


async def list_invitations(
    runtime: Runtime, workspace_id: WorkspaceId, *, after: str | None = None, limit: int = 1_000
) -> tuple[list[Invitation], str | None]:
    """Invitations that can still be accepted, oldest first; and where the next page begins."""
    start = paging.position(after, 0)
    async with runtime.db.connection() as connection:
        found = await members.invitations(connection, workspace_id, start, limit + 1)
    return paging.cut(found, limit, lambda i: i.id)


async def get_invitation(runtime: Runtime, workspace_id: WorkspaceId, invitation_id: int) -> Invitation:
    """An invitation that can still be accepted. Raises NotFound."""
    async with runtime.db.connection() as connection:
        found = await members.invitations(connection, workspace_id, invitation_id - 1, 1)
    if not found or found[0].id != invitation_id:
        raise _no_invitation(invitation_id)
    return found[0]


async def withdraw(runtime: Runtime, workspace_id: WorkspaceId, invitation_id: int, *, actor: str) -> None:
    """End an invitation. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        email = await members.end_invitation(connection, workspace_id, invitation_id)
        if email is None:
            raise _no_invitation(invitation_id)
        await audit.record(connection, workspace_id, actor, "member.withdraw", email)


async def show_invitation(runtime: Runtime, token: str) -> tuple[Invitation, bool]:
    """The invitation behind a link, and whether its address has an account. Raises NotFound."""
    async with runtime.db.connection() as connection:
        found = await members.invitation(connection, token_hash(token))
        known = found is not None and await users.by_email(connection, found.email) is not None
    if found is None:
        raise _gone()
    return found, known


async def accept_as_new(runtime: Runtime, token: str, name: str, password: str) -> Membership:
    """Accept with a new account. Raises NotFound, InvalidInput; Conflict when the address has an account, whose owner
    must sign in to accept.
    """
    found, known = await show_invitation(runtime, token)
    if known:
        raise Conflict(f"There is an account with the address {found.email}: sign in, then open the link again.")
    passwords.check_password(password, found.email, name)
    stored = await passwords.hashed(password)
    async with runtime.db.transaction() as connection:
        await members.lock(connection, found.workspace_id)
        still = await members.invitation(connection, token_hash(token), lock=True)
        if still is None:
            raise _gone()
        user = await people.new_user(connection, still.email, name, stored)
        return await _accept(connection, still, user.id, user.email)


async def accept_as(runtime: Runtime, token: str, user_id: UserId) -> Membership:
    """Accept by who is signed in, if the invitation is theirs. Raises NotFound, Conflict."""
    found, _ = await show_invitation(runtime, token)
    async with runtime.db.transaction() as connection:
        await members.lock(connection, found.workspace_id)
        still = await members.invitation(connection, token_hash(token), lock=True)
        user = await users.by_id(connection, user_id)
        if still is None or user is None:
            raise _gone()
        if user.email.lower() != still.email.lower():
            raise Conflict(f"This invitation is for {still.email}, and you are signed in as {user.email}.")
        return await _accept(connection, still, user.id, user.email)


async def _accept(connection: Connection, invitation: Invitation, user_id: UserId, email: str) -> Membership:
    await members.end_invitation(connection, invitation.workspace_id, invitation.id)
    if not await members.put(connection, invitation.workspace_id, user_id, invitation.role):
        raise Conflict(f"{email} is a member of {invitation.workspace} already.")
    after = {"role": invitation.role.value, "invited_by": invitation.invited_by}
    await audit.record(connection, invitation.workspace_id, as_actor(email), "member.accept", email, after=after)
    return Membership(invitation.workspace_id, invitation.workspace, invitation.role)


def _gone() -> NotFound:
    return NotFound("This invitation is over: it was used, withdrawn, or is older than seven days. Ask for a new one.")


async def add_member(
    runtime: Runtime, workspace_id: WorkspaceId, email: str, name: str, role: Role, *, actor: str
) -> str | None:
    """Make somebody a member without an invitation, by who runs the machine: the password of a new account, None when
    the address has one. Raises InvalidInput, Conflict for a member.
    """
    clean = people.checked_email(email)
    password = passwords.random_password()
    stored = await passwords.hashed(password)
    async with runtime.db.transaction() as connection:
        await members.lock(connection, workspace_id)
        known = await users.by_email(connection, clean)
        user = known or await people.new_user(connection, clean, name, stored)
        if not await members.put(connection, workspace_id, user.id, role):
            raise Conflict(f"{user.email} is a member already.")
        await audit.record(connection, workspace_id, actor, "member.add", user.email, after={"role": role.value})
    return None if known else password


async def change_role(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    user_id: UserId,
    role: Role,
    *,
    revoke_keys: bool = False,
    actor: str,
) -> Member:
    """Give a member another role. All their sessions and their open invitations of others end; the keys that they made
    too, if that is wished. Raises NotFound, Conflict for the last owner.
    """
    async with runtime.db.transaction() as connection:
        member = await _locked(connection, workspace_id, user_id)
        if member.role is not role:
            await _keep_an_owner(connection, workspace_id, member)
            await members.write_role(connection, workspace_id, user_id, role)
            before, after = {"role": member.role.value}, {"role": role.value}
            await audit.record(connection, workspace_id, actor, "member.role", member.email, before, after)
            await _disarm(connection, workspace_id, member, revoke_keys=revoke_keys, actor=actor)
    return await get_member(runtime, workspace_id, user_id)


async def remove_member(
    runtime: Runtime, workspace_id: WorkspaceId, user_id: UserId, *, revoke_keys: bool = False, actor: str
) -> None:
    """Take somebody out of the workspace. All their sessions and their open invitations of others end; the keys that
    they made too, if that is wished. Raises NotFound, Conflict for the last owner.
    """
    async with runtime.db.transaction() as connection:
        member = await _locked(connection, workspace_id, user_id)
        await _keep_an_owner(connection, workspace_id, member)
        await members.delete(connection, workspace_id, user_id)
        before = {"role": member.role.value}
        await audit.record(connection, workspace_id, actor, "member.remove", member.email, before=before)
        await _disarm(connection, workspace_id, member, revoke_keys=revoke_keys, actor=actor)


async def _disarm(
    connection: Connection, workspace_id: WorkspaceId, member: Member, *, revoke_keys: bool, actor: str
) -> None:
    """What they could come back by."""
    await sessions.end_others(connection, member.user_id)
    for email in await members.end_invitations_by(connection, workspace_id, as_actor(member.email)):
        await audit.record(connection, workspace_id, actor, "member.withdraw", email)
    if revoke_keys:
        await keys.revoke_made_by(connection, workspace_id, member.email, actor=actor)


async def _locked(connection: Connection, workspace_id: WorkspaceId, user_id: UserId) -> Member:
    await members.lock(connection, workspace_id)
    member = await members.one(connection, workspace_id, user_id)
    if member is None:
        raise _no_member(user_id)
    return member


async def _keep_an_owner(connection: Connection, workspace_id: WorkspaceId, member: Member) -> None:
    if member.role is Role.OWNER and await members.owners(connection, workspace_id) == 1:
        raise Conflict(f"{member.email} is the only owner: make somebody else an owner first.")


def _no_member(user_id: UserId) -> NotFound:
    return NotFound(f"There is no member {user_id} in this workspace.")


def _no_invitation(invitation_id: int) -> NotFound:
    return NotFound(f"There is no open invitation {invitation_id} in this workspace.")
