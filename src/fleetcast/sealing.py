"""Secrets that Fleetcast must be able to read again (second factors, later sessions and tokens of WhatsApp), sealed
with a key that is not in the database.

The key comes from FLEETCAST_SECRET_KEY, else from a file of the data directory that only its owner can read, made when
it is first needed. Several machines on one database must share it; by `check` the database recognises it.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fleetcast.errors import ConfigurationError
from fleetcast.settings import SHORTEST_SECRET, Settings

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

FILE = "secret.key"


class Seal:
    """One key. Sealed values are authenticated: a changed one does not open."""

    def __init__(self, material: bytes) -> None:
        self._material = material
        self.check = self.digest(b"fleetcast key check")
        """By this the database recognises the key; says nothing of it."""

    @cached_property
    def _fernet(self) -> "Fernet":
        from cryptography.fernet import Fernet  # a large library, which looking at the key does not need

        return Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"fleetcast seal\0" + self._material).digest()))

    def close(self, secret: bytes) -> bytes:
        """Seal a secret."""
        return self._fernet.encrypt(secret)

    def open(self, sealed: bytes) -> bytes:
        """The secret. Raises ConfigurationError when it was sealed with another key."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise ConfigurationError(WRONG_KEY) from None

    def digest(self, secret: bytes) -> bytes:
        """By which a secret is recognised; without the key nobody can try what it may have been."""
        return hmac.digest(self._material, secret, "sha256")


WRONG_KEY = (
    "The secrets in the database were sealed with another key: set FLEETCAST_SECRET_KEY to the one they were made "
    f"with, or bring back the file {FILE} of the data directory. If it is lost for good: `fleetcast db new-key`."
)


def load_seal(settings: Settings) -> Seal:
    """The key of this installation; the file is made when there is none. Raises ConfigurationError."""
    if settings.secret_key is not None:
        return Seal(settings.secret_key.get_secret_value().encode())
    return Seal(_from_file(settings.data / FILE))


def _from_file(path: Path) -> bytes:
    try:
        if not path.exists():
            _make(path)
        material = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"The key of secrets cannot be kept in {path}: {error.strerror or error}.") from None
    if len(material) < SHORTEST_SECRET:
        raise ConfigurationError(
            f"{path} holds no key: delete it if nothing was sealed yet, else bring the old one back."
        )
    return material


def _make(path: Path) -> None:
    """Write a new key under another name and give it its own in one step, unless another process was quicker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_urlsafe(48).encode())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # what is sealed with it must not outlive it
    finally:
        os.close(folder)
