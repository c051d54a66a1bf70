"""The life of a message: its statuses, the allowed transitions, and the reasons that explain an end.

This module is the source; the figure in `docs/message-lifecycle.md` and the trigger in the database are tested
against it. It is separate from everything that moves a message because everything that does must agree on it.
"""

from datetime import timedelta
from enum import StrEnum


class MessageStatus(StrEnum):
    """Where a message is. The words are the database's enum `message_status`."""

    PENDING = "pending"
    """Waits for its time, its device or its turn."""
    QUEUED = "queued"
    """In its device's short window, hinted to the sender that owns the device's shard."""
    SENDING = "sending"
    """Claimed; committed before the first byte leaves."""
    IN_DOUBT = "in_doubt"
    """It may or may not have left. Nobody guesses: evidence or the end of a window decides."""
    SENT = "sent"
    """WhatsApp's server (or the simulator) accepted it. Delivery is a second column."""
    FAILED = "failed"
    """Certain: refused or impossible. Or, with reason `unconfirmed`, in doubt until its window ended."""
    SKIPPED = "skipped"
    """Policy kept it back; the reason says which."""
    CANCELLED = "cancelled"
    """A person ended its campaign or sequence, or its recipient's part in a sequence was over before it left."""

    @property
    def is_open(self) -> bool:
        """Whether work on the message can still follow without a person's decision."""
        return self in OPEN


OPEN = frozenset({MessageStatus.PENDING, MessageStatus.QUEUED, MessageStatus.SENDING, MessageStatus.IN_DOUBT})

_S = MessageStatus
TRANSITIONS: dict[MessageStatus, dict[MessageStatus, tuple[str, ...]]] = {
    _S.PENDING: {_S.QUEUED: ("T1",), _S.SKIPPED: ("T7",), _S.CANCELLED: ("T7",), _S.SENT: ("T6",)},
    _S.QUEUED: {
        _S.SENDING: ("T2",),
        _S.PENDING: ("T4",),
        _S.SKIPPED: ("T7",),
        _S.CANCELLED: ("T7",),
        _S.SENT: ("T6",),
    },
    _S.SENDING: {
        _S.SENT: ("T3a", "T6"),
        _S.FAILED: ("T3b",),
        _S.PENDING: ("T3c",),
        _S.IN_DOUBT: ("T3d", "T5"),
    },
    _S.IN_DOUBT: {_S.SENT: ("T5a",), _S.FAILED: ("T5b",), _S.PENDING: ("T5c",)},
    _S.SENT: {_S.FAILED: ("T6",)},
    _S.FAILED: {_S.SENT: ("T6",), _S.PENDING: ("T8", "T8u")},
    _S.SKIPPED: {_S.PENDING: ("T8",)},
    _S.CANCELLED: {},
}
"""from → to → the names of the transitions in `docs/message-lifecycle.md`. Every other pair is refused."""


class Delivery(StrEnum):
    """What the recipient's phone reported. It only grows: none < delivered < read."""

    NONE = "none"
    DELIVERED = "delivered"
    READ = "read"


class Reason(StrEnum):
    """Why a row was skipped, failed or put off. One list for the whole product; pages and reports translate it."""

    # skipped
    OPT_OUT = "opt_out"
    """The person is on the workspace's suppression list, or has refused consent."""
    DEVICE_OFFLINE = "device_offline"
    """The device was not ready when the deadline came, or at once where the campaign chose `when_offline = skip`."""
    DEVICE_REMOVED = "device_removed"
    LEAD_REMOVED = "lead_removed"
    """A person removed the lead it was planned for."""
    EXPIRED = "expired"
    """The deadline came while the device was ready: there were more messages than time."""
    MISSING_VARIABLE = "missing_variable"
    """The text needs a variable that this lead does not have."""
    RESTORED = "restored"
    """It waited without a campaign when a backup was made that was restored since: it may have gone out meanwhile."""
    # failed, certain
    NOT_ON_WHATSAPP = "not_on_whatsapp"
    RECIPIENT_REFUSED = "recipient_refused"
    CONTENT_REFUSED = "content_refused"
    DEVICE_REFUSED = "device_refused"
    """The number itself may not send: banned, logged out or restricted."""
    RETRIES_EXHAUSTED = "retries_exhausted"
    POISON = "poison"
    """Three senders crashed on this row."""
    CONTENT_CHANGED = "content_changed"
    """A retry rendered to other bytes than the first attempt; nothing was sent."""
    DELIVERY_FAILED = "delivery_failed"
    """Accepted first, then reported as failed by WhatsApp."""
    # failed, uncertain
    UNCONFIRMED = "unconfirmed"
    """In doubt until its window ended: it may have arrived."""
    # put off
    RATE_LIMITED = "rate_limited"
    DISCONNECTED = "disconnected"
    TRANSPORT_TROUBLE = "transport_trouble"
    RELEASED = "released"
    """Claimed, but too late for the first byte; certainly not sent."""
    PERSON_IN_DOUBT = "person_in_doubt"
    """Whether the device's last message to this person arrived is not known yet; the next waits until it is."""
    # in doubt
    NO_ANSWER = "no_answer"
    SENDER_LOST = "sender_lost"
    """The sender that had claimed the row is gone."""


class Outcome(StrEnum):
    """How an attempt ended when it was not plainly accepted."""

    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


class Resolution(StrEnum):
    """By what a `sent` row is known to be sent."""

    ANSWER = "answer"
    """The transport's own answer to the attempt."""
    RECEIPT = "receipt"
    LEDGER = "ledger"
    SPOOL = "spool"
    PERSON = "person"


PRIORITY_REPLY, PRIORITY_SINGLE, PRIORITY_SEQUENCE, PRIORITY_CAMPAIGN = 0, 1, 2, 3
"""Order within a device's window; the lower goes first."""
ANSWERS = -(2**62)
"""Where messages wait that belong to no campaign (its number) and no sequence (minus its number): answers here, other
single sends at 0. No sequence has that number."""
ANSWER_WITHIN = timedelta(hours=24)
"""How long after somebody wrote a message to them is an answer. So long is Meta's customer service window, in which a
business may write freely: developers.facebook.com/docs/whatsapp/cloud-api/guides/send-messages."""

MAX_ATTEMPTS = 4
MAX_CRASHES = 3
