"""One conversation between two devices: the double ratchet of Signal, both directions.

Knows keys and ciphertexts only. What is wrong with a message is found before anything is changed, so a damaged or a
repeated one leaves the conversation as it was.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from testbed.whatsapp_web.keys import KEY_TYPE, KeyPair, authenticate, bare, derive
from testbed.whatsapp_web.protobufs import SignalMessage

VERSION: Final = b"\x33"
"""Before every Signal message: version 3 of 3."""
_MAC_BYTES: Final = 8
_FURTHEST: Final = 2_000
"""How far a message may run ahead of those before it."""
_KEPT_CHAINS: Final = 5
"""As many of the other side's earlier keys are kept for messages that come late."""


class Undecryptable(Exception):
    """A message that its recipient cannot read, and why."""


@dataclass(frozen=True, slots=True)
class _MessageKeys:
    cipher: bytes
    mac: bytes
    iv: bytes


@dataclass(slots=True)
class Chain:
    """Keys of one direction, one a message; those of messages that are still to come are kept."""

    key: bytes
    index: int = 0
    skipped: dict[int, bytes] = field(default_factory=dict)

    def seeds(self, counter: int) -> dict[int, bytes]:
        """What the keys from here to `counter` are made of. Raises Undecryptable."""
        if counter < self.index:
            if counter not in self.skipped:
                raise Undecryptable(f"message {counter} of its chain was read before")
            return {counter: self.skipped[counter]}
        if counter - self.index > _FURTHEST:
            raise Undecryptable(f"message {counter} of its chain is too far ahead of {self.index}")
        found, key = {}, self.key
        for index in range(self.index, counter + 1):
            found[index], key = authenticate(key, b"\x01"), authenticate(key, b"\x02")
        return found

    def move_past(self, counter: int, seeds: dict[int, bytes]) -> None:
        """Forget the key of a message that was read, keep those of the ones that it overtook."""
        if counter < self.index:
            del self.skipped[counter]
            return
        for _ in range(self.index, counter + 1):
            self.key = authenticate(self.key, b"\x02")
        self.index = counter + 1
        self.skipped |= {index: seed for index, seed in seeds.items() if index != counter}


def first_root(secrets: bytes) -> bytes:
    """The root of a conversation, from the secrets that both sides agreed on."""
    return derive(b"\xff" * 32 + secrets, 64, info=b"WhisperText")[:32]


def _step(root: bytes, secret: bytes) -> tuple[bytes, bytes]:
    keys = derive(secret, 64, salt=root, info=b"WhisperRatchet")
    return keys[:32], keys[32:]


def _message_keys(seed: bytes) -> _MessageKeys:
    keys = derive(seed, 80, info=b"WhisperMessageKeys")
    return _MessageKeys(keys[:32], keys[32:64], keys[64:])


@dataclass(frozen=True, slots=True)
class Opening:
    """What the one who began a conversation repeats before each message, until an answer came."""

    base_key: bytes
    signed_id: int
    one_time_id: int | None


class Conversation:
    """The state of both directions with one other device."""

    def __init__(
        self, root: bytes, *, ours: KeyPair, theirs: bytes, ratchet: KeyPair, fresh: Callable[[], KeyPair], base: bytes
    ) -> None:
        self._root = root
        self._ours = ours.typed
        self._theirs = KEY_TYPE + bare(theirs)
        self._ratchet = ratchet
        self._fresh = fresh
        self._chains: dict[bytes, Chain] = {}
        self._their_ratchet: bytes | None = None
        self._sending: Chain | None = None
        self._previous = 0
        self.base = base
        """By which the first messages of one conversation are told from those of another."""
        self.opening: Opening | None = None

    def begin(self, their_ratchet: bytes) -> None:
        """Be ready to send first, to the key that the other side published."""
        self._their_ratchet = bare(their_ratchet)

    def decrypt(self, message: bytes) -> bytes:
        """The text of a SignalMessage. Raises Undecryptable and changes nothing then."""
        signed, mac = message[:-_MAC_BYTES], message[-_MAC_BYTES:]
        parsed = SignalMessage.FromString(signed[1:])
        theirs = bare(parsed.ratchetKey)
        chain, root = self._chains.get(theirs), self._root
        if chain is None:
            root, key = _step(self._root, self._ratchet.agree(theirs))
            chain = Chain(key)
        seeds = chain.seeds(parsed.counter)
        keys = _message_keys(seeds[parsed.counter])
        if authenticate(keys.mac, self._theirs + self._ours + signed)[:_MAC_BYTES] != mac:
            raise Undecryptable("the message's check sum is not the sender's")
        opener = Cipher(algorithms.AES(keys.cipher), modes.CBC(keys.iv)).decryptor()
        unpadder = PKCS7(128).unpadder()
        text = unpadder.update(opener.update(parsed.ciphertext) + opener.finalize()) + unpadder.finalize()
        chain.move_past(parsed.counter, seeds)
        if theirs not in self._chains:
            self._turn(theirs, chain, root)
        self.opening = None
        return text

    def _turn(self, theirs: bytes, chain: Chain, root: bytes) -> None:
        """The other side has a new key: so have we, from our next message on."""
        self._root, self._chains[theirs], self._their_ratchet = root, chain, theirs
        if self._sending is not None:
            self._previous, self._sending = self._sending.index, None
        while len(self._chains) > _KEPT_CHAINS:
            del self._chains[next(iter(self._chains))]

    def encrypt(self, text: bytes) -> bytes:
        """A SignalMessage for the other side."""
        if self._sending is None:
            assert self._their_ratchet is not None, "nothing is known of the other side's ratchet"
            self._ratchet = self._fresh()
            self._root, key = _step(self._root, self._ratchet.agree(self._their_ratchet))
            self._sending = Chain(key)
        counter = self._sending.index
        seeds = self._sending.seeds(counter)
        self._sending.move_past(counter, seeds)
        keys = _message_keys(seeds[counter])
        padder = PKCS7(128).padder()
        sealer = Cipher(algorithms.AES(keys.cipher), modes.CBC(keys.iv)).encryptor()
        sealed = sealer.update(padder.update(text) + padder.finalize()) + sealer.finalize()
        signed: bytes = (
            VERSION
            + SignalMessage(
                ratchetKey=self._ratchet.typed, counter=counter, previousCounter=self._previous, ciphertext=sealed
            ).SerializeToString()
        )
        return signed + authenticate(keys.mac, self._ours + self._theirs + signed)[:_MAC_BYTES]
