"""How often somebody may try: counted by account and by address before a try is looked at, with growing waits.

Separate because a password, a code and a password that is asked for again are guessed in the same way.
"""

import hashlib
import ipaddress
import math

from fleetcast.errors import TooMany
from fleetcast.runtime import Runtime
from fleetcast.store import users

FREE = 5
"""The fifth failure in a row for one account makes the next one wait."""
FREE_OF_ADDRESS = 30
"""Many people may share an address."""
LONGEST_WAIT = 900.0
"""Seconds. An account is never closed for good: that would let anybody lock its owner out."""


def of_account(email: str) -> str:
    """The count of an account, whether it exists or not."""
    return "account:" + hashlib.sha256(email.strip().lower().encode(errors="replace")).hexdigest()[:32]


def of_code(user_id: int) -> str:
    """The count of a second factor: by account, not by sign-in, so that a new sign-in gives no new tries."""
    return f"code:{user_id}"


def of_proof(user_id: int) -> str:
    """The count of a password that is asked for again."""
    return f"proof:{user_id}"


def of_address(address: str) -> str:
    """The count of an address; of IPv6 the network, of which anybody has 2^64 addresses."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return f"address:{address[:64]}"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return f"address:{ipaddress.ip_network((ip, 64), strict=False).network_address}"
        ip = ip.ipv4_mapped
    return f"address:{ip}"


async def count(runtime: Runtime, subject: str, *, free: int = FREE) -> int:
    """Count a try, committed before it is looked at: how many failures there are now, if it is one.

    From `free` on, others have to wait. Raises TooMany while none is allowed.
    """
    async with runtime.db.connection() as connection:
        counted = await users.count_try(connection, subject, free, LONGEST_WAIT)
        if counted is None:
            wait = max(1, math.ceil(await users.blocked_for(connection, subject)))
            raise TooMany(f"Too many tries. Wait {_spoken(wait)} and try again.", wait)
    return counted


async def forget(runtime: Runtime, subject: str, address: str | None = None) -> None:
    """It was they: failures of the account no longer count, and the last try of the address was none."""
    async with runtime.db.connection() as connection:
        await users.forget_tries(connection, subject)
        if address is not None:
            await users.forgive_try(connection, of_address(address))


async def sweep(runtime: Runtime) -> None:
    """Forget what no longer counts."""
    async with runtime.db.connection() as connection:
        await users.sweep_tries(connection)


def _spoken(seconds: int) -> str:
    if seconds < 60:
        return "a second" if seconds == 1 else f"{seconds} seconds"
    minutes = math.ceil(seconds / 60)
    return "a minute" if minutes == 1 else f"{minutes} minutes"
