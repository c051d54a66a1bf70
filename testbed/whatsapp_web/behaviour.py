"""How the server treats what clients do: well, unless told otherwise.

A treatment says everything that can happen to a message on its way to the phone and back; rules say whose messages get
which, and how often. Separate from the server, which only asks.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Ack(StrEnum):
    """When the client hears that the server has its message."""

    NOW = "now"
    HELD = "held"
    """Not before `release`."""
    NEVER = "never"


class Receipts(StrEnum):
    """How much the recipient's phone tells."""

    NONE = "none"
    DELIVERED = "delivered"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Treatment:
    """What becomes of one message. The default is what a healthy server and a phone in somebody's hand do."""

    delivered: bool = True
    """Whether the phone gets it. A message that was refused (`error`) is never delivered."""
    ack: Ack = Ack.NOW
    error: int = 0
    """In the acknowledgement: 463 is the time-lock on new chats."""
    receipts: Receipts = Receipts.READ
    receipts_first: bool = False
    """Receipts overtake the acknowledgement."""
    repeated: int = 1
    """How often each receipt comes."""
    then_drop: bool = False
    """The connection is cut once all else is done, as a network does: no farewell."""


WELL = Treatment()


@dataclass(slots=True)
class Rule:
    """Whose messages are treated how. Empty: everybody's."""

    treatment: Treatment
    sender: str = ""
    """Number of the account that sends."""
    recipient: str = ""
    times: int | None = None
    """For as many messages; without it until it is taken back."""

    def fits(self, sender: str, recipient: str) -> bool:
        """Whether it is about this message."""
        return self.sender in ("", sender) and self.recipient in ("", recipient) and self.times != 0


@dataclass(slots=True)
class Behaviour:
    """Everything that the server does on command."""

    rules: list[Rule] = field(default_factory=list)
    qr_codes: int = 6
    """How many QR codes a client that wants to be paired is given; the first of six is good for 60 s, others for 20."""
    refuses_connections: bool = False
    delay: float = 0.0
    """Seconds that everything the server says waits."""

    def treat(self, sender: str, recipient: str) -> Treatment:
        """The treatment of a message, by the first rule that fits; a rule with a number of times is used up by it."""
        for rule in self.rules:
            if rule.fits(sender, recipient):
                if rule.times is not None:
                    rule.times -= 1
                return rule.treatment
        return WELL
