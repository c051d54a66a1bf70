"""Users: the first one of an installation, further ones, and their passwords."""

import re
import unicodedata
from dataclasses import dataclass

from fleetcast.domain.access import Role, SessionId, UserId
from fleetcast.errors import InvalidInput, NotFound, Unauthenticated
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import passwords, tries
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
    "first_owner",
    "list_users",
    "new_user",
    "reset_password",
]

FIRST_WORKSPACE = "Main"
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")


@dataclass(frozen=True, slots=True)
class FirstOwner:
    """The owner that the first start made. The password is known here and nowhere else: show it once."""

    email: str
    password: str
    workspaces: tuple[str, ...]


def checked_email(email: str, field: str = "email") -> str:
    """An address as it is stored. Nothing is sent to it: it is how people sign in. Raises InvalidInput."""
    clean = unicodedata.normalize("NFC", email).strip()
    if not _EMAIL.fullmatch(clean) or not clean.isprintable():
        raise InvalidInput(field, "write an e-mail address, like ann@example.org")
    return clean


async def first_owner(runtime: Runtime) -> FirstOwner | None:
    """Make the owner of a new installation, once: a random password, a workspace if there is none yet, else all.

    None when there are users already. Safe when several processes start at once.
    """
    async with runtime.db.transaction() as connection:
        if await users.are_there_any(connection):
            return None
        password = passwords.random_password()
        user = await users.insert(
            connection,
            runtime.settings.owner_email,
            "Owner",
            await passwords.hashed(password),
            installation_owner=True,
        )
        assert user is not None
        known = await workspaces.every(connection)
        if not known:
            made = await workspaces.insert(connection, FIRST_WORKSPACE, "UTC", "MY")
            assert made is not None
            known = [made]
        for workspace in known:
            await members.put(connection, workspace.id, user.id, Role.OWNER)
            after = {"email": user.email, "role": Role.OWNER.value}
            await audit.record(connection, workspace.id, "system", "member.add", user.email, after=after)
    return FirstOwner(user.email, password, tuple(w.name for w in known))


async def new_user(connection: Connection, email: str, name: str, password_hash: str, *, field: str = "email") -> User:
    """A user in the caller's transaction. Raises InvalidInput for an address that is taken or none."""
    made = await users.insert(connection, checked_email(email, field), checked_name(name), password_hash)
    if made is None:
        raise InvalidInput(field, f"there is an account with the address {email.strip()} already")
    return made


async def list_users(runtime: Runtime) -> list[User]:
    """All users of the installation, by address. For who runs the machine, never for a member."""
    async with runtime.db.connection() as connection:
        return await users.every(connection)


async def change_password(
    runtime: Runtime, user_id: UserId, old: str, new: str, *, keep: SessionId | None = None
) -> None:
    """Another password, by who knows the old one. All other sessions end.

    Raises Unauthenticated for a wrong old one, InvalidInput for a weak new one, TooMany.
    """
    async with runtime.db.connection() as connection:
        user = await users.by_id(connection, user_id)
    if user is None:
        raise NotFound("There is no such user.")
    passwords.check_password(new, user.email, user.name, field="new_password")
    await tries.count(runtime, tries.of_account(user.email))
    right, _ = await passwords.verify(old, user.password_hash)
    if not right:
        raise Unauthenticated("The password is wrong.")
    await tries.forget(runtime, tries.of_account(user.email))
    await _write(runtime, user, new, f"user:{user.email}", "password.change", keep)


async def reset_password(runtime: Runtime, email: str, *, actor: str) -> str:
    """A new random password, by who runs the machine; all sessions end, a second factor stays. Raises NotFound."""
    async with runtime.db.connection() as connection:
        user = await users.by_email(connection, email.strip())
    if user is None:
        raise NotFound(f"There is no user with the address {email}. `fleetcast user list` shows all.")
    password = passwords.random_password()
    await _write(runtime, user, password, actor, "password.reset", None)
    return password


async def remove_second_factor(runtime: Runtime, email: str, *, actor: str) -> None:
    """Ask a user for no code any more, by who runs the machine: for a telephone that was lost with its recovery codes.

    All sessions end. Raises NotFound.
    """
    async with runtime.db.transaction() as connection:
        user = await users.by_email(connection, email.strip())
        if user is None:
            raise NotFound(f"There is no user with the address {email}. `fleetcast user list` shows all.")
        await users.write_second_factor(connection, user.id, None)
        await sessions.end_others(connection, user.id)
        await _note(connection, user, actor, "second_factor.off")


async def _write(runtime: Runtime, user: User, password: str, actor: str, action: str, keep: SessionId | None) -> None:
    stored = await passwords.hashed(password)
    async with runtime.db.transaction() as connection:
        await users.write_password(connection, user.id, stored)
        await sessions.end_others(connection, user.id, keep)
        await _note(connection, user, actor, action)
    await tries.forget(runtime, tries.of_account(user.email))


async def _note(connection: Connection, user: User, actor: str, action: str) -> None:
    for membership in await members.of_user(connection, user.id):
        await audit.record(connection, membership.workspace_id, actor, action, user.email)
