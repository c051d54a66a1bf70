"""Files that clients upload: kept sealed as they came, opened and checked as a recipient would.

Files lie in the testbed's folder, so that a campaign with pictures costs disk and no memory.
"""

import base64
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from testbed.whatsapp_web.content import Attachment
from testbed.whatsapp_web.keys import authenticate, derive

HOST: Final = "mmg.whatsapp.net"
_MAC_BYTES: Final = 10
_INFO: Final = {
    "image": b"WhatsApp Image Keys",
    "sticker": b"WhatsApp Image Keys",
    "video": b"WhatsApp Video Keys",
    "audio": b"WhatsApp Audio Keys",
    "document": b"WhatsApp Document Keys",
}


class Damaged(Exception):
    """A file that a recipient could not open, and why."""


class MediaStore:
    """Uploaded files by their path, opened ones by their hash."""

    def __init__(self, folder: Path) -> None:
        self._sealed, self._opened = folder / "sealed", folder / "opened"
        for each in (self._sealed, self._opened):
            each.mkdir(parents=True, exist_ok=True)
        self.uploads: Counter[str] = Counter()
        """How many uploads there were of each kind, repetitions included."""

    def upload(self, target: str, body: bytes) -> bytes:
        """Keep what was posted to `/mms/KIND/TOKEN`; the answer. Raises Damaged if the token is not the body's hash."""
        parts = target.partition("?")[0].strip("/").split("/")
        digest = hashlib.sha256(body).digest()
        if len(parts) != 3 or parts[0] != "mms":
            raise Damaged(f"nothing is uploaded to {target}")
        if unquote(parts[2]).rstrip("=") != base64.urlsafe_b64encode(digest).decode().rstrip("="):
            raise Damaged("the upload's address names another hash than its body has")
        name = digest.hex()
        (self._sealed / name).write_bytes(body)
        self.uploads[parts[1]] += 1
        path = f"/v/{name}"
        return json.dumps({"url": f"https://{HOST}{path}", "direct_path": path, "handle": name}).encode()

    def sealed(self, target: str) -> bytes | None:
        """What was uploaded under this path, if anything was."""
        path = self._path(target)
        return path.read_bytes() if path is not None and path.exists() else None

    def _path(self, target: str) -> Path | None:
        name = target.partition("?")[0].removeprefix("/v/")
        return self._sealed / name if len(name) == 64 and name.isalnum() else None

    def open(self, attachment: Attachment) -> str:
        """The hash of the opened file, after every check that a recipient makes. Raises Damaged."""
        expected = attachment.sha256.hex()
        sealed = self.sealed(attachment.path)
        if sealed is None:
            raise Damaged("the message names a file that was never uploaded")
        if hashlib.sha256(sealed).digest() != attachment.sealed_sha256:
            raise Damaged("the uploaded file has another hash than the message says")
        keys = derive(attachment.key, 112, info=_INFO[attachment.kind])
        iv, key, mac = keys[:16], keys[16:48], keys[48:80]
        body, seal = sealed[:-_MAC_BYTES], sealed[-_MAC_BYTES:]
        if authenticate(mac, iv + body)[:_MAC_BYTES] != seal:
            raise Damaged("the file's check sum is not that of the message's key")
        opener = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        unpadder = PKCS7(128).unpadder()
        plain = unpadder.update(opener.update(body) + opener.finalize()) + unpadder.finalize()
        if hashlib.sha256(plain).hexdigest() != expected:
            raise Damaged("the opened file has another hash than the message says")
        if len(plain) != attachment.length:
            raise Damaged(f"the opened file has {len(plain)} bytes, the message says {attachment.length}")
        kept = self._opened / expected
        if not kept.exists():
            kept.write_bytes(plain)
        return expected

    def opened(self, sha256: str) -> bytes | None:
        """An opened file by its hash."""
        path = self._opened / sha256
        return path.read_bytes() if len(sha256) == 64 and sha256.isalnum() and path.exists() else None
