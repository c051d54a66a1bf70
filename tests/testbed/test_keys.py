"""The testbed's own cryptography, against itself and against the other library's."""

import os

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from pyaileys.crypto.curve25519_signature import curve25519_sign, curve25519_verify

from testbed.whatsapp_web.keys import KeyPair, Seed, bare, verify

seeds = st.binary(min_size=32, max_size=32)


@given(seeds, seeds)
def test_two_keys_agree_on_one_secret(one: bytes, other: bytes) -> None:
    first, second = KeyPair(one), KeyPair(other)
    assert first.agree(second.public) == second.agree(first.typed)


@given(seeds, st.binary(max_size=100))
@settings(max_examples=20, deadline=None)
def test_signatures_are_those_of_other_libraries(seed: bytes, message: bytes) -> None:
    key = KeyPair(seed)
    signature = key.sign(message)
    assert verify(key.public, message, signature)
    assert verify(key.typed, message, signature)
    assert curve25519_verify(key.public, message, signature)


@given(seeds, st.binary(max_size=100))
@settings(max_examples=20, deadline=None)
def test_signatures_of_other_libraries_are_accepted(secret: bytes, message: bytes) -> None:
    public = X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    assert verify(public, message, curve25519_sign(secret, message))


@given(seeds, st.binary(min_size=1, max_size=100), st.integers(0, 511))
@settings(deadline=None)
def test_no_other_signature_or_message_is_accepted(seed: bytes, message: bytes, bit: int) -> None:
    key = KeyPair(seed)
    signature = key.sign(message)
    spoilt = bytearray(signature)
    spoilt[bit // 8] ^= 1 << bit % 8
    assert not verify(key.public, message, bytes(spoilt))
    assert not verify(key.public, message + b"!", signature)
    assert not verify(key.public, message, signature[:-1])


def test_a_seed_gives_the_same_keys_again_and_others_for_other_words() -> None:
    secret = os.urandom(32)
    assert Seed(secret).pair("a", 1).public == Seed(secret).pair("a", 1).public
    assert len({Seed(secret).pair(*words).public for words in (("a", 1), ("a", 2), ("b", 1), ("a1",))}) == 4
    assert bare(Seed(secret).pair("a").typed) == Seed(secret).pair("a").public
