"""What a transport can say about one send, as decisions the sender acts on.

    SendError(certainty, retryable, device_at_fault, recipient_at_fault, opt_out, code)
    ├── Refused            certain, final: the message was not and will not be accepted
    │   ├── RecipientRefused   not on WhatsApp, blocked us
    │   ├── OptedOut           the recipient refused messages: suppress
    │   ├── ContentRefused     text, media or template not accepted
    │   └── DeviceRefused      the number itself may not send (banned, logged out, restricted): stop the device
    ├── NotSent            certain, retryable: nothing left; the same row may be tried again later
    │   └── SessionLost        the device's session is not ours any more, or not open: open it anew
    └── Unknown            no answer: the message may have left. Never retried blindly

The sender never looks at texts or codes; it reads these attributes. `code` is the provider's word, kept for people.
"""

from fleetcast.domain.message import Outcome, Reason


class SendError(Exception):
    """Base. `outcome` goes into the attempt row, `reason` onto the message."""

    outcome: Outcome = Outcome.UNKNOWN
    reason: Reason = Reason.NO_ANSWER
    retryable: bool = False
    device_at_fault: bool = False
    recipient_at_fault: bool = False
    opt_out: bool = False
    session_lost: bool = False

    def __init__(
        self, code: str, detail: str = "", *, reason: Reason | None = None, retry_after: float | None = None
    ) -> None:
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        """Seconds the provider asked us to wait, when it did."""
        if reason is not None:
            self.reason = reason
        super().__init__(f"{code}: {detail}" if detail else code)


class Refused(SendError):
    """Certain and final."""

    outcome = Outcome.REFUSED
    reason = Reason.CONTENT_REFUSED


class RecipientRefused(Refused):
    """The person cannot be reached this way: not on WhatsApp, or blocked."""

    reason = Reason.NOT_ON_WHATSAPP
    recipient_at_fault = True


class OptedOut(RecipientRefused):
    """The person refused messages at the provider; they go onto the suppression list."""

    reason = Reason.RECIPIENT_REFUSED
    opt_out = True


class ContentRefused(Refused):
    """This text or media is not accepted from anybody."""


class DeviceRefused(Refused):
    """The number may not send. The row is given back untouched; the device stops until a person or a date allows."""

    outcome = Outcome.NOT_SENT
    reason = Reason.DEVICE_REFUSED
    retryable = True
    device_at_fault = True


class NotSent(SendError):
    """Certainly not sent, may be tried again: the connection was down, or we were told to slow down."""

    outcome = Outcome.NOT_SENT
    reason = Reason.DISCONNECTED
    retryable = True


class SessionLost(NotSent):
    """Nobody is at fault: the row is given back and goes once the session is open again."""

    reason = Reason.RELEASED
    session_lost = True


class Unknown(SendError):
    """A time-out, a dropped connection, an answer that cannot be read: it may have left."""
