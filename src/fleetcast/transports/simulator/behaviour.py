"""How the simulated WhatsApp behaves: what becomes of a message, decided by the seed and the message alone.

`fate` is a pure function. Every draw hashes (seed, purpose, name), so neither the order of messages, nor how many there
are, nor what else is switched on changes what happens to one of them. Draws about the attempt use its reference; draws
about the person (not on WhatsApp, refuses messages) use the telephone number, so a retry meets the same person.
"""

from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Self

from fleetcast.errors import InvalidInput
from fleetcast.transports.base import ReceiptKind

Span = tuple[float, float]
"""From and to; a uniform draw lies between them."""


class SendOutcome(StrEnum):
    """What becomes of one send. The words are those of control commands."""

    ACCEPT = "accept"
    NOT_ON_WHATSAPP = "refuse:not_on_whatsapp"
    OPTED_OUT = "refuse:opted_out"
    """The person refuses messages from businesses."""
    CONTENT = "refuse:content"
    RATE_LIMITED = "refuse:rate_limited"
    """Not sent; told to wait `retry_after` seconds."""
    DEVICE = "refuse:device"
    """The number may not send. Only by command: it says nothing about the device's state."""
    NO_ANSWER_ACCEPTED = "no_answer_accepted"
    """In the ledger, and nobody is told."""
    NO_ANSWER_DROPPED = "no_answer_dropped"
    """Lost on the way, and nobody is told."""
    SLOW = "slow"
    """In the ledger at once, answered after `slow_seconds`."""
    LATE = "late"
    """On the way for `slow_seconds` before it reaches the ledger: it may find its reference sealed."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """All that can be set. Shares are 0 to 1, spans are seconds unless the name says otherwise."""

    latency_ms: Span = (20.0, 80.0)
    """From a message's arrival to its answer, milliseconds."""
    not_on_whatsapp: float = 0.0
    """Share of telephone numbers."""
    opted_out: float = 0.0
    """Share of telephone numbers."""
    content_refused: float = 0.0
    rate_limited: float = 0.0
    retry_after: float = 5.0
    """Seconds that a rate limited send is asked to wait."""
    no_answer_accepted: float = 0.0
    no_answer_dropped: float = 0.0
    slow: float = 0.0
    late: float = 0.0
    slow_seconds: Span = (1.0, 5.0)
    failed_after_accept: float = 0.0
    """Share of accepted messages that fail afterwards, told by a receipt."""
    delivered: float = 0.0
    """Share of accepted messages, without the failed ones."""
    delivered_after: Span = (0.1, 2.0)
    read: float = 0.0
    """Share of delivered messages."""
    read_after: Span = (1.0, 10.0)
    """After the delivery."""
    read_first: float = 0.0
    """Share of read messages whose `read` comes before their `delivered`."""
    repeated: float = 0.0
    """Share of receipts that come twice, the same event a second time."""
    repeated_after: Span = (0.1, 3.0)
    """After the first time."""
    replies: float = 0.0
    """Share of delivered messages that a person answers."""
    reply_after: Span = (1.0, 15.0)
    """After the delivery."""
    stop_replies: float = 0.0
    """Share of replies that are a stop word."""
    disconnects_per_hour: float = 0.0
    """Per device, on average."""
    offline_for: Span = (1.0, 5.0)
    code_seconds: float = 20.0
    """How long a QR code links a phone; then the next one is shown."""
    codes: float = 6.0
    """So many are shown before nobody is waited for any more; a code that is typed in is good for as long."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                low, high = value
                if not 0 <= low <= high <= 86_400_000:
                    raise InvalidInput(
                        field.name, f"{value} is not a span: from and to, from not above to, not negative"
                    )
            elif field.name in _NUMBERS:
                if not 0 <= value <= 86_400:
                    raise InvalidInput(field.name, f"{value} must lie between 0 and 86400")
            elif not 0 <= value <= 1:
                raise InvalidInput(field.name, f"{value} is not a share: it must lie between 0 and 1")

    def changed(self, values: dict[str, Any]) -> Self:
        """The same behaviour with some values changed. Raises InvalidInput that names the value."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        checked: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise InvalidInput(name, f"no such value; there are {', '.join(known)}")
            try:
                checked[name] = _span(value) if isinstance(known[name], tuple) else float(value)
            except (TypeError, ValueError):
                raise InvalidInput(name, f"{value!r} is not a number or a span of two numbers") from None
        return replace(self, **checked)

    def as_dict(self) -> dict[str, Any]:
        """All values, spans as pairs."""
        return asdict(self)


_NUMBERS = frozenset({"retry_after", "disconnects_per_hour", "code_seconds", "codes"})


def _span(value: Any) -> Span:
    low, high = value
    return float(low), float(high)


PROFILES: dict[str, Behaviour] = {
    "fast": Behaviour(latency_ms=(0.0, 0.0)),
    "quiet": Behaviour(delivered=1.0, read=0.6),
    "demo": Behaviour(
        not_on_whatsapp=0.02,
        content_refused=0.002,
        delivered=0.9,
        read=0.67,  # about 60 % of what was accepted
        replies=0.022,  # about 2 %
        stop_replies=0.25,
        disconnects_per_hour=4.0,
    ),
    "rough": Behaviour(
        latency_ms=(0.0, 150.0),
        not_on_whatsapp=0.03,
        opted_out=0.02,
        content_refused=0.02,
        rate_limited=0.03,
        retry_after=1.0,
        no_answer_accepted=0.02,
        no_answer_dropped=0.02,
        slow=0.02,
        late=0.02,
        slow_seconds=(0.2, 3.0),
        failed_after_accept=0.02,
        delivered=0.9,
        delivered_after=(0.0, 1.0),
        read=0.67,
        read_after=(0.0, 2.0),
        read_first=0.2,
        repeated=0.2,
        replies=0.05,
        reply_after=(0.0, 2.0),
        stop_replies=0.2,
        disconnects_per_hour=60.0,
        offline_for=(0.2, 3.0),
    ),
}
"""By name. `fast` does nothing but accept, at once; `quiet` adds latency and receipts and never misbehaves; `demo` is a
small realistic share of what a person may see, but for refusals after which a message waits a minute; `rough` is
everything, for tests."""
WELL_BEHAVED = frozenset({"fast", "quiet"})

STOP_WORDS = ("STOP", "Stop", "stop.", "Unsubscribe")
ANSWERS = ("Thank you!", "How much is it?", "Tell me more, please.", "Who is this?", "Ok")


@dataclass(frozen=True, slots=True)
class Fate:
    """What will become of one message. Times are seconds."""

    outcome: SendOutcome
    latency: float
    """From arrival to answer."""
    slow: float
    """How long a slow answer or a late arrival takes."""
    receipts: tuple[tuple[float, ReceiptKind], ...]
    """When after acceptance, and what; in the order in which they come."""
    reply: tuple[float, str] | None
    """When after acceptance, and the text."""


def draw(seed: int, purpose: str, name: object) -> float:
    """A number in [0, 1) that depends on nothing but the arguments."""
    digest = blake2b(f"{seed}|{purpose}|{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def draw_between(seed: int, purpose: str, name: object, span: Span) -> float:
    """A uniform draw within the span."""
    low, high = span
    return low + (high - low) * draw(seed, purpose, name) if high > low else low


def fate(behaviour: Behaviour, seed: int, recipient: str, reference: str) -> Fate:
    """What becomes of the attempt `reference` to `recipient`."""
    receipts, delivered_at = _receipts(behaviour, seed, reference)
    reply = None
    if delivered_at is not None and _happens(behaviour.replies, seed, "reply", reference):
        stops = _happens(behaviour.stop_replies, seed, "stop", reference)
        words = STOP_WORDS if stops else ANSWERS
        text = words[int(draw(seed, "words", reference) * len(words))]
        reply = (delivered_at + draw_between(seed, "reply after", reference, behaviour.reply_after), text)
    return Fate(
        outcome=_outcome(behaviour, seed, recipient, reference),
        latency=draw_between(seed, "latency", reference, behaviour.latency_ms) / 1000,
        slow=draw_between(seed, "slow", reference, behaviour.slow_seconds),
        receipts=receipts,
        reply=reply,
    )


def _happens(share: float, seed: int, purpose: str, name: object) -> bool:
    return share > 0 and draw(seed, purpose, name) < share


def _outcome(behaviour: Behaviour, seed: int, recipient: str, reference: str) -> SendOutcome:
    if _happens(behaviour.not_on_whatsapp, seed, "not on whatsapp", recipient):
        return SendOutcome.NOT_ON_WHATSAPP
    if _happens(behaviour.opted_out, seed, "opted out", recipient):
        return SendOutcome.OPTED_OUT
    for share, outcome in (
        (behaviour.content_refused, SendOutcome.CONTENT),
        (behaviour.rate_limited, SendOutcome.RATE_LIMITED),
        (behaviour.no_answer_accepted, SendOutcome.NO_ANSWER_ACCEPTED),
        (behaviour.no_answer_dropped, SendOutcome.NO_ANSWER_DROPPED),
        (behaviour.slow, SendOutcome.SLOW),
        (behaviour.late, SendOutcome.LATE),
    ):
        if _happens(share, seed, outcome, reference):
            return outcome
    return SendOutcome.ACCEPT


def _receipts(
    behaviour: Behaviour, seed: int, reference: str
) -> tuple[tuple[tuple[float, ReceiptKind], ...], float | None]:
    """The receipts of an accepted message, and when it is delivered, if it is."""
    if _happens(behaviour.failed_after_accept, seed, "failed", reference):
        failed_at = draw_between(seed, "delivered after", reference, behaviour.delivered_after)
        return _with_repeats(behaviour, seed, reference, [(failed_at, ReceiptKind.FAILED)]), None
    if not _happens(behaviour.delivered, seed, "delivered", reference):
        return (), None
    delivered_at = draw_between(seed, "delivered after", reference, behaviour.delivered_after)
    receipts = [(delivered_at, ReceiptKind.DELIVERED)]
    if _happens(behaviour.read, seed, "read", reference):
        read_at = delivered_at + draw_between(seed, "read after", reference, behaviour.read_after)
        receipts.append((read_at, ReceiptKind.READ))
        if _happens(behaviour.read_first, seed, "read first", reference):
            receipts = [(delivered_at, ReceiptKind.READ), (read_at, ReceiptKind.DELIVERED)]
    return _with_repeats(behaviour, seed, reference, receipts), delivered_at


def _with_repeats(
    behaviour: Behaviour, seed: int, reference: str, receipts: list[tuple[float, ReceiptKind]]
) -> tuple[tuple[float, ReceiptKind], ...]:
    again = [
        (at + draw_between(seed, f"again after {kind}", reference, behaviour.repeated_after), kind)
        for at, kind in receipts
        if _happens(behaviour.repeated, seed, f"again {kind}", reference)
    ]
    return tuple(sorted(receipts + again, key=lambda receipt: receipt[0]))
