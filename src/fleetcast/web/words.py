"""The words and meanings of states, once for pages and terminal: code's word → (word for people, meaning).

A meaning is a class of the style sheet: wait (will happen by itself), run (happens now), ok (good), warn (needs a
person), bad (final and bad), end (over or off on purpose). Separate from templates so that a new status without a word
fails a test and not a page.
"""

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.device import DeviceState
from fleetcast.domain.message import Reason

DEVICE: dict[str, tuple[str, str]] = {
    DeviceState.ONLINE: ("Online", "ok"),
    DeviceState.CONNECTING: ("Connecting", "run"),
    DeviceState.PAIRING: ("Pairing", "run"),
    DeviceState.OFFLINE: ("Offline", "wait"),
    "paused": ("Paused", "end"),
    DeviceState.UNPAIRED: ("Not paired", "end"),
    DeviceState.RESTRICTED: ("Restricted", "warn"),
    DeviceState.LOGGED_OUT: ("Logged out", "warn"),
    DeviceState.BANNED: ("Banned", "bad"),
}
"""In the order in which pages list them. `paused` is a person's doing and not a state of the connection."""

CAMPAIGN: dict[CampaignStatus, tuple[str, str]] = {
    CampaignStatus.DRAFT: ("Draft", "end"),
    CampaignStatus.SCHEDULED: ("Scheduled", "wait"),
    CampaignStatus.RUNNING: ("Running", "run"),
    CampaignStatus.PAUSED: ("Paused", "end"),
    CampaignStatus.FINISHED: ("Finished", "ok"),
    CampaignStatus.CANCELLED: ("Cancelled", "end"),
}

REASON: dict[str, str] = {
    Reason.OPT_OUT: "opted out",
    Reason.DEVICE_OFFLINE: "device offline",
    Reason.DEVICE_REMOVED: "device removed",
    Reason.LEAD_REMOVED: "lead removed",
    Reason.EXPIRED: "out of time",
    Reason.MISSING_VARIABLE: "variable missing",
    Reason.RESTORED: "waited when a backup was restored",
    Reason.NOT_ON_WHATSAPP: "not on WhatsApp",
    Reason.RECIPIENT_REFUSED: "refused by the recipient",
    Reason.CONTENT_REFUSED: "content refused",
    Reason.DEVICE_REFUSED: "number may not send",
    Reason.RETRIES_EXHAUSTED: "retries used up",
    Reason.POISON: "crashed its sender three times",
    Reason.CONTENT_CHANGED: "text changed before a retry",
    Reason.DELIVERY_FAILED: "accepted, then failed",
    Reason.UNCONFIRMED: "unconfirmed, may have arrived",
    Reason.RATE_LIMITED: "rate limited",
    Reason.DISCONNECTED: "disconnected",
    Reason.TRANSPORT_TROUBLE: "transport trouble",
    Reason.RELEASED: "released in time",
    Reason.NO_ANSWER: "no answer",
    Reason.SENDER_LOST: "sender lost",
}


def reason_word(reason: str) -> str:
    """A reason in plain words; an unknown one as it is, readable."""
    return REASON.get(reason, reason.replace("_", " "))


def plural(n: int, one: str, many: str | None = None) -> str:
    """`1 device`, `2,000 devices`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def per_minute(rate: float | None) -> str:
    """A rate without its unit: whole from ten on, one decimal below; a dash while it is not known."""
    if rate is None:
        return "–"  # noqa: RUF001
    return f"{rate:,.0f}" if rate >= 10 or rate == 0 else f"{rate:.1f}"


def percent(share: float) -> str:
    """A share with one decimal, cut and not rounded, so that 100% means all of them."""
    return f"{int(share * 1000) / 10:.1f}%" if share < 1 else "100%"


def span(seconds: float) -> str:
    """A length of time in one or two units: `40 s`, `24 min`, `3 h 10 min`, `2 days`."""
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        hours, rest = divmod(minutes, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{round(minutes / 1440)} days"


def sentence(text: str) -> str:
    """What a form says about a field, as a sentence: `password: too short` becomes `Password: too short.`"""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def person(actor: str) -> str:
    """Who did something, as the audit log names them, for people: the address of a user, `key 12 shop export`."""
    kind, _, name = actor.partition(":")
    return name if kind == "user" else actor.replace(":", " ", 1)
