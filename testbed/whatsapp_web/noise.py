"""The Noise handshake as its responder, XX and IK, and the two ciphers that come out of it.

Knows keys and bytes, no sockets: `connection` carries its messages. A client that kept our certificate resumes with IK
and sends its login in the first message.
"""

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, Hash

from testbed.whatsapp_web.keys import KeyPair, Seed, derive
from testbed.whatsapp_web.nodes import Malformed
from testbed.whatsapp_web.protobufs import CertificateChain, CertificateDetails, HandshakeMessage

_YEAR = 365 * 86_400


class Cipher:
    """One direction of a connection: each frame has the next number."""

    __slots__ = ("_box", "_number")

    def __init__(self, key: bytes) -> None:
        self._box = AESGCM(key)
        self._number = 0

    def _nonce(self) -> bytes:
        self._number += 1
        return bytes(8) + (self._number - 1).to_bytes(4, "big")

    def seal(self, data: bytes) -> bytes:
        """The frame to send."""
        return self._box.encrypt(self._nonce(), data, b"")

    def open(self, data: bytes) -> bytes:
        """What a frame holds. Raises Malformed."""
        try:
            return self._box.decrypt(self._nonce(), data, b"")
        except InvalidTag:
            raise Malformed("a frame does not fit the keys of its connection") from None


class ServerIdentity:
    """The server's keys: a root that clients are told to trust, and the certificate that it signed."""

    def __init__(self, seed: Seed, *, now: float) -> None:
        root, middle = seed.pair("noise", "root"), seed.pair("noise", "intermediate")
        self.root = root.public
        self.static = seed.pair("noise", "static")
        first = CertificateDetails(
            serial=1, issuerSerial=0, key=middle.public, notBefore=int(now - 86_400), notAfter=int(now + _YEAR)
        ).SerializeToString()
        second = CertificateDetails(
            serial=2, issuerSerial=1, key=self.static.public, notBefore=int(now - 86_400), notAfter=int(now + _YEAR)
        ).SerializeToString()
        chain = CertificateChain()
        chain.intermediate.details, chain.intermediate.signature = first, root.sign(first)
        chain.leaf.details, chain.leaf.signature = second, middle.sign(second)
        self.certificate: bytes = chain.SerializeToString()


@dataclass(frozen=True, slots=True)
class Opened:
    """A finished handshake."""

    client: bytes
    """The client's static key, by which a companion is known again."""
    payload: bytes
    """What it wants: to log in, or to be paired."""
    receive: Cipher
    send: Cipher


class Handshake:
    """Answers a client's hello with `reply`. Raises Malformed for what does not fit."""

    def __init__(self, header: bytes, hello: bytes, server: ServerIdentity, ephemeral: KeyPair) -> None:
        first = HandshakeMessage.FromString(hello).clientHello
        self._ephemeral = ephemeral
        self._resumes = bool(first.static)
        name = b"Noise_IK_25519_AESGCM_SHA256" if self._resumes else b"Noise_XX_25519_AESGCM_SHA256"
        self._hash = self._salt = self._key = name + bytes(4)
        self._number = 0
        self._mix_hash(header)
        answer = HandshakeMessage()
        answer.serverHello.ephemeral = ephemeral.public
        if self._resumes:
            self._mix_hash(server.static.public)
            self._mix_hash(first.ephemeral)
            self._mix_key(server.static.agree(first.ephemeral))
            self._client = self._decrypt(first.static)
            self._mix_key(server.static.agree(self._client))
            self._payload = self._decrypt(first.payload)
            self._mix_hash(ephemeral.public)
            self._mix_key(ephemeral.agree(first.ephemeral))
            self._mix_key(ephemeral.agree(self._client))
        else:
            self._mix_hash(first.ephemeral)
            self._mix_hash(ephemeral.public)
            self._mix_key(ephemeral.agree(first.ephemeral))
            answer.serverHello.static = self._encrypt(server.static.public)
            self._mix_key(server.static.agree(first.ephemeral))
        answer.serverHello.payload = self._encrypt(server.certificate)
        self.reply: bytes = answer.SerializeToString()

    def resumed(self) -> Opened | None:
        """The end of it, if the client resumed with IK; else `finish` with its next message."""
        return self._open() if self._resumes else None

    def finish(self, message: bytes) -> Opened:
        """The end of XX."""
        last = HandshakeMessage.FromString(message).clientFinish
        self._client = self._decrypt(last.static)
        self._mix_key(self._ephemeral.agree(self._client))
        self._payload = self._decrypt(last.payload)
        return self._open()

    def _open(self) -> Opened:
        keys = derive(b"", 64, salt=self._salt)
        return Opened(self._client, self._payload, receive=Cipher(keys[:32]), send=Cipher(keys[32:]))

    def _mix_hash(self, data: bytes) -> None:
        digest = Hash(SHA256())
        digest.update(self._hash + data)
        self._hash = digest.finalize()

    def _mix_key(self, secret: bytes) -> None:
        keys = derive(secret, 64, salt=self._salt)
        self._salt, self._key, self._number = keys[:32], keys[32:], 0

    def _nonce(self) -> bytes:
        self._number += 1
        return bytes(8) + (self._number - 1).to_bytes(4, "big")

    def _encrypt(self, data: bytes) -> bytes:
        sealed = AESGCM(self._key).encrypt(self._nonce(), data, self._hash)
        self._mix_hash(sealed)
        return sealed

    def _decrypt(self, sealed: bytes) -> bytes:
        try:
            data = AESGCM(self._key).decrypt(self._nonce(), sealed, self._hash)
        except InvalidTag:
            raise Malformed("the client's part of the handshake does not fit the server's keys") from None
        self._mix_hash(sealed)
        return data
