"""Members of a workspace: invite, accept, change a role, remove. A workspace always has an owner."""

from dataclasses import dataclass

from fleetcast.domain.access import Role, UserId
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import passwords, people
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
    "invite",
    "list_invitations",
    "list_members",
    "memberships",
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


def checked_role(role: str, field: str = "role") -> Role:
    """A role by its name. Raises InvalidInput."""
    try:
        return Role(role)
    except ValueError:
        raise InvalidInput(field, f"'{role[:40]}' is no role; there are {', '.join(Role)}") from None


async def list_members(runtime: Runtime, workspace_id: WorkspaceId) -> list[Member]:
    """All members, by address."""
    async with runtime.db.connection() as connection:
        return await members.of_workspace(connection, workspace_id)


async def memberships(runtime: Runtime, user_id: UserId) -> list[Membership]:
    """The workspaces of a user, oldest first."""
    async with runtime.db.connection() as connection:
        return await members.of_user(connection, user_id)


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


async def list_invitations(runtime: Runtime, workspace_id: WorkspaceId) -> list[Invitation]:
    """Invitations that can still be accepted."""
    async with runtime.db.connection() as connection:
        return await members.invitations(connection, workspace_id)


async def withdraw(runtime: Runtime, workspace_id: WorkspaceId, invitation_id: int, *, actor: str) -> None:
    """End an invitation. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        email = await members.end_invitation(connection, workspace_id, invitation_id)
        if email is None:
            raise NotFound(f"There is no open invitation {invitation_id} in this workspace.")
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
    await audit.record(connection, invitation.workspace_id, f"user:{email}", "member.accept", email, after=after)
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
    runtime: Runtime, workspace_id: WorkspaceId, user_id: UserId, role: Role, *, actor: str
) -> Member:
    """Give a member another role; all their sessions end. Raises NotFound, Conflict for the last owner."""
    async with runtime.db.transaction() as connection:
        member = await _locked(connection, workspace_id, user_id)
        if member.role is role:
            return member
        await _keep_an_owner(connection, workspace_id, member)
        await members.write_role(connection, workspace_id, user_id, role)
        await sessions.end_others(connection, user_id)
        before, after = {"role": member.role.value}, {"role": role.value}
        await audit.record(connection, workspace_id, actor, "member.role", member.email, before, after)
        changed = await members.one(connection, workspace_id, user_id)
        assert changed is not None
    return changed


async def remove_member(runtime: Runtime, workspace_id: WorkspaceId, user_id: UserId, *, actor: str) -> None:
    """Take somebody out of the workspace; all their sessions end. Raises NotFound, Conflict for the last owner."""
    async with runtime.db.transaction() as connection:
        member = await _locked(connection, workspace_id, user_id)
        await _keep_an_owner(connection, workspace_id, member)
        await members.delete(connection, workspace_id, user_id)
        await sessions.end_others(connection, user_id)
        before = {"role": member.role.value}
        await audit.record(connection, workspace_id, actor, "member.remove", member.email, before=before)


async def _locked(connection: Connection, workspace_id: WorkspaceId, user_id: UserId) -> Member:
    await members.lock(connection, workspace_id)
    member = await members.one(connection, workspace_id, user_id)
    if member is None:
        raise NotFound(f"There is no member {user_id} in this workspace.")
    return member


async def _keep_an_owner(connection: Connection, workspace_id: WorkspaceId, member: Member) -> None:
    if member.role is Role.OWNER and await members.owners(connection, workspace_id) == 1:
        raise Conflict(f"{member.email} is the only owner: make somebody else an owner first.")
