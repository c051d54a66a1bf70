"""Passwords: which are good enough, how they are hashed, and made up for people who need a first one.

Hashing is slow and takes 64 MB on purpose; it runs in threads, at most two at a time, so that a storm of sign-ins
cannot take the machine's memory.
"""

import asyncio
import base64
import secrets
import unicodedata
import weakref
from asyncio import AbstractEventLoop
from functools import cache
from typing import TYPE_CHECKING

from fleetcast.errors import InvalidInput
from fleetcast.guessing import weakness

if TYPE_CHECKING:
    from pwdlib import PasswordHash

SHORTEST, LONGEST = 12, 1_000
"""Characters. NIST SP 800-63B: length counts, rules about kinds of characters do not."""
OF_ONES_OWN = 8
"""Characters beside what everybody tries."""
AT_ONCE = 2

_PASSES, _KIBIBYTES, _LANES = 3, 65_536, 4
"""RFC 9106, second recommendation."""
_gates: "weakref.WeakKeyDictionary[AbstractEventLoop, asyncio.Semaphore]" = weakref.WeakKeyDictionary()


def check_password(password: str, *known: str, field: str = "password") -> None:
    """Whether it is one that nobody guesses. `known` are words that belong to the person. Raises InvalidInput."""
    if len(password) < SHORTEST:
        raise InvalidInput(
            field, f"at least {SHORTEST} characters; a few words that have nothing to do with each other"
        )
    if len(password) > LONGEST:
        raise InvalidInput(field, f"at most {LONGEST:,} characters")
    if weak := weakness(password, OF_ONES_OWN, known):
        raise InvalidInput(field, f"it {weak}; take a few words that have nothing to do with each other")


def random_password() -> str:
    """One that nobody guesses, easy to type: 20 letters and digits in groups, some 100 bits."""
    letters = "abcdefghijkmnpqrstuvwxyz23456789"  # without those that look like others
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))


@cache
def _argon2() -> "PasswordHash":
    from pwdlib import PasswordHash  # with the first password: every command would carry it otherwise
    from pwdlib.hashers.argon2 import Argon2Hasher

    return PasswordHash((Argon2Hasher(time_cost=_PASSES, memory_cost=_KIBIBYTES, parallelism=_LANES),))


def _nobodys() -> str:
    """A hash of the usual form that no password has: looking for one takes as long as with anybody's."""
    salt, digest = (base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m={_KIBIBYTES},t={_PASSES},p={_LANES}${salt}${digest}"


def _typed(password: str) -> bytes:
    """Keyboards and systems write the same letter in several ways; what is no letter at all is no fault of ours."""
    return unicodedata.normalize("NFKC", password).encode(errors="surrogatepass")


def _gate() -> asyncio.Semaphore:
    return _gates.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE))


async def hashed(password: str) -> str:
    """What is stored of a password."""
    async with _gate():
        return await asyncio.to_thread(lambda: _argon2().hash(_typed(password)))


async def verify(password: str, stored: str | None) -> tuple[bool, str | None]:
    """Whether it is the password, and a new hash if the stored one was made in an outdated way. None: there is no
    such user, which takes as long to find out.
    """
    if len(password) > LONGEST:
        password, stored = "", None
    async with _gate():
        return await asyncio.to_thread(_verify, password, stored)


def _verify(password: str, stored: str | None) -> tuple[bool, str | None]:
    from pwdlib.exceptions import UnknownHashError

    try:
        return _argon2().verify_and_update(_typed(password), stored or _nobodys())
    except UnknownHashError:
        return False, None
