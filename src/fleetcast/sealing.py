"""Secrets that Fleetcast must be able to read again (second factors, later sessions and tokens of WhatsApp), sealed
with a key that is not in the database.

The key comes from FLEETCAST_SECRET_KEY, else from a file of the data directory that only its owner can read, made when
it is first needed. Several machines on one database must share it; `check` recognises it, so that a wrong one is told
at the start and not by the first secret that cannot be opened.
"""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from fleetcast.errors import ConfigurationError
from fleetcast.settings import Settings

FILE = "secret.key"


class Seal:
    """One key. Sealed values are authenticated: a changed one does not open."""

    def __init__(self, material: bytes) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"fleetcast seal\0" + material).digest()))
        self.check = hmac.digest(material, b"fleetcast key check", "sha256")
        """By this the database recognises the key; says nothing of it."""
        self._marking = hmac.digest(material, b"fleetcast marks", "sha256")

    def close(self, secret: bytes) -> bytes:
        """Seal a secret."""
        return self._fernet.encrypt(secret)

    def open(self, sealed: bytes) -> bytes:
        """The secret. Raises ConfigurationError when it was sealed with another key."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise ConfigurationError(WRONG_KEY) from None

    def mark(self, text: bytes) -> bytes:
        """By this the same text is recognised again; without the key not even a short one can be guessed from it."""
        return hmac.digest(self._marking, text, "sha256")


WRONG_KEY = (
    "The secrets in the database were sealed with another key: set FLEETCAST_SECRET_KEY to the one they were made "
    f"with, or bring back the file {FILE} of the data directory."
)


def load_seal(settings: Settings) -> Seal:
    """The key of this installation; the file is made when there is none. Raises ConfigurationError."""
    if settings.secret_key is not None:
        return Seal(settings.secret_key.get_secret_value().encode())
    return Seal(_from_file(settings.data / FILE))


def _from_file(path: Path) -> bytes:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{FILE}.{os.getpid()}.{secrets.token_hex(4)}")
        if not path.exists():
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_urlsafe(48).encode())
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(fresh, path)  # never over one that another process has just made
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        material = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"The key of secrets cannot be kept in {path}: {error.strerror or error}.") from None
    if len(material) < 32:
        raise ConfigurationError(
            f"{path} holds no key: delete it if nothing was sealed yet, else bring the old one back."
        )
    return material
