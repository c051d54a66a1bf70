"""What stands on a client's screen while it waits to be paired: the QR code, and the code of eight characters.

Read and opened here as a phone does it; what comes of it is `pairing`.
"""

import asyncio
import base64
import hashlib
import os
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from testbed.whatsapp_web.keys import KeyPair, derive
from testbed.whatsapp_web.phones import Phone

_ROUNDS: Final = 2 << 16


class Refused(Exception):
    """What a person at the phone is told when pairing does not work."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What is in a QR code."""

    ref: str
    noise: bytes
    identity: bytes
    secret: bytes

    @classmethod
    def read(cls, code: str) -> "Scanned":
        """Take a code apart, with or without the address that may stand before it. Raises Refused."""
        parts = code.rpartition("#")[2].split(",")
        if len(parts) < 4:
            raise Refused("That is no code of WhatsApp Web: it should have four parts with commas between them.")
        return cls(parts[0], *(base64.b64decode(part) for part in parts[1:4]))


@dataclass(eq=False, slots=True)
class LinkCode:
    """A code of eight characters that a client shows for one number."""

    number: str
    wrapped: bytes
    """The client's key, encrypted with the code: salt, iv, key."""
    ref: bytes
    phone: Phone | None = None
    shared: bytes = b""
    done: "asyncio.Future[tuple[bytes, bytes]] | None" = None

    def exchange(self, text: bytes, key: KeyPair) -> tuple[bytes, bytes]:
        """The client's key as this code opens it, and ours sealed with the code."""
        salt, iv = os.urandom(32), os.urandom(16)
        theirs = _crypt(text, self.wrapped[:32], self.wrapped[32:48], self.wrapped[48:80])
        return theirs, salt + iv + _crypt(text, salt, iv, key.public)

    def open(self, bundle: bytes) -> tuple[bytes, bytes]:
        """The client's identity and the secret that both know now. Raises Refused if the code was another one."""
        assert self.phone is not None
        identity_of_phone = self.phone.signal.identity
        key = derive(self.shared, 32, salt=bundle[:32], info=b"link_code_pairing_key_bundle_encryption_key")
        try:
            plain = AESGCM(key).decrypt(bundle[32:44], bundle[44:], b"")
        except InvalidTag:
            raise Refused("That is not the code that the client shows.") from None
        identity, account, secret = plain[:32], plain[32:64], plain[64:96]
        if account != identity_of_phone.public:
            raise Refused("The client answered another phone.")
        both = self.shared + identity_of_phone.agree(identity) + secret
        return identity, derive(both, 32, info=b"adv_secret")


def _crypt(code: bytes, salt: bytes, iv: bytes, data: bytes) -> bytes:
    """Encrypt or decrypt with a code of eight characters."""
    key = hashlib.pbkdf2_hmac("sha256", code, salt, _ROUNDS, 32)
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)
