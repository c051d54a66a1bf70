"""Passwords: which are refused, and what is stored of the others."""

import re
import unicodedata

import pytest

from fleetcast.errors import InvalidInput
from fleetcast.services.accounts import passwords
from tests.services.accounts.stage import GOOD, WRONG


@pytest.fixture(autouse=True)
def quick() -> None:
    """Here the real hashing is asked."""


ARGON2 = re.compile(r"\$argon2id\$v=19\$m=65536,t=3,p=4\$")


@pytest.mark.parametrize(
    "weak",
    [
        "",
        "short",
        "elevenchars",
        "password1234",
        "password12345678",
        "passwordpassword",
        "P@ssw0rd!P@ssw0rd!",
        "fleetcast-2026",
        "Admin123456789",
        "qwertyuiop1234",
        "123456789012345",
        "abcdefghijklmnop",
        "aaaaaaaaaaaaaaaa",
        "abcabcabcabcabcabc",
        "CorrectHorseBatteryStaple",
        "owner@localhost",
        "gertrude.1984",
        "G3rtrude-2026-!",
        "x" * 1_001,
    ],
)
def test_s36_a_weak_password_is_refused_by_field(weak: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        passwords.check_password(weak, "gertrude@example.org", "Gertrude", field="new_password")
    assert refused.value.field == "new_password"


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        "gertrude likes seventeen quiet owls",
        "4v8-zorn-BIER-hügel",
        "Пять слонов ушли домой",
        "七つの海を渡る古い船と猫の手紙",
        "password manager wrote kzQ84mvTn",
    ],
)
def test_length_counts_and_kinds_of_characters_do_not(good: str) -> None:
    passwords.check_password(good, "gertrude@example.org", "Gertrude")


def test_a_made_up_password_is_never_refused_and_never_the_same() -> None:
    made = {passwords.random_password() for _ in range(500)}
    assert len(made) == 500
    for password in made:
        passwords.check_password(password, "ann@example.org", "Ann")


async def test_f23_what_is_stored_is_argon2_and_salted() -> None:
    first, second = await passwords.hashed(GOOD), await passwords.hashed(GOOD)
    assert first != second
    assert ARGON2.match(first)
    assert GOOD not in first
    assert await passwords.verify(GOOD, first) == (True, None)
    assert await passwords.verify(WRONG, first) == (False, None)
    assert await passwords.verify("", first) == (False, None)


async def test_the_same_letters_typed_on_another_keyboard_are_the_same_password() -> None:
    stored = await passwords.hashed("übergröße fünf Möwen")
    assert await passwords.verify(unicodedata.normalize("NFD", "übergröße fünf Möwen"), stored) == (True, None)


async def test_a_password_too_long_to_be_one_is_wrong_and_costs_no_more() -> None:
    stored = await passwords.hashed("x" * 1_000)
    assert await passwords.verify("x" * 1_000, stored) == (True, None)
    assert await passwords.verify("x" * 1_001, stored) == (False, None)
    assert await passwords.verify("x" * 1_000_000, stored) == (False, None)


async def test_an_outdated_hash_is_replaced_once_the_password_is_known() -> None:
    from pwdlib.hashers.argon2 import Argon2Hasher

    outdated = Argon2Hasher(time_cost=1, memory_cost=8_192, parallelism=1).hash(GOOD)
    right, better = await passwords.verify(GOOD, outdated)
    assert right
    assert better is not None
    assert ARGON2.match(better)
    assert await passwords.verify(WRONG, outdated) == (False, None)


@pytest.mark.parametrize("stored", ["", "no password", "Z2VoZWlt", "$argon2id$broken"])
async def test_what_is_no_hash_opens_nothing(stored: str) -> None:
    assert await passwords.verify("geheim", stored) == (False, None)
    assert await passwords.verify(stored, stored) == (False, None)
