"""From the child's verdict on a message to the error that the sender decides by."""

from fleetcast.domain.message import Reason
from fleetcast.transports.errors import (
    ContentRefused,
    DeviceRefused,
    NotSent,
    RecipientRefused,
    SendError,
    SessionLost,
    Unknown,
)
from fleetcast.transports.linked.protocol import Refused, Verdict


def refusal(refused: Refused) -> SendError:
    """The error for it."""
    code, detail = refused.code, refused.detail
    match refused.verdict:
        case Verdict.RECIPIENT:
            return RecipientRefused(code, detail)
        case Verdict.CONTENT:
            return ContentRefused(code, detail)
        case Verdict.DEVICE:
            return DeviceRefused(code, detail)
        case Verdict.SLOW_DOWN:
            return NotSent(code, detail, reason=Reason.RATE_LIMITED, retry_after=refused.retry_after)
        case Verdict.NOT_SENT:
            return NotSent(code, detail)
        case Verdict.NOT_OPEN:
            return SessionLost(code, detail)
        case Verdict.UNKNOWN:
            return Unknown(code, detail)
