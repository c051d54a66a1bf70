"""The second factor: time-based codes (RFC 6238) of an authenticator app, and recovery codes for a lost telephone.

A code works once, and for half a minute before and after its time, because clocks differ. Time is the database's.
"""

import hmac
import secrets
from dataclasses import dataclass

from fleetcast.domain.access import SessionId, UserId
from fleetcast.errors import Conflict, InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import account_log, tries
from fleetcast.services.accounts.proof import proved, unchanged
from fleetcast.services.accounts.tokens import token_hash
from fleetcast.services.installation_key import Seal, installation_key
from fleetcast.store import overview, sessions, users
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


async def begin(runtime: Runtime, user_id: UserId, password: str) -> Enrolment:
    """Prepare a second factor; it is asked for once `confirm` has seen a code of it.

    Raises Conflict when there is one already, InvalidInput for a wrong password.
    """
    import pyotp

    user = await proved(runtime, user_id, password)
    key = await installation_key(runtime)
    secret = pyotp.random_base32()
    async with runtime.db.transaction() as connection:
        fresh = await unchanged(connection, user)
        if fresh.needs_code:
            raise Conflict("A second factor is set up already. Turn it off first.")
        await users.write_second_factor(connection, user_id, key.close(secret.encode()))
    return Enrolment(secret, pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=ISSUER))


async def confirm(runtime: Runtime, user_id: UserId, code: str, *, keep: SessionId | None = None) -> list[str]:
    """Turn the prepared second factor on and return the recovery codes, shown once. Other sessions end.

    Raises Conflict when none is prepared or it is on already, InvalidInput for a wrong code.
    """
    await tries.count(runtime, tries.of_code(user_id))
    key = await installation_key(runtime)
    async with runtime.db.transaction() as connection:
        user = await users.by_id(connection, user_id, lock=True)
        if user is None or user.second_factor is None or user.needs_code:
            raise Conflict("There is no second factor to confirm. Begin anew.")
        if not await _accepts_step(connection, key, user, _as_typed(code)):
            raise InvalidInput(
                "code", "the code is wrong; enter the newest one, and check that the telephone's clock is right"
            )
        await users.turn_on_second_factor(connection, user_id)
        codes = await _renew(connection, user)
        await sessions.end_others(connection, user_id, keep)
        await account_log.note(connection, user, "second_factor.on")
    await tries.forget(runtime, tries.of_code(user_id))
    return codes


async def renew_recovery_codes(runtime: Runtime, user_id: UserId, password: str, code: str) -> list[str]:
    """Ten new recovery codes in place of the old ones; takes the password and a code, for each of them is one.

    Raises Conflict without a second factor, InvalidInput.
    """
    user = await proved(runtime, user_id, password)
    key = await _counted(runtime, user)
    async with runtime.db.transaction() as connection:
        await _prove_code(connection, key, user, code)
        codes = await _renew(connection, user)
        await account_log.note(connection, user, "second_factor.recovery_codes")
    await tries.forget(runtime, tries.of_code(user_id))
    return codes


async def turn_off(runtime: Runtime, user_id: UserId, password: str, code: str) -> None:
    """Ask for no code any more; takes the password and a code. Raises Conflict without a factor, InvalidInput."""
    user = await proved(runtime, user_id, password)
    key = await _counted(runtime, user)
    async with runtime.db.transaction() as connection:
        await _prove_code(connection, key, user, code)
        await users.write_second_factor(connection, user_id, None)
        await account_log.note(connection, user, "second_factor.off")
    await tries.forget(runtime, tries.of_code(user_id))


async def recovery_codes_left(runtime: Runtime, user_id: UserId) -> int:
    """How many recovery codes a user has."""
    async with runtime.db.connection() as connection:
        return await users.recovery_codes_left(connection, user_id)


async def accepts(connection: Connection, key: Seal, user: User, code: str) -> bool:
    """Whether it is a code of the user that was not used; uses it up. The user's row is locked by the caller."""
    plain = _as_typed(code)
    if plain.isascii() and plain.isdigit() and len(plain) == 6:
        return await _accepts_step(connection, key, user, plain)
    return await users.use_recovery_code(connection, user.id, token_hash(plain))


async def _accepts_step(connection: Connection, key: Seal, user: User, code: str) -> bool:
    import pyotp

    if user.second_factor is None:
        return False
    totp = pyotp.TOTP(key.open(user.second_factor).decode(), interval=STEP_SECONDS)
    step = int((await overview.now(connection)).timestamp()) // STEP_SECONDS
    for candidate in (step - 1, step, step + 1):
        if hmac.compare_digest(totp.generate_otp(candidate).encode(), code.encode()):
            return await users.use_step(connection, user.id, candidate)
    return False


def _as_typed(code: str) -> str:
    """Without the spaces and hyphens by which people read it."""
    return "".join(code.split()).replace("-", "").lower()


async def _counted(runtime: Runtime, user: User) -> Seal:
    """A code of theirs will be looked at: count the try, and have the key for it."""
    if not user.needs_code:
        raise Conflict("There is no second factor.")
    await tries.count(runtime, tries.of_code(user.id))
    return await installation_key(runtime)


async def _prove_code(connection: Connection, key: Seal, user: User, code: str) -> None:
    fresh = await unchanged(connection, user)
    if not fresh.needs_code:
        raise Conflict("There is no second factor any more.")
    if not await accepts(connection, key, fresh, code):
        raise InvalidInput("code", "the code is wrong, or was used before")


async def _renew(connection: Connection, user: User) -> list[str]:
    """Ten codes of 80 bits, as people read them; what is stored are hashes."""
    codes = [secrets.token_hex(10) for _ in range(RECOVERY_CODES)]
    await users.replace_recovery_codes(connection, user.id, [token_hash(c) for c in codes])
    return ["-".join(code[i : i + 5] for i in range(0, 20, 5)) for code in codes]
