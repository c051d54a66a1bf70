"""Curve25519 as WhatsApp uses it: one key that agrees on secrets and signs (XEdDSA), and the key derivations.

A signature is made by Ed25519 itself: the X25519 key is taken from an Ed25519 one, whose sign bit travels in the
signature's last byte. So nothing here multiplies points; checking converts the public key, which is one division.
"""

import hashlib
import hmac
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_TYPE: Final = b"\x05"
"""Stands before a public key where the kind of curve is named."""
_PRIME: Final = 2**255 - 19
_SIGN: Final = 0x80


class KeyPair:
    """A key that agrees on secrets with others, and signs. The same 32 bytes always make the same key."""

    __slots__ = ("_exchange", "_sign_bit", "_signer", "public", "secret")

    def __init__(self, seed: bytes) -> None:
        self._signer = Ed25519PrivateKey.from_private_bytes(seed)
        self._sign_bit = self._signer.public_key().public_bytes_raw()[31] & _SIGN
        # What Ed25519 takes for its secret number, clamped as both curves do.
        secret = bytearray(hashlib.sha512(seed).digest()[:32])
        secret[0] &= 0xF8
        secret[31] = secret[31] & 0x7F | 0x40
        self.secret: Final = bytes(secret)
        self._exchange = X25519PrivateKey.from_private_bytes(self.secret)
        self.public: Final = self._exchange.public_key().public_bytes_raw()

    @property
    def typed(self) -> bytes:
        """The public key with its type before it."""
        return KEY_TYPE + self.public

    def agree(self, public: bytes) -> bytes:
        """The secret shared with the owner of a public key, given with or without its type."""
        return self._exchange.exchange(X25519PublicKey.from_public_bytes(bare(public)))

    def sign(self, message: bytes) -> bytes:
        """64 bytes that `verify` accepts with the public key."""
        signature = bytearray(self._signer.sign(message))
        signature[63] |= self._sign_bit
        return bytes(signature)


def bare(public: bytes) -> bytes:
    """A public key without its type."""
    return public[1:] if len(public) == 33 else public


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the owner of an X25519 key signed the message."""
    if len(signature) != 64:
        return False
    u = int.from_bytes(bare(public), "little") & (2**255 - 1)
    y = (u - 1) * pow(u + 1, -1, _PRIME) % _PRIME
    edwards = bytearray(y.to_bytes(32, "little"))
    edwards[31] |= signature[63] & _SIGN
    plain = signature[:63] + bytes([signature[63] & ~_SIGN & 0xFF])
    try:
        Ed25519PublicKey.from_public_bytes(bytes(edwards)).verify(plain, message)
    except InvalidSignature:
        return False
    return True


def derive(secret: bytes, length: int, *, salt: bytes = bytes(32), info: bytes = b"") -> bytes:
    """HKDF with SHA-256."""
    return HKDF(SHA256(), length, salt, info).derive(secret)


def authenticate(key: bytes, data: bytes) -> bytes:
    """HMAC with SHA-256."""
    return hmac.digest(key, data, "sha256")


class Seed:
    """Where all keys come from: the same secret and the same words make the same key, so nothing need be kept."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def bytes(self, *words: str | int) -> bytes:
        """32 bytes of their own for these words."""
        return authenticate(self._secret, "\0".join(map(str, words)).encode())

    def pair(self, *words: str | int) -> KeyPair:
        """A key of its own for these words."""
        return KeyPair(self.bytes(*words))
