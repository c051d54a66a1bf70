"""The second factor: time-based codes (RFC 6238) of an authenticator app, and recovery codes for a lost telephone.

A code works once, and for half a minute before and after its time, because clocks differ. Time is the database's.
What makes codes is loaded with the first one: most installations have none.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

from fleetcast.domain.access import SessionId, UserId
from fleetcast.errors import ConfigurationError, Conflict, InvalidInput, NotFound, Unauthenticated
from fleetcast.runtime import Runtime
from fleetcast.sealing import WRONG_KEY, Seal, load_seal
from fleetcast.services.accounts import passwords, tries
from fleetcast.services.accounts.tokens import token_hash
from fleetcast.store import audit, health, members, overview, sessions, users
from fleetcast.store.connection import Connection
from fleetcast.store.users import User

ISSUER = "Fleetcast"
STEP_SECONDS = 30
RECOVERY_CODES = 10


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator app needs, shown once."""

    secret: str
    """Base32, for typing."""
    uri: str
    """otpauth://…, for a QR code."""


async def seal_of(runtime: Runtime) -> Seal:
    """The key of this installation's secrets. Raises ConfigurationError when the database knows another one."""
    seal = load_seal(runtime.settings)
    async with runtime.db.connection() as connection:
        known = await health.key_check(connection, seal.check)
    if not hmac.compare_digest(known, seal.check):
        raise ConfigurationError(WRONG_KEY)
    return seal


async def begin(runtime: Runtime, user_id: UserId, password: str) -> Enrolment:
    """Prepare a second factor; it is asked for once `confirm` has seen a code of it.

    Raises Conflict when there is one already, Unauthenticated for a wrong password.
    """
    import pyotp

    user = await _proved(runtime, user_id, password)
    if user.needs_code:
        raise Conflict("A second factor is set up already. Turn it off first.")
    seal = await seal_of(runtime)
    secret = pyotp.random_base32()
    async with runtime.db.transaction() as connection:
        await users.write_second_factor(connection, user_id, seal.close(secret.encode()))
    return Enrolment(secret, pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=ISSUER))


async def confirm(runtime: Runtime, user_id: UserId, code: str, *, keep: SessionId | None = None) -> list[str]:
    """Turn the prepared second factor on and return the recovery codes, shown once. Other sessions end.

    Raises Conflict when none is prepared or it is on already, InvalidInput for a wrong code.
    """
    await tries.count(runtime, tries.of_code(user_id))
    seal = await seal_of(runtime)
    async with runtime.db.transaction() as connection:
        user = await users.by_id(connection, user_id, lock=True)
        if user is None or user.second_factor is None or user.needs_code:
            raise Conflict("There is no second factor to confirm. Begin anew.")
        if not await _accepts_step(connection, seal, user, code):
            raise InvalidInput(
                "code", "the code is wrong; enter the newest one, and check that the telephone's clock is right"
            )
        codes = _new_recovery_codes()
        await users.replace_recovery_codes(connection, user_id, [token_hash(c) for c in codes])
        await sessions.end_others(connection, user_id, keep)
        await _note(connection, user, "second_factor.on")
    await tries.forget(runtime, tries.of_code(user_id))
    return codes


async def renew_recovery_codes(runtime: Runtime, user_id: UserId, password: str) -> list[str]:
    """Ten new recovery codes in place of the old ones. Raises Conflict without a second factor, Unauthenticated."""
    user = await _proved(runtime, user_id, password)
    if not user.needs_code:
        raise Conflict("There is no second factor, so there is nothing to recover from.")
    codes = _new_recovery_codes()
    async with runtime.db.transaction() as connection:
        await users.replace_recovery_codes(connection, user_id, [token_hash(c) for c in codes])
        await _note(connection, user, "second_factor.recovery_codes")
    return codes


async def turn_off(runtime: Runtime, user_id: UserId, password: str, code: str) -> None:
    """Ask for no code any more; takes the password and a code. Raises Conflict, Unauthenticated."""
    user = await _proved(runtime, user_id, password)
    if not user.needs_code:
        raise Conflict("There is no second factor to turn off.")
    await tries.count(runtime, tries.of_code(user_id))
    seal = await seal_of(runtime)
    async with runtime.db.transaction() as connection:
        fresh = await users.by_id(connection, user_id, lock=True)
        if fresh is None or not await accepts(connection, seal, fresh, code):
            raise Unauthenticated("The code is wrong, or was used before.")
        await users.write_second_factor(connection, user_id, None)
        await _note(connection, fresh, "second_factor.off")
    await tries.forget(runtime, tries.of_code(user_id))


async def recovery_codes_left(runtime: Runtime, user_id: UserId) -> int:
    """How many recovery codes a user has."""
    async with runtime.db.connection() as connection:
        return await users.recovery_codes_left(connection, user_id)


async def accepts(connection: Connection, seal: Seal, user: User, code: str) -> bool:
    """Whether it is a code of the user that was not used; uses it up. The user's row is locked by the caller."""
    plain = "".join(code.split()).replace("-", "").lower()
    if plain.isascii() and plain.isdigit() and len(plain) == 6:
        return await _accepts_step(connection, seal, user, plain)
    return await users.use_recovery_code(connection, user.id, token_hash(plain))


async def _accepts_step(connection: Connection, seal: Seal, user: User, code: str) -> bool:
    import pyotp

    if user.second_factor is None:
        return False
    totp = pyotp.TOTP(seal.open(user.second_factor).decode(), interval=STEP_SECONDS)
    now: datetime = await overview.now(connection)
    step = int(now.timestamp()) // STEP_SECONDS
    plain = "".join(code.split())
    for candidate in (step - 1, step, step + 1):
        if hmac.compare_digest(totp.generate_otp(candidate).encode(), plain.encode()):
            return await users.use_step(connection, user.id, candidate)
    return False


def _new_recovery_codes() -> list[str]:
    """Ten codes of 80 bits, without the hyphens that they are shown with."""
    return [secrets.token_hex(10) for _ in range(RECOVERY_CODES)]


async def _proved(runtime: Runtime, user_id: UserId, password: str) -> User:
    """The user, who has given their password again. Raises Unauthenticated, TooMany."""
    async with runtime.db.connection() as connection:
        user = await users.by_id(connection, user_id)
    if user is None:
        raise NotFound("There is no such user.")
    await tries.count(runtime, tries.of_account(user.email))
    right, _ = await passwords.verify(password, user.password_hash)
    if not right:
        raise Unauthenticated("The password is wrong.")
    await tries.forget(runtime, tries.of_account(user.email))
    return user


async def _note(connection: Connection, user: User, action: str) -> None:
    for membership in await members.of_user(connection, user.id):
        await audit.record(connection, membership.workspace_id, f"user:{user.email}", action, user.email)
