"""Users: the first one of an installation, further ones, their names and their passwords."""

import re
import unicodedata
from dataclasses import dataclass

from fleetcast.domain.access import Role, SessionId, UserId
from fleetcast.errors import Forbidden, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import account_log, keys, passwords, tries
from fleetcast.services.accounts.proof import proved, unchanged
from fleetcast.services.naming import checked_name
from fleetcast.store import audit, members, sessions, users, workspaces
from fleetcast.store.connection import Connection
from fleetcast.store.users import User

__all__ = [
    "FIRST_WORKSPACE",
    "FirstOwner",
    "User",
    "change_password",
    "checked_email",
    "find_user",
    "first_owner",
    "get_user",
    "list_users",
    "must_own_installation",
    "new_user",
    "plain_email",
    "remove_second_factor",
    "rename",
    "reset_password",
]

FIRST_WORKSPACE = "Main"
LONGEST_EMAIL = 320
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")


@dataclass(frozen=True, slots=True)
class FirstOwner:
    """The owner that the first start made."""

    email: str
    password: str | None
    """Known here and nowhere else: show it once. None for somebody who had an account before."""
    workspaces: tuple[str, ...]


def plain_email(email: str) -> str:
    """An address in the form in which they are stored and looked up."""
    return unicodedata.normalize("NFC", email[:LONGEST_EMAIL]).strip()


def checked_email(email: str, field: str = "email") -> str:
    """An address as it is stored. Nothing is sent to it: it is how people sign in. Raises InvalidInput."""
    clean = plain_email(email)
    if len(email) > LONGEST_EMAIL or not _EMAIL.fullmatch(clean) or not clean.isprintable():
        raise InvalidInput(field, "write an e-mail address, like ann@example.org")
    return clean


async def first_owner(runtime: Runtime) -> FirstOwner | None:
    """Make the owner of a new installation, once: a random password, a workspace if there is none yet, else all.

    None when there is an owner already. Safe when several processes start at once.
    """
    email = checked_email(runtime.settings.owner_email, "FLEETCAST_OWNER_EMAIL")
    async with runtime.db.connection() as connection:
        if await users.installation_owner(connection) is not None:
            return None
    password = passwords.random_password()
    stored = await passwords.hashed(password)
    async with runtime.db.transaction() as connection:
        await users.await_first_owner(connection)
        if await users.installation_owner(connection) is not None:
            return None
        made = await users.insert(connection, email, "Owner", stored)
        user = made or await users.by_email(connection, email)
        assert user is not None
        await users.own_installation(connection, user.id)
        known = await workspaces.every(connection)
        if not known:
            first = await workspaces.insert(connection, FIRST_WORKSPACE, "UTC", "MY")
            assert first is not None
            await audit.record(connection, first.id, "system", "workspace.create", first.name)
            known = [first]
        for workspace in known:
            await members.lock(connection, workspace.id)
            if not await members.put(connection, workspace.id, user.id, Role.OWNER):
                await members.write_role(connection, workspace.id, user.id, Role.OWNER)
            after = {"role": Role.OWNER.value}
            await audit.record(connection, workspace.id, "system", "member.add", user.email, after=after)
    return FirstOwner(user.email, password if made else None, tuple(w.name for w in known))


async def new_user(connection: Connection, email: str, name: str, password_hash: str, *, field: str = "email") -> User:
    """A user in the caller's transaction. Raises InvalidInput for an address that is taken or none."""
    clean = checked_email(email, field)
    made = await users.insert(connection, clean, checked_name(name), password_hash)
    if made is None:
        raise InvalidInput(field, f"there is an account with the address {clean} already")
    return made


async def get_user(runtime: Runtime, user_id: UserId) -> User:
    """One user. Raises NotFound."""
    async with runtime.db.connection() as connection:
        found = await users.by_id(connection, user_id)
    if found is None:
        raise NotFound("There is no such user.")
    return found


async def find_user(runtime: Runtime, email: str) -> User:
    """The user with that address. For who runs the machine, never for a member. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        return await _of_address(connection, email)


async def must_own_installation(runtime: Runtime, user_id: UserId | None) -> None:
    """Raises Forbidden for everybody but the owner of the installation: for what shows or moves all workspaces."""
    if user_id is not None:
        async with runtime.db.connection() as connection:
            user = await users.by_id(connection, user_id)
        if user is not None and user.installation_owner:
            return
    raise Forbidden("This is about all workspaces: only the owner of this installation may.")


async def list_users(runtime: Runtime) -> list[User]:
    """All users of the installation, by address. For who runs the machine, never for a member."""
    async with runtime.db.connection() as connection:
        return await users.every(connection)


async def rename(runtime: Runtime, user_id: UserId, name: str) -> User:
    """Call a user something else, by themselves. Raises InvalidInput, NotFound."""
    clean = checked_name(name)
    async with runtime.db.transaction() as connection:
        user = await users.by_id(connection, user_id, lock=True)
        if user is None:
            raise NotFound("There is no such user.")
        await users.write_name(connection, user_id, clean)
        await account_log.note(connection, user, "user.rename", before={"name": user.name}, after={"name": clean})
    return await get_user(runtime, user_id)


async def change_password(
    runtime: Runtime, user_id: UserId, old: str, new: str, *, keep: SessionId | None = None, revoke_keys: bool = False
) -> None:
    """Another password, by who knows the old one. All other sessions end; keys they made too, if that is wished.

    Raises InvalidInput for a wrong old one and a weak new one, TooMany.
    """
    known = await get_user(runtime, user_id)
    passwords.check_password(new, known.email, known.name, field="new_password")
    user = await proved(runtime, user_id, old)
    stored = await passwords.hashed(new)
    async with runtime.db.transaction() as connection:
        await unchanged(connection, user)
        await _write_password(connection, user, stored, keep)
        await account_log.note(connection, user, "password.change")
        if revoke_keys:
            for membership in await members.of_user(connection, user_id):
                actor = account_log.as_actor(user.email)
                await keys.revoke_made_by(connection, membership.workspace_id, user.email, actor=actor)


async def reset_password(runtime: Runtime, email: str, *, actor: str) -> str:
    """A new random password, by who runs the machine; all sessions end, a second factor stays. Raises NotFound."""
    password = passwords.random_password()
    stored = await passwords.hashed(password)
    async with runtime.db.transaction() as connection:
        user = await _of_address(connection, email)
        await _write_password(connection, user, stored, None)
        await account_log.note(connection, user, "password.reset", actor=actor)
    await tries.forget(runtime, tries.of_account(user.email))
    return password


async def remove_second_factor(runtime: Runtime, email: str, *, actor: str) -> None:
    """Ask a user for no code any more, by who runs the machine: for a telephone that was lost with its recovery codes.

    All sessions end. Raises NotFound.
    """
    async with runtime.db.transaction() as connection:
        user = await _of_address(connection, email)
        await users.write_second_factor(connection, user.id, None)
        await sessions.end_others(connection, user.id)
        await account_log.note(connection, user, "second_factor.off", actor=actor)
    await tries.forget(runtime, tries.of_code(user.id))


async def _of_address(connection: Connection, email: str) -> User:
    found = await users.by_email(connection, plain_email(email))
    user = None if found is None else await users.by_id(connection, found.id, lock=True)
    if user is None:
        raise NotFound(f"There is no user with the address {email}. `fleetcast user list` shows all.")
    return user


async def _write_password(connection: Connection, user: User, stored: str, keep: SessionId | None) -> None:
    await users.write_password(connection, user.id, stored)
    await sessions.end_others(connection, user.id, keep)
