"""What the server knows: its accounts, who is connected, what arrived, how it should behave. One value, handed around.

It outlives connections and the server's own restart.
"""

import os
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Protocol

from testbed.whatsapp_web.behaviour import Behaviour
from testbed.whatsapp_web.codes import Scanned
from testbed.whatsapp_web.keys import KeyPair, Seed
from testbed.whatsapp_web.media import MediaStore
from testbed.whatsapp_web.nodes import Node
from testbed.whatsapp_web.noise import ServerIdentity
from testbed.whatsapp_web.phones import Companion, Phone, Phones
from testbed.whatsapp_web.record import Record


class Online(Protocol):
    """A companion that is logged in (`session`)."""

    async def tell(self, node: Node) -> None:
        """Say what is in its mailbox, if it listens."""

    async def release(self) -> int:
        """Send the acknowledgements that were held; how many."""

    def end_with(self, node: Node) -> None:
        """Say a last word and hang up, without being waited for."""

    def cut(self) -> None:
        """Be gone, as when a network fails."""

    def be_silent(self) -> None:
        """Half-open from now on."""


class Waiting(Protocol):
    """A client that waits to be paired (`pairing`)."""

    def shows(self, ref: str) -> bool:
        """Whether this is the QR code on its screen."""

    def waits_for(self, number: str) -> bool:
        """Whether it shows a code for this number."""

    async def scanned(self, phone: Phone, scanned: Scanned) -> Companion:
        """Somebody held a phone before it. Raises Refused."""

    async def entered(self, phone: Phone, text: str) -> Companion:
        """Somebody typed its code. Raises Refused."""


class World:
    """All state of one testbed."""

    def __init__(self, folder: Path, *, seed: bytes, now: Callable[[], float]) -> None:
        self.now = now
        self._seed = Seed(seed)
        self._numbers = count(1)
        self.server = ServerIdentity(self._seed, now=now())
        self.phones = Phones(self._seed)
        self.behaviour = Behaviour()
        self.record = Record(folder / "record.jsonl")
        self.media = MediaStore(folder / "media")
        self.counts: Counter[str] = Counter()
        """What happened how often: `paired`, `login`, `message`, and queries that nobody taught us as `unknown …`."""
        self.sessions: dict[str, Online] = {}
        """Who is logged in, by name of the companion."""
        self.registrations: set[Waiting] = set()
        """Who waits to be paired."""

    @property
    def stamp(self) -> str:
        """The time as nodes tell it."""
        return str(int(self.now()))

    def ephemeral(self) -> KeyPair:
        """A key for one handshake or one code. Never the same twice, even after a restart with the same seed."""
        return KeyPair(os.urandom(32))

    def mark(self, prefix: str) -> str:
        """An id for something that the server or a phone sends."""
        return f"{prefix}{next(self._numbers):08X}{os.urandom(4).hex().upper()}"

    def close(self) -> None:
        """Close the record."""
        self.record.close()
