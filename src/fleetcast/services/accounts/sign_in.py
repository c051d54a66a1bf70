"""Signing in and out: password, then the code of the second factor where one is set up, then a session.

A half-finished sign-in is a session that opens nothing; the whole one is a new token, so that no token known before
the last proof is worth anything after it.
"""

from dataclasses import dataclass

from fleetcast.domain.access import SessionId, UserId
from fleetcast.errors import NotFound, Unauthenticated
from fleetcast.runtime import Runtime
from fleetcast.services import paging
from fleetcast.services.accounts import account_log, passwords, people, second_factor, tries
from fleetcast.services.accounts.tokens import SESSION, new_token, token_hash
from fleetcast.services.installation_key import installation_key
from fleetcast.store import sessions, users
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


async def sign_in(
    runtime: Runtime, email: str, password: str, browser: Browser, *, before: str | None = None
) -> SignedIn:
    """Prove a password. `before`: the token that the browser had until now, which opens nothing afterwards.

    Raises Unauthenticated with the same words for an unknown address and a wrong password, TooMany after too many
    tries.
    """
    email = people.plain_email(email)
    await tries.count(runtime, tries.of_address(browser.address), free=tries.FREE_OF_ADDRESS)
    async with runtime.db.connection() as connection:
        user = await users.by_email(connection, email) if email.isprintable() else None
    account = tries.of_account(user.email if user else email)
    counted = await tries.count(runtime, account)
    right, better = await passwords.verify(password, user.password_hash if user else None)
    if user is None or not right:
        if user is not None and counted >= tries.FREE:
            await _note_blocked(runtime, user, "session.blocked", counted, browser)
        raise Unauthenticated(WRONG)
    await tries.forget(runtime, account, browser.address)
    await _sweep(runtime)
    async with runtime.db.transaction() as connection:
        fresh = await users.by_id(connection, user.id, lock=True)
        if fresh is None or fresh.password_hash != user.password_hash:
            raise Unauthenticated(WRONG)  # changed in this moment
        if better is not None:
            await users.write_password(connection, user.id, better, changed=False)
        if before is not None:
            await sessions.end_token(connection, token_hash(before))
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
    counted = await tries.count(runtime, tries.of_code(waiting.user_id))
    key = await installation_key(runtime)
    opened = None
    async with runtime.db.transaction() as connection:
        user = await users.by_id(connection, waiting.user_id, lock=True)
        if user is not None and await second_factor.accepts(connection, key, user, code):
            if not await sessions.end(connection, user.id, waiting.id):
                raise Lapsed("This sign-in was used already. Enter your password again.")
            opened = await _open(connection, user, browser, waits_for_code=False)
    if opened is None:
        if user is not None and counted >= tries.FREE:
            await _note_blocked(runtime, user, "second_factor.blocked", counted, browser)
        raise Unauthenticated("The code is wrong, or was used before.")
    await tries.forget(runtime, tries.of_code(waiting.user_id))
    return opened


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
        await account_log.note(connection, user, "session.start", after={"address": browser.address[:64]})
    return token


async def _note_blocked(runtime: Runtime, user: User, action: str, failures: int, browser: Browser) -> None:
    """Others than the person did this, or nobody knows who: the log says from where."""
    actor = f"address:{browser.address[:64]}"
    async with runtime.db.transaction() as connection:
        await account_log.note(connection, user, action, actor=actor, after={"failures": failures})


async def _sweep(runtime: Runtime) -> None:
    """Each statement commits by itself: held together with an account's rows they would wait for each other."""
    async with runtime.db.connection() as connection:
        await sessions.sweep(connection, idle_seconds=IDLE_SECONDS)
    await tries.sweep(runtime)


async def sign_out(runtime: Runtime, token: str) -> None:
    """End the session of a token; nothing happens when it is over already."""
    async with runtime.db.transaction() as connection:
        user_id = await sessions.end_token(connection, token_hash(token))
        user = None if user_id is None else await users.by_id(connection, user_id)
        if user is not None:
            await account_log.note(connection, user, "session.end")


async def list_sessions(
    runtime: Runtime, user_id: UserId, *, after: str | None = None, limit: int = 100
) -> tuple[list[Session], str | None]:
    """Where a user is signed in, newest first; and where the next page begins."""
    before = paging.position(after, paging.LAST_ID)
    async with runtime.db.connection() as connection:
        found = await sessions.of_user(connection, user_id, before, limit + 1, idle_seconds=IDLE_SECONDS)
    return paging.cut(found, limit, lambda s: s.id)


async def end_session(runtime: Runtime, user_id: UserId, session_id: SessionId) -> None:
    """Sign out one browser of a user. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        user = await users.by_id(connection, user_id)
        if user is None or not await sessions.end(connection, user_id, session_id):
            raise NotFound(f"There is no session {session_id}.")
        await account_log.note(connection, user, "session.end", after={"session": session_id})


async def sign_out_everywhere(runtime: Runtime, user_id: UserId, *, keep: SessionId | None = None) -> int:
    """End all sessions of a user, but one if it is named; how many there were."""
    async with runtime.db.transaction() as connection:
        user = await users.by_id(connection, user_id)
        if user is None:
            raise NotFound("There is no such user.")
        ended = await sessions.end_others(connection, user_id, keep)
        await account_log.note(connection, user, "session.end_all", after={"ended": ended})
    return ended
