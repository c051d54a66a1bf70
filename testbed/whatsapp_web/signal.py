"""The Signal side of one simulated phone: its published keys, and its conversations with other devices (X3DH).

All keys come from the phone's seed: a hundred thousand phones cost nothing until somebody writes to them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

from testbed.whatsapp_web.keys import KEY_TYPE, KeyPair, Seed, bare
from testbed.whatsapp_web.protobufs import PreKeySignalMessage
from testbed.whatsapp_web.ratchet import VERSION, Conversation, Opening, Undecryptable, first_root

SIGNED_ID: Final = 1
_KEPT: Final = 4
"""Conversations with one device that are kept, since both sides may begin one at the same time."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a device publishes, so that others can begin a conversation while it is away."""

    registration: bytes
    identity: bytes
    signed_id: int
    signed: bytes
    signature: bytes
    one_time: tuple[int, bytes] | None
    """Number and public key; none when they ran out, which is allowed."""


class SignalPhone:
    """Keys and conversations of one phone. `peer` names the other device: number, colon, device."""

    def __init__(self, seed: Seed) -> None:
        self._seed = seed
        self.identity = seed.pair("identity")
        self.registration = int.from_bytes(seed.bytes("registration")[:2], "big") % 16_380 + 1
        self._one_time: Iterator[int] = count(1)
        self._fresh_keys: Iterator[int] = count(1)
        self._conversations: dict[str, list[Conversation]] = {}

    def bundle(self) -> Bundle:
        """Published keys, with a one-time key that nobody else gets."""
        number = next(self._one_time)
        signed = self._signed()
        return Bundle(
            registration=self.registration.to_bytes(4, "big"),
            identity=self.identity.public,
            signed_id=SIGNED_ID,
            signed=signed.public,
            signature=self.identity.sign(signed.typed),
            one_time=(number, self._seed.pair("one-time", number).public),
        )

    def _signed(self) -> KeyPair:
        return self._seed.pair("signed", SIGNED_ID)

    def _fresh(self) -> KeyPair:
        return self._seed.pair("fresh", next(self._fresh_keys))

    def knows(self, peer: str) -> bool:
        """Whether there is a conversation to answer in."""
        return bool(self._conversations.get(peer))

    def forget(self, peer: str) -> None:
        """The other device is gone for good."""
        self._conversations.pop(peer, None)

    def decrypt(self, peer: str, kind: str, data: bytes, *, identity: bytes) -> bytes:
        """The text of `pkmsg` or `msg` from a device whose identity key is known. Raises Undecryptable."""
        if kind == "pkmsg":
            conversation, data = self._opened(peer, data, identity)
            text = conversation.decrypt(data)
            self._put_first(peer, conversation)
            return text
        if kind != "msg":
            raise Undecryptable(f"a phone has no use for {kind!r}")
        why = Undecryptable("there is no conversation with its sender")
        for conversation in list(self._conversations.get(peer, ())):
            try:
                text = conversation.decrypt(data)
            except Undecryptable as error:
                why = error
            else:
                self._put_first(peer, conversation)
                return text
        raise why

    def _put_first(self, peer: str, conversation: Conversation) -> None:
        known = self._conversations.get(peer, [])
        self._conversations[peer] = [conversation, *(other for other in known if other is not conversation)][:_KEPT]

    def _opened(self, peer: str, data: bytes, identity: bytes) -> tuple[Conversation, bytes]:
        """The conversation that a first message belongs to, and the message in it."""
        first = PreKeySignalMessage.FromString(data[1:])
        if bare(first.identityKey) != bare(identity):
            raise Undecryptable("the message carries another identity than the one that its sender was paired with")
        for known in self._conversations.get(peer, ()):
            if known.base == first.baseKey:
                return known, first.message
        signed = self._signed()
        if first.signedPreKeyId != SIGNED_ID:
            raise Undecryptable(f"there is no signed key {first.signedPreKeyId}")
        secrets = signed.agree(first.identityKey) + self.identity.agree(first.baseKey) + signed.agree(first.baseKey)
        if first.HasField("preKeyId"):
            secrets += self._seed.pair("one-time", first.preKeyId).agree(first.baseKey)
        conversation = Conversation(
            first_root(secrets),
            ours=self.identity,
            theirs=first.identityKey,
            ratchet=signed,
            fresh=self._fresh,
            base=first.baseKey,
        )
        return conversation, first.message

    def begin(self, peer: str, bundle: Bundle) -> None:
        """Begin a conversation with a device that published these keys."""
        base = self._fresh()
        secrets = self.identity.agree(bundle.signed) + base.agree(bundle.identity) + base.agree(bundle.signed)
        if bundle.one_time is not None:
            secrets += base.agree(bundle.one_time[1])
        conversation = Conversation(
            first_root(secrets),
            ours=self.identity,
            theirs=bundle.identity,
            ratchet=base,
            fresh=self._fresh,
            base=base.typed,
        )
        conversation.begin(bundle.signed)
        conversation.opening = Opening(base.typed, bundle.signed_id, bundle.one_time[0] if bundle.one_time else None)
        self._put_first(peer, conversation)

    def encrypt(self, peer: str, text: bytes) -> tuple[str, bytes]:
        """`pkmsg` or `msg`, and its bytes, in the newest conversation."""
        conversation = self._conversations[peer][0]
        opening = conversation.opening
        message = conversation.encrypt(text)
        if opening is None:
            return "msg", message
        wrapped = PreKeySignalMessage(
            registrationId=self.registration,
            signedPreKeyId=opening.signed_id,
            baseKey=opening.base_key,
            identityKey=KEY_TYPE + self.identity.public,
            message=message,
        )
        if opening.one_time_id is not None:
            wrapped.preKeyId = opening.one_time_id
        return "pkmsg", VERSION + wrapped.SerializeToString()
