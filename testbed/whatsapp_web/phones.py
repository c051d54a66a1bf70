"""Simulated accounts: a phone with its number and LID, and the companions (linked devices) it has paired.

State and nothing else; what travels between phones and companions is `messages`, how one comes to be is `pairing`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from testbed.whatsapp_web.jids import LIDS, NUMBERS, Jid
from testbed.whatsapp_web.keys import Seed
from testbed.whatsapp_web.mailbox import Mailbox
from testbed.whatsapp_web.signal import Bundle, SignalPhone

_KEPT_ONE_TIME_KEYS: Final = 64
"""Companions upload hundreds; the rest is only counted. Who asks after these gets a bundle without."""
_ONE_TIME_BYTES: Final = 3 + 32


@dataclass(frozen=True, slots=True)
class Ban:
    """A temporary ban."""

    code: int
    until: float


@dataclass(frozen=True, slots=True)
class Published:
    """Keys that a companion uploaded once and may replace."""

    registration: bytes
    signed_id: int
    signed: bytes
    signature: bytes


class Companion:
    """A linked device of an account."""

    def __init__(self, jid: Jid, lid: Jid, *, noise: bytes, identity: bytes) -> None:
        self.jid = jid
        self.lid = lid
        self.noise = noise
        """Its static key, which must be the one that logs in."""
        self.identity = identity
        self.published: Published | None = None
        self.mailbox = Mailbox()
        self._one_time = b""
        self._uncounted = 0

    @property
    def name(self) -> str:
        """Number, colon, device."""
        return f"{self.jid.user}:{self.jid.device}"

    @property
    def one_time_keys(self) -> int:
        """How many one-time keys it has left on the server."""
        return len(self._one_time) // _ONE_TIME_BYTES + self._uncounted

    def publish(self, published: Published, one_time: list[tuple[int, bytes]]) -> None:
        """Its uploaded keys; those already there stay."""
        self.published = published
        self.replenish(one_time)

    def replenish(self, one_time: list[tuple[int, bytes]]) -> None:
        """More one-time keys."""
        room = max(0, _KEPT_ONE_TIME_KEYS - len(self._one_time) // _ONE_TIME_BYTES)
        self._one_time += b"".join(number.to_bytes(3, "big") + key for number, key in one_time[:room])
        self._uncounted += len(one_time[room:])

    def bundle(self) -> Bundle | None:
        """What others need to begin a conversation with it; none before it has uploaded its keys."""
        if self.published is None:
            return None
        first, self._one_time = self._one_time[:_ONE_TIME_BYTES], self._one_time[_ONE_TIME_BYTES:]
        if not first and self._uncounted:
            self._uncounted -= 1
        return Bundle(
            registration=self.published.registration,
            identity=self.identity,
            signed_id=self.published.signed_id,
            signed=self.published.signed,
            signature=self.published.signature,
            one_time=(int.from_bytes(first[:3], "big"), first[3:]) if first else None,
        )


@dataclass(slots=True)
class Phone:
    """An account: the phone of a recipient, or of somebody who links devices, or both."""

    number: str
    lid: str
    signal: SignalPhone
    exists: bool = True
    """Whether WhatsApp knows the number."""
    ban: Ban | None = None
    companions: dict[int, Companion] = field(default_factory=dict)
    last_device: int = 0
    """Numbers of companions are never given twice."""
    confirmed: list[tuple[str, str, str]] = field(default_factory=list)
    """What companions said about messages that this phone sent them: who, id, kind (`delivered`, `read`, …)."""

    def new_companion(self, *, noise: bytes, identity: bytes) -> Companion:
        """A companion under the next number. It is linked once it signed (`link`)."""
        self.last_device += 1
        device = self.last_device
        return Companion(Jid(self.number, NUMBERS, device), Jid(self.lid, LIDS, device), noise=noise, identity=identity)

    def link(self, companion: Companion) -> None:
        """It may log in from now on."""
        self.companions[companion.jid.device] = companion

    @property
    def jid(self) -> Jid:
        """The account by number."""
        return Jid(self.number, NUMBERS)

    @property
    def lid_jid(self) -> Jid:
        """The account by LID."""
        return Jid(self.lid, LIDS)


class Phones:
    """All accounts. A number that was never heard of is an account of its own from then on."""

    def __init__(self, seed: Seed) -> None:
        self._seed = seed
        self._by_number: dict[str, Phone] = {}
        self._by_lid: dict[str, Phone] = {}

    def get(self, number: str) -> Phone:
        """The account with this number. Raises ValueError for what is no number."""
        phone = self._by_number.get(number)
        if phone is None:
            if not (number.isascii() and number.isdigit() and 5 <= len(number) <= 15):
                raise ValueError(f"{number!r} is no phone number: 5 to 15 digits, without + and spaces")
            lid = next(lid for lid in _lids(number) if lid not in self._by_lid)
            phone = Phone(number, lid, SignalPhone(Seed(self._seed.bytes("phone", number))))
            self._by_number[number] = self._by_lid[phone.lid] = phone
        return phone

    def find(self, jid: Jid) -> Phone | None:
        """The account behind an address; a LID must have been told to somebody before."""
        if jid.server == LIDS:
            return self._by_lid.get(jid.user)
        try:
            return self.get(jid.user)
        except ValueError:
            return None

    def companion(self, name: str) -> Companion:
        """A companion by its name: number, colon, device. Raises ValueError."""
        number, _, device = name.partition(":")
        phone = self._by_number.get(number)
        found = phone.companions.get(int(device)) if phone is not None and device.isdigit() else None
        if found is None:
            raise ValueError(f"there is no linked device {name!r}")
        return found

    def companions(self) -> Iterator[Companion]:
        """Every companion of every account."""
        return (companion for phone in self._by_number.values() for companion in phone.companions.values())


def _lids(number: str) -> Iterator[str]:
    """LIDs for a number: they look like phone numbers, but +1 000 is given to nobody, so the two are never confused."""
    for attempt in count():
        digest = int.from_bytes(hashlib.sha256(f"{number} {attempt}".encode()).digest()[:8], "big")
        yield f"1000{digest % 10**11:011d}"
