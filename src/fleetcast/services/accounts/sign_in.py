"""Signing in and out: password, then the code of the second factor where one is set up, then a session.

A half-finished sign-in is a session that opens nothing; the whole one is a new token, so that no token known before
the last proof is worth anything after it.
"""

from dataclasses import dataclass

from fleetcast.domain.access import SessionId, UserId
from fleetcast.errors import NotFound, Unauthenticated
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import passwords, second_factor, tries
from fleetcast.services.accounts.tokens import SESSION, new_token, token_hash
from fleetcast.store import audit, members, sessions, users
from fleetcast.store.connection import Connection
from fleetcast.store.sessions import Session
from fleetcast.store.users import User

__all__ = [
    "IDLE_SECONDS",
    "SESSION_SECONDS",
    "Browser",
    "Lapsed",
    "Session",
    "SignedIn",
    "end_session",
    "enter_code",
    "list_sessions",
    "sign_in",
    "sign_out",
    "sign_out_everywhere",
]

SESSION_SECONDS = 30 * 86_400.0
IDLE_SECONDS = 7 * 86_400.0
"""A session that was not used for so long is over."""
CODE_SECONDS = 600.0
"""To enter the code after the password."""
WRONG = "E-mail address or password is wrong."


@dataclass(frozen=True, slots=True)
class Browser:
    """Where somebody signs in from, as far as a request says."""

    name: str
    """The User-Agent header, shown in the list of sessions."""
    address: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a sign-in came to."""

    token: str
    needs_code: bool
    """The token opens nothing yet: hand it to `enter_code` with the code."""


class Lapsed(Unauthenticated):
    """No code helps: the password has to be proved again."""


async def sign_in(runtime: Runtime, email: str, password: str, browser: Browser) -> SignedIn:
    """Prove a password. Raises Unauthenticated with the same words for an unknown address and a wrong password,
    TooMany after too many tries.
    """
    email = email.strip()[:320]
    await tries.count(runtime, tries.of_account(email))
    await tries.count(runtime, tries.of_address(browser.address), free=tries.FREE_OF_ADDRESS)
    async with runtime.db.connection() as connection:
        user = await users.by_email(connection, email) if email.isprintable() else None
    right, better = await passwords.verify(password, user.password_hash if user else None)
    if user is None or not right:
        raise Unauthenticated(WRONG)
    await tries.forget(runtime, tries.of_account(email), browser.address)
    async with runtime.db.transaction() as connection:
        await sessions.sweep(connection, idle_seconds=IDLE_SECONDS)
        await users.sweep_tries(connection)
        fresh = await users.by_id(connection, user.id, lock=True)
        if fresh is None or fresh.password_hash != user.password_hash:
            raise Unauthenticated(WRONG)  # changed in this moment
        if better is not None:
            await users.write_password(connection, user.id, better, changed=False)
        token = await _open(connection, fresh, browser, waits_for_code=fresh.needs_code)
    return SignedIn(token, fresh.needs_code)


async def enter_code(runtime: Runtime, pending: str, code: str, browser: Browser) -> str:
    """Finish a sign-in with a code of the second factor or a recovery code: the token of the session.

    Raises Unauthenticated for a wrong or used code, Lapsed for a sign-in that took too long, TooMany after too many
    tries.
    """
    async with runtime.db.connection() as connection:
        waiting = await sessions.by_token(
            connection, token_hash(pending), idle_seconds=IDLE_SECONDS, waits_for_code=True
        )
    if waiting is None:
        raise Lapsed("This sign-in took too long. Enter your password again.")
    await tries.count(runtime, tries.of_code(waiting.user_id))
    seal = await second_factor.seal_of(runtime)
    async with runtime.db.transaction() as connection:
        user = await users.by_id(connection, waiting.user_id, lock=True)
        if user is None or not await second_factor.accepts(connection, seal, user, code):
            raise Unauthenticated("The code is wrong, or was used before.")
        if not await sessions.end(connection, user.id, waiting.id):
            raise Lapsed("This sign-in was used already. Enter your password again.")
        token = await _open(connection, user, browser, waits_for_code=False)
    await tries.forget(runtime, tries.of_code(waiting.user_id))
    return token


async def _open(connection: Connection, user: User, browser: Browser, *, waits_for_code: bool) -> str:
    token = new_token(SESSION)
    await sessions.insert(
        connection,
        user.id,
        token_hash(token),
        seconds=CODE_SECONDS if waits_for_code else SESSION_SECONDS,
        waits_for_code=waits_for_code,
        browser=browser.name[:200],
        address=browser.address[:64],
    )
    if not waits_for_code:
        await note(connection, user, "session.start", {"address": browser.address[:64]})
    return token


async def note(connection: Connection, user: User, action: str, after: audit.Facts | None = None) -> None:
    """Write into the log of each workspace of a user what happened to their account."""
    for membership in await members.of_user(connection, user.id):
        await audit.record(connection, membership.workspace_id, f"user:{user.email}", action, user.email, after=after)


async def sign_out(runtime: Runtime, token: str) -> None:
    """End the session of a token; nothing happens when it is over already."""
    async with runtime.db.transaction() as connection:
        for half in (False, True):
            found = await sessions.by_token(
                connection, token_hash(token), idle_seconds=IDLE_SECONDS, waits_for_code=half
            )
            if found is not None and await sessions.end(connection, found.user_id, found.id) and not half:
                user = await users.by_id(connection, found.user_id)
                if user is not None:
                    await note(connection, user, "session.end")


async def list_sessions(runtime: Runtime, user_id: UserId) -> list[Session]:
    """Where a user is signed in, last used first."""
    async with runtime.db.connection() as connection:
        return await sessions.of_user(connection, user_id, idle_seconds=IDLE_SECONDS)


async def end_session(runtime: Runtime, user_id: UserId, session_id: SessionId) -> None:
    """Sign out one browser of a user. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        user = await users.by_id(connection, user_id)
        if user is None or not await sessions.end(connection, user_id, session_id):
            raise NotFound(f"There is no session {session_id}.")
        await note(connection, user, "session.end", {"session": session_id})


async def sign_out_everywhere(runtime: Runtime, user_id: UserId, *, keep: SessionId | None = None) -> int:
    """End all sessions of a user, but one if it is named; how many there were."""
    async with runtime.db.transaction() as connection:
        user = await users.by_id(connection, user_id)
        if user is None:
            raise NotFound("There is no such user.")
        ended = await sessions.end_others(connection, user_id, keep)
        await note(connection, user, "session.end_all", {"ended": ended})
    return ended
