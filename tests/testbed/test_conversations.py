"""Conversations of simulated phones: in any order, with any loss, each message is read once and only once."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyaileys.auth.state import AuthenticationState
from pyaileys.auth.utils import init_auth_creds
from pyaileys.signal.repository import PreKeyBundle, PreKeyBundleKey, SignalRepository

from testbed.whatsapp_web.keys import Seed
from testbed.whatsapp_web.ratchet import Undecryptable
from testbed.whatsapp_web.signal import Bundle, SignalPhone

Sent = tuple[str, bytes]


def pair() -> tuple[SignalPhone, SignalPhone]:
    """Two phones of which the first has begun a conversation."""
    first, second = SignalPhone(Seed(b"first")), SignalPhone(Seed(b"second"))
    first.begin("second", second.bundle())
    return first, second


def read(reader: SignalPhone, writer: SignalPhone, name: str, sent: Sent) -> bytes:
    """What a phone makes of a message."""
    return reader.decrypt(name, *sent, identity=writer.identity.public)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_whoever_writes_and_in_whatever_order_it_arrives_each_is_read_once(turns: list[bool], chance: Any) -> None:
    """A turn is a message of the first or the second; what was sent may wait and be overtaken."""
    first, second = pair()
    under_way: dict[bool, list[tuple[bytes, Sent]]] = {True: [], False: []}
    old: list[tuple[bool, Sent]] = []

    def arrive(from_first: bool) -> None:
        waiting = under_way[from_first]
        text, sent = waiting.pop(chance.randrange(len(waiting)))
        reader, writer, name = (second, first, "first") if from_first else (first, second, "second")
        assert read(reader, writer, name, sent) == text
        old.append((from_first, sent))

    for number, wants_first in enumerate(turns):
        from_first = wants_first or not second.knows("first")  # the second learns of the first by its message
        text = f"message {number}".encode()
        writer, name = (first, "second") if from_first else (second, "first")
        under_way[from_first].append((text, writer.encrypt(name, text)))
        while any(under_way.values()) and chance.random() < 0.6:
            arrive(chance.choice([side for side in (True, False) if under_way[side]]))
    while any(under_way.values()):
        arrive(chance.choice([side for side in (True, False) if under_way[side]]))
    for from_first, sent in old:
        reader, writer, name = (second, first, "first") if from_first else (first, second, "second")
        with pytest.raises(Undecryptable):
            read(reader, writer, name, sent)


def test_a_damaged_message_is_refused_and_the_real_one_is_read_afterwards() -> None:
    first, second = pair()
    read(second, first, "first", first.encrypt("second", b"hello"))
    kind, data = second.encrypt("first", b"hello yourself")
    with pytest.raises(Undecryptable, match="check sum"):
        read(first, second, "second", (kind, data[:-1] + bytes([data[-1] ^ 1])))
    assert read(first, second, "second", (kind, data)) == b"hello yourself"


def test_a_message_in_somebody_elses_name_is_refused() -> None:
    first, second = pair()
    stranger = SignalPhone(Seed(b"stranger"))
    with pytest.raises(Undecryptable, match="another identity"):
        read(second, stranger, "first", first.encrypt("second", b"hello"))


def test_without_a_conversation_a_message_is_refused() -> None:
    first, second = pair()
    opening = first.encrypt("second", b"hello")
    read(second, first, "first", opening)
    answer = second.encrypt("first", b"hello yourself")
    with pytest.raises(Undecryptable, match="no conversation"):
        read(SignalPhone(Seed(b"third")), second, "second", answer)


def test_both_may_begin_at_the_same_time() -> None:
    first, second = pair()
    second.begin("first", first.bundle())
    crossing = first.encrypt("second", b"I was first"), second.encrypt("first", b"no, I was")
    assert read(second, first, "first", crossing[0]) == b"I was first"
    assert read(first, second, "second", crossing[1]) == b"no, I was"
    for number in range(3):
        text = str(number).encode()
        assert read(second, first, "first", first.encrypt("second", text)) == text
        assert read(first, second, "second", second.encrypt("first", text)) == text


def test_one_time_keys_may_run_out() -> None:
    first, second = SignalPhone(Seed(b"first")), SignalPhone(Seed(b"second"))
    bundle = second.bundle()
    without = Bundle(bundle.registration, bundle.identity, bundle.signed_id, bundle.signed, bundle.signature, None)
    first.begin("second", without)
    assert read(second, first, "first", first.encrypt("second", b"hello")) == b"hello"


class Keys:
    """The other library's store, in memory."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Any] = {}

    async def get(self, kind: str, ids: list[str]) -> dict[str, Any]:
        return {each: self._kept.get((kind, each)) for each in ids}

    async def set(self, data: Mapping[str, Mapping[str, Any | None]]) -> None:
        for kind, values in data.items():
            self._kept.update({(kind, each): value for each, value in values.items()})

    async def clear(self) -> None:
        self._kept.clear()


async def test_it_understands_another_librarys_signal_and_is_understood() -> None:
    creds = init_auth_creds()
    theirs = SignalRepository(AuthenticationState(creds=creds, keys=Keys()))
    identity = creds.signed_identity_key.public
    ours, bundle = SignalPhone(Seed(b"ours")), SignalPhone(Seed(b"ours")).bundle()
    assert bundle.one_time is not None
    await theirs.inject_outgoing_session(
        "5511@s.whatsapp.net",
        PreKeyBundle(
            registration_id=int.from_bytes(bundle.registration, "big"),
            identity_key=b"\x05" + bundle.identity,
            signed_pre_key=PreKeyBundleKey(bundle.signed_id, b"\x05" + bundle.signed, bundle.signature),
            pre_key=PreKeyBundleKey(bundle.one_time[0], b"\x05" + bundle.one_time[1]),
        ),
    )

    async def both_ways(text: bytes) -> None:
        kind, data = await theirs.encrypt_message("5511@s.whatsapp.net", data=text)
        assert ours.decrypt("theirs", kind, data, identity=identity) == text
        kind, data = ours.encrypt("theirs", text)
        back: Awaitable[bytes] = theirs.decrypt_message("5511@s.whatsapp.net", message_type=kind, ciphertext=data)
        assert await back == text

    for number in range(4):
        await both_ways(f"message {number}".encode())
    await asyncio.gather(both_ways(b"last"))
