"""What people do to one device: receipts, messages, and what was typed on its own phone. Each is written down first.

Separate from `session`, which keeps the connection: here numbers and LIDs are kept as one identity, and receipts of a
message whose name is not known yet wait until it is.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

from fleetcast.clock import Clock
from fleetcast.domain.identifiers import DeviceId, Phone, Reference
from fleetcast.transports.base import OwnEcho, Receipt, ReceiptKind, Reply
from fleetcast.transports.linked.files import DeviceFiles, number
from fleetcast.transports.linked.happenings import Incoming, Marks
from fleetcast.transports.linked.journal import Journal
from fleetcast.transports.linked.library import Client, LibraryError
from fleetcast.transports.linked.protocol import Told

REMEMBERED = 500
"""People and messages of each device that are remembered, the newest."""
KNOWN = 500
"""Pairs of LID and number that are remembered; the session file knows them all."""
T = TypeVar("T")
Heard = Receipt | Reply | OwnEcho


class Hearing:
    """The ears of one device. Made once its files are ours alone."""

    def __init__(self, device: DeviceId, files: DeviceFiles, tell: Callable[[Told], None], clock: Clock) -> None:
        self._device = device
        self._tell = tell
        self._clock = clock
        self._journal = Journal(files.events)
        self._echoes: OrderedDict[str, None] = OrderedDict()
        self._numbers: OrderedDict[str, Phone] = OrderedDict()
        """WhatsApp's way to write a person, number or LID, where it is not simply ours."""
        self._early: list[Receipt] = []
        self._sending_to: Phone | None = None
        self._unread: list[Marks | Incoming] = []
        """Until a client can say who they are from; also those of an earlier process."""
        for entry, value in self._journal.waiting():
            if isinstance(value, Marks | Incoming):
                self._unread.append(value.written(entry))
            else:
                self._told(entry, [value])

    def write_down(self, heard: Marks | Incoming) -> Marks | Incoming:
        """Keep it from now on. For any thread."""
        return heard.written(self._journal.write(heard))

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
        late = Receipt(name, self._device, provider_id, ReceiptKind.ACCEPTED, at, ours, recipient)
        self._told(self._journal.write(late), [late])

    # of others

    async def catch_up(self, client: Client) -> None:
        """Tell what an earlier process wrote down and nobody confirmed."""
        unread, self._unread = self._unread, []
        for heard in unread:
            await self.hear(heard, client)

    async def hear(self, heard: Marks | Incoming, client: Client) -> None:
        """Tell what was written down: who it is from, as a number of ours."""
        try:
            person = await self._person(heard.user, heard.by_lid, client)
        except LibraryError:  # the client is just ending: the next one is asked
            self._unread.append(heard)
            return
        if isinstance(heard, Marks):
            self._told(heard.entry, self._receipts(heard, person))
        else:
            self._told(heard.entry, self._message(heard, person))

    def _receipts(self, marks: Marks, person: Phone | None) -> list[Receipt]:
        kind = ReceiptKind.READ if marks.read else ReceiptKind.DELIVERED
        return [
            Receipt(f"{kind}-{mark}", self._device, mark, kind, marks.at, recipient=person)
            for mark in marks.ids
            if mark not in self._echoes
        ]

    def _message(self, message: Incoming, person: Phone | None) -> list[Heard]:
        if message.mine:
            _keep(self._echoes, message.id, None, REMEMBERED)
            return [OwnEcho(f"echo-{message.id}", self._device, message.id, message.at, person)]
        if person is None:
            return []
        return [Reply(f"reply-{message.id}", self._device, person, message.text, message.at)]

    def _told(self, entry: int, events: Sequence[Heard]) -> None:
        new = self._journal.told(entry, [event.event_id for event in events])
        for event in events:
            if event.event_id not in new:
                continue
            if isinstance(event, Receipt) and self._may_be_unnamed(event):
                self._early.append(event)
            else:
                self._tell(Told(event, kept=True))

    def _may_be_unnamed(self, receipt: Receipt) -> bool:
        """Whether it may be of the message that is on its way."""
        if receipt.kind is ReceiptKind.ACCEPTED or self._sending_to is None:
            return False
        return receipt.recipient == self._sending_to

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
