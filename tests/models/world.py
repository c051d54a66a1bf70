"""The world outside Fleetcast: a provider in a few lines, and the only judge of what was sent.

It knows nothing of rows and statuses. Whom a message is for and which campaign it belongs to it reads off the message
itself, as a person with the phone would; so a mistake of the system cannot hide in the system's own books. Like the
simulator it knows each reference once, and seals what it says it has never seen.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.null_transport import NullTransport
from fleetcast.domain.identifiers import Reference
from fleetcast.domain.message import Reason
from fleetcast.transports.base import Accepted, Finding, Outbound
from fleetcast.transports.errors import (
    ContentRefused,
    DeviceRefused,
    NotSent,
    OptedOut,
    RecipientRefused,
    SendError,
    Unknown,
)

Copy = tuple[str, str]
"""A campaign, by the word its texts begin with, and a person's number."""

REFUSALS: dict[str, type[SendError]] = {
    "unreachable": RecipientRefused,
    "opted_out": OptedOut,
    "bad_text": ContentRefused,
    "device": DeviceRefused,
    "not_sent": NotSent,
}
"""Answers that say for certain that nothing was sent."""


@dataclass(eq=False)
class Flight:
    """A message on its way to the provider, and somebody who waits for the answer (or no longer does)."""

    message: Outbound
    answer: "asyncio.Future[Accepted]" = field(repr=False)

    @property
    def reference(self) -> Reference:
        return self.message.reference

    @property
    def copy(self) -> Copy:
        return self.message.text.split(" ", 1)[0], str(self.message.recipient)


def provider_id(reference: str) -> str:
    """The provider's own name of a message."""
    return f"p-{reference}"


class World(NullTransport):
    """The provider as a transport, with a hand on everything that can happen to a message."""

    doubt_window = 600.0

    def __init__(self) -> None:
        super().__init__()
        self.flights: list[Flight] = []
        """On their way, or gone astray: they may still arrive."""
        self.accepted: dict[Reference, Flight] = {}
        self.sealed: set[Reference] = set()
        self.copies: Counter[Copy] = Counter()
        self.again: set[Copy] = set()
        """Copies that a person had sent again although they may have arrived."""
        self.wrong: list[str] = []
        """What no provider should ever see."""
        self.is_mute = False
        """It does not answer questions now."""

    async def send(self, message: Outbound, timeout: float) -> Accepted:
        """Wait until the test decides what becomes of it."""
        flight = Flight(message, asyncio.get_running_loop().create_future())
        if message.reference in self.accepted or any(f.reference == message.reference for f in self.flights):
            self.wrong.append(f"{message.reference} was sent twice")
        astray = [f for f in self.flights if f.copy == flight.copy and f.reference not in self.sealed]
        if (astray or self.copies[flight.copy]) and flight.copy not in self.again:
            self.wrong.append(f"{flight.copy} is sent again although it arrived, or may still arrive")
        self.flights.append(flight)
        return await flight.answer

    async def find(self, references: Sequence[Reference]) -> list[Finding]:
        """The ledger's answer. What it denies it seals."""
        if self.is_mute:
            return []
        self.sealed.update(r for r in references if r not in self.accepted)
        return [Finding(r, provider_id(r) if r in self.accepted else None) for r in references]

    def arrive(self, flight: Flight) -> bool:
        """The message reaches the provider; whether it is accepted. A sealed one is not."""
        self.flights.remove(flight)
        if flight.reference in self.sealed:
            return False
        self.accepted[flight.reference] = flight
        self.copies[flight.copy] += 1
        return True

    def lose(self, flight: Flight) -> None:
        """It never arrives."""
        self.flights.remove(flight)

    def answer(self, flight: Flight, how: str) -> None:
        """Decide about a message somebody waits for.

        `accepted`; `unheard`: accepted, but the answer is lost; `astray`: no answer, and it may still arrive; or one
        of `REFUSALS`.
        """
        if how == "astray":
            flight.answer.set_exception(Unknown("timeout"))
        elif how in REFUSALS:
            self.lose(flight)
            flight.answer.set_exception(REFUSALS[how](how))
        elif not self.arrive(flight):
            flight.answer.set_exception(NotSent("sealed", reason=Reason.TRANSPORT_TROUBLE))
        elif how == "unheard":
            flight.answer.set_exception(Unknown("dropped"))
        else:
            flight.answer.set_result(Accepted(provider_id(flight.reference)))
