"""Passwords: which are good enough, how they are hashed, and made up for people who need a first one.

Hashing is slow and takes 64 MB on purpose; it runs in threads, at most two at a time, so that a storm of sign-ins
cannot take the machine's memory. What hashes is loaded with the first password: most processes never see one.
"""

import asyncio
import re
import secrets
import weakref
from asyncio import AbstractEventLoop
from functools import cache
from typing import TYPE_CHECKING

from fleetcast.errors import InvalidInput

if TYPE_CHECKING:
    from pwdlib import PasswordHash

SHORTEST, LONGEST = 12, 1_000
"""Characters. NIST SP 800-63B: length counts, rules about kinds of characters do not."""
AT_ONCE = 2

_WEAK = (
    "password", "passwort", "fleetcast", "whatsapp", "changeme", "letmein", "welcome", "secret", "admin", "owner",
    "qwerty", "qwertz", "iloveyou", "abcdef", "123456", "111111", "000000", "default", "example", "correcthorse",
)  # fmt: skip
_gates: "weakref.WeakKeyDictionary[AbstractEventLoop, asyncio.Semaphore]" = weakref.WeakKeyDictionary()


def check_password(password: str, *known: str, field: str = "password") -> str:
    """The password, if it is one that nobody guesses. `known` are words that belong to the person.

    Raises InvalidInput.
    """
    if len(password) < SHORTEST:
        raise InvalidInput(
            field, f"at least {SHORTEST} characters; a few words that have nothing to do with each other"
        )
    if len(password) > LONGEST:
        raise InvalidInput(field, f"at most {LONGEST:,} characters")
    plain = re.sub(r"[^a-z]", "", password.lower().translate(str.maketrans("0134578@$", "oieastbas")))
    digits = re.sub(r"[^0-9a-z]", "", password.lower())
    belongings = [w for k in known for w in re.split(r"[^a-z0-9]+", k.lower()) if len(w) >= 4]
    for word in (*_WEAK, *belongings):
        rest_of_letters = len(plain) - plain.count(word) * len(word) if word in plain else None
        rest = len(digits) - digits.count(word) * len(word) if word in digits else rest_of_letters
        if rest is not None and rest < SHORTEST - 4:
            raise InvalidInput(field, f"it is little more than '{word}', which is among the first to be tried")
    if len(set(password)) < 5:
        raise InvalidInput(field, "it repeats the same few characters")
    return password


def random_password() -> str:
    """One that nobody guesses, easy to type: 20 letters and digits in groups, some 100 bits."""
    letters = "abcdefghijkmnpqrstuvwxyz23456789"  # without those that look like others
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))


@cache
def _argon2() -> "PasswordHash":
    from pwdlib import PasswordHash

    return PasswordHash.recommended()


@cache
def _nobodys() -> str:
    """Verified against when there is no such user, so that both take the same time."""
    return _argon2().hash(secrets.token_urlsafe())


def _gate() -> asyncio.Semaphore:
    return _gates.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE))


async def hashed(password: str) -> str:
    """What is stored of a password."""
    async with _gate():
        return await asyncio.to_thread(lambda: _argon2().hash(password))


async def verify(password: str, stored: str | None) -> tuple[bool, str | None]:
    """Whether it is the password, and a new hash if the stored one was made in an outdated way. None: there is no
    such user, which takes as long to find out.
    """
    if len(password) > LONGEST:
        password, stored = "", None
    async with _gate():
        right, better = await asyncio.to_thread(_verify, password, stored)
    return (right, better) if stored is not None else (False, None)


def _verify(password: str, stored: str | None) -> tuple[bool, str | None]:
    from pwdlib.exceptions import UnknownHashError

    try:
        return _argon2().verify_and_update(password, stored or _nobodys())
    except UnknownHashError:
        return False, None
