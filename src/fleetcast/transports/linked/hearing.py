"""What people do to one device: receipts, messages, and what was typed on its own phone. Each is written down first.

Separate from `session`, which keeps the connection: here numbers and LIDs are kept as one identity, and receipts of a
message whose name is not known yet wait until it is.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from fleetcast.clock import Clock
from fleetcast.domain.identifiers import DeviceId, Phone, Reference
from fleetcast.transports.base import Inbound, OwnEcho, Receipt, ReceiptKind, Reply
from fleetcast.transports.linked.files import DeviceFiles, number
from fleetcast.transports.linked.happenings import Incoming, Marks
from fleetcast.transports.linked.journal import Journal
from fleetcast.transports.linked.library import Client
from fleetcast.transports.linked.protocol import Told

REMEMBERED = 500
"""People and messages of each device that are remembered, the newest."""
KNOWN = 5_000
"""Pairs of LID and number that are remembered; the session file knows them all."""
T = TypeVar("T")


class Hearing:
    """The ears of one device. Made once its files are ours alone."""

    def __init__(self, device: DeviceId, files: DeviceFiles, tell: Callable[[Told], None], clock: Clock) -> None:
        self._device = device
        self._tell = tell
        self._clock = clock
        self._journal = Journal(files.events)
        self._wrote: OrderedDict[Phone, None] = OrderedDict()
        self._echoes: OrderedDict[str, None] = OrderedDict()
        self._numbers: OrderedDict[str, Phone] = OrderedDict()
        """WhatsApp's way to write a person, number or LID, where it is not simply ours."""
        self._early: list[Receipt] = []
        self._sending_to: Phone | None = None
        for event in self._journal.waiting():
            tell(Told(event, kept=True))

    def confirm(self, events: tuple[str, ...]) -> None:
        """These are durable."""
        self._journal.confirm(events)

    # of our own messages

    @property
    def is_sending(self) -> bool:
        """Whether a message is on its way."""
        return self._sending_to is not None

    def sending(self, recipient: Phone | None) -> None:
        """To whom a message is on its way; None: its name is known now. Receipts of that person wait until then."""
        self._sending_to = recipient
        if recipient is None:
            early, self._early = self._early, []
            for receipt in early:
                self._tell(Told(receipt, kept=True))

    def written_as(self, user: str, phone: Phone) -> None:
        """How WhatsApp writes a number of ours."""
        if number(user) != phone:
            _keep(self._numbers, user, phone, KNOWN)

    def accepted_late(self, reference: str, provider_id: str, recipient: Phone) -> None:
        """An answer for which nobody waits any more."""
        at, ours = self._clock.now(), Reference(reference)
        name = f"accepted-{provider_id}"
        self._keep(Receipt(name, self._device, provider_id, ReceiptKind.ACCEPTED, at, ours, recipient))

    # of others

    def has_heard_from(self, person: Phone) -> bool:
        """Whether this person wrote lately, so that a message to them is an answer."""
        return person in self._wrote

    async def receipts(self, marks: Marks, client: Client) -> None:
        """A person has got, or has read, some messages."""
        person = await self._person(marks.user, marks.by_lid, client)
        kind = ReceiptKind.READ if marks.read else ReceiptKind.DELIVERED
        for mark in marks.ids:
            if mark in self._echoes:
                continue
            receipt = Receipt(f"{kind}-{mark}", self._device, mark, kind, marks.at, recipient=person)
            if self._journal.keep(receipt):
                if person is not None and person == self._sending_to:
                    self._early.append(receipt)
                else:
                    self._tell(Told(receipt, kept=True))

    async def message(self, message: Incoming, client: Client) -> None:
        """A person wrote, or somebody typed on our own phone."""
        person = await self._person(message.user, message.by_lid, client)
        if message.mine:
            _keep(self._echoes, message.id, None, REMEMBERED)
            self._keep(OwnEcho(f"echo-{message.id}", self._device, message.id, message.at, person))
        elif person is not None:
            _keep(self._wrote, person, None, REMEMBERED)
            self._keep(Reply(f"reply-{message.id}", self._device, person, message.text, message.at))

    def _keep(self, event: Inbound) -> None:
        if self._journal.keep(event):
            self._tell(Told(event, kept=True))

    async def _person(self, user: str, by_lid: bool, client: Client) -> Phone | None:
        """The number of a person; None where WhatsApp told only a name that says nothing of it."""
        if not by_lid:
            return self._numbers.get(user, number(user))
        lid = f"{user}@lid"
        if lid not in self._numbers:
            found = await client.number_of(user)
            if found is None:
                return None
            _keep(self._numbers, lid, self._numbers.get(found, number(found)), KNOWN)
        return self._numbers[lid]


def _keep(where: "OrderedDict[str, T] | OrderedDict[Phone, T]", name: str, value: T, most: int) -> None:
    where[Phone(name)] = value
    while len(where) > most:
        where.popitem(last=False)
