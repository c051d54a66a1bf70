"""The key of this installation's secrets, compared with what the database knows of it.

Asked for at the start of what people sign in to, so that a wrong key is told there and not by the first secret that
cannot be opened.
"""

import hmac

from fleetcast.errors import ConfigurationError
from fleetcast.runtime import Runtime
from fleetcast.sealing import WRONG_KEY, Seal, load_seal
from fleetcast.store import audit, health, idempotency, sessions, users

__all__ = ["Seal", "installation_key", "take_new_key"]


async def installation_key(runtime: Runtime) -> Seal:
    """The key; the first one that is used becomes the installation's. Raises ConfigurationError for another one."""
    seal = load_seal(runtime.settings)
    async with runtime.db.connection() as connection:
        known = await health.key_check(connection, seal.check)
    if not hmac.compare_digest(known, seal.check):
        raise ConfigurationError(WRONG_KEY)
    return seal


async def take_new_key(runtime: Runtime, *, actor: str) -> int:
    """Make the key that is set now the installation's, after the old one was lost: what was sealed with it is gone.

    Second factors among it: how many people have none any more. Their sessions end.
    """
    seal = load_seal(runtime.settings)
    async with runtime.db.transaction() as connection:
        known = await health.key_check(connection, seal.check)
        if hmac.compare_digest(known, seal.check):
            return 0
        await health.replace_key_check(connection, seal.check)
        await idempotency.forget_all(connection)
        lost = await users.with_second_factor(connection)
        for user in lost:
            await users.write_second_factor(connection, user, None)
            await sessions.end_others(connection, user)
        await audit.record(connection, None, actor, "key.replace", "installation", after={"second_factors": len(lost)})
    return len(lost)
