"""People with accounts, and what tests do with them: sign in, read the clock of the database, read the log."""

import io
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pyotp

from fleetcast.domain.access import Role, SessionId, UserId
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import Unauthenticated
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import entrance, membership, second_factor, sign_in
from fleetcast.services.accounts.sign_in import Browser
from fleetcast.store import overview, users

HERE = Browser("Firefox", "192.0.2.1")
ELSEWHERE = Browser("Chrome", "198.51.100.7")
WRONG = "wrong horse, wrong stable"
GOOD = "kettle orbit mango fjord"
NEXT_CODE = timedelta(seconds=30)


@dataclass(slots=True)
class Account:
    """Somebody who can sign in."""

    runtime: Runtime
    user_id: UserId
    email: str
    password: str
    secret: str = ""
    """Of the second factor."""
    recovery_codes: list[str] = field(default_factory=list)

    async def sign_in(self, browser: Browser = HERE) -> str:
        """The token of a session, the code entered if one is asked for."""
        done = await sign_in.sign_in(self.runtime, self.email, self.password, browser)
        if not done.needs_code:
            return done.token
        return await sign_in.enter_code(self.runtime, done.token, await self.code(), browser)

    async def code(self) -> str:
        """What the app shows now."""
        return await code_now(self.runtime, self.secret)

    async def add_second_factor(self) -> None:
        """Set one up; afterwards the next code is due."""
        enrolment = await second_factor.begin(self.runtime, self.user_id, self.password)
        self.secret = enrolment.secret
        self.recovery_codes = await second_factor.confirm(self.runtime, self.user_id, await self.code())
        await pass_time(self.runtime, NEXT_CODE)


async def account(
    runtime: Runtime, workspace_id: WorkspaceId, role: Role = Role.OWNER, email: str | None = None
) -> Account:
    """Somebody new in a workspace."""
    email = email or f"{role}-{uuid4().hex[:8]}@example.org"
    password = await membership.add_member(runtime, workspace_id, email, role.title(), role, actor="cli:test")
    async with runtime.db.connection() as connection:
        user = await users.by_email(connection, email)
    assert user is not None
    assert password is not None
    return Account(runtime, user.id, email, password)


async def code_now(runtime: Runtime, secret: str) -> str:
    """The code of this instant by the database's clock."""
    async with runtime.db.connection() as connection:
        return pyotp.TOTP(secret).at(await overview.now(connection))


async def pass_time(runtime: Runtime, by: timedelta) -> None:
    """Let time pass."""
    async with runtime.db.connection() as connection:
        await connection.execute("UPDATE installation SET clock_offset = clock_offset + $1", by)


async def is_open(runtime: Runtime, token: str) -> bool:
    """Whether a session's token opens anything."""
    try:
        await entrance.visitor(runtime, token)
    except Unauthenticated:
        return False
    return True


async def session_of(runtime: Runtime, token: str) -> SessionId:
    """The session of a token."""
    return (await entrance.visitor(runtime, token)).session_id


async def log(runtime: Runtime, workspace_id: WorkspaceId | None) -> list[dict[str, Any]]:
    """The audit log of a workspace, oldest first."""
    async with runtime.db.connection() as connection:
        rows = await connection.fetch(
            "SELECT actor, action, subject, before, after FROM audit "
            "WHERE workspace_id IS NOT DISTINCT FROM $1 ORDER BY id",
            workspace_id,
        )
    return [dict(row) for row in rows]


async def actions(runtime: Runtime, workspace_id: WorkspaceId | None) -> list[str]:
    """What was done, oldest first."""
    return [entry["action"] for entry in await log(runtime, workspace_id)]


async def dump(runtime: Runtime, *only: str) -> str:
    """Every row of every table (or of some), as a thief of the database reads it: texts as they are, bytes in
    hexadecimal digits.
    """
    told = io.StringIO()
    async with runtime.db.connection() as connection:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        for name in sorted(only or (table["relname"] for table in tables)):
            for row in await connection.fetch(f'SELECT t::text AS row FROM "{name}" t ORDER BY 1'):
                told.write(row["row"] + "\n")
    return told.getvalue()


def found_in(text: str, secrets: list[str]) -> list[str]:
    """Which of the secrets can be read in a dump, in any of the forms in which they could stand there."""
    return [s for s in secrets if s in text or s.replace("-", "") in text or s.encode().hex() in text]
