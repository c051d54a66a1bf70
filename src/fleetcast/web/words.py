"""The words and meanings of states, once for pages and terminal: code's word → (word for people, meaning).

A meaning is a class of the style sheet: wait (will happen by itself), run (happens now), ok (good), warn (needs a
person), bad (final and bad), end (over or off on purpose). Separate from templates so that a new status without a word
fails a test and not a page.
"""

from collections.abc import Iterable

from fleetcast.domain.bulk_edit import BulkEdit, EditAction, Things
from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import Phone
from fleetcast.domain.message import MessageStatus, Reason
from fleetcast.domain.phone import international
from fleetcast.domain.sequence import EnrolmentSource, EnrolmentState, SequenceStatus, StopReason
from fleetcast.services.devices import Device

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

SEQUENCE: dict[SequenceStatus, tuple[str, str]] = {
    SequenceStatus.DRAFT: ("Draft", "end"),
    SequenceStatus.ACTIVE: ("Active", "run"),
    SequenceStatus.PAUSED: ("Paused", "end"),
    SequenceStatus.ARCHIVED: ("Archived", "end"),
}

ENROLMENT: dict[EnrolmentState, tuple[str, str]] = {
    EnrolmentState.ACTIVE: ("Under way", "run"),
    EnrolmentState.COMPLETED: ("Reached the end", "ok"),
    EnrolmentState.STOPPED: ("Stopped", "end"),
}

STOPPED: dict[StopReason, tuple[str, str]] = {
    StopReason.REPLIED: ("Replied", "ok"),
    StopReason.CONVERTED: ("Converted", "run"),
    StopReason.OPTED_OUT: ("Opted out", "bad"),
    StopReason.STEP_FAILED: ("A step was not sent", "warn"),
    StopReason.BY_PERSON: ("Taken out by a person", "end"),
    StopReason.LEAD_DELETED: ("Lead deleted", "end"),
    StopReason.DEVICE_REMOVED: ("Device removed", "end"),
}
"""Why somebody was stopped, and its colour in the picture of a sequence."""

CAME_IN: dict[EnrolmentSource, str] = {
    EnrolmentSource.NICHE: "by its niche",
    EnrolmentSource.EXISTING: "with all that fitted",
    EnrolmentSource.PERSON: "by name",
}

MESSAGE: dict[MessageStatus, tuple[str, str]] = {
    MessageStatus.PENDING: ("Waiting", "wait"),
    MessageStatus.QUEUED: ("Queued", "wait"),
    MessageStatus.SENDING: ("Leaving now", "run"),
    MessageStatus.SENT: ("Sent", "ok"),
    MessageStatus.IN_DOUBT: ("In doubt", "warn"),
    MessageStatus.FAILED: ("Failed", "bad"),
    MessageStatus.SKIPPED: ("Skipped", "end"),
    MessageStatus.CANCELLED: ("Cancelled", "end"),
}

NEXT: dict[DeviceState, str] = {
    DeviceState.UNPAIRED: "No phone is linked to it, so nothing leaves. Pair it to begin.",
    DeviceState.PAIRING: "A code is shown until a phone takes it.",
    DeviceState.CONNECTING: "What waits for it leaves as soon as it is online.",
    DeviceState.ONLINE: "",
    DeviceState.OFFLINE: "It connects again by itself; what waits for it leaves then.",
    DeviceState.RESTRICTED: "Nothing leaves until then.",
    DeviceState.LOGGED_OUT: "Its messages wait until it is paired again, or their time is over.",
    DeviceState.BANNED: "WhatsApp closed this number: ask for a review on its phone, or pair another phone.",
}
"""What follows from a device's state, and what to do."""

ANSWERS = "People who wrote to it within a day can be answered; everything else waits until then."
"""What follows from a restriction that lets answers pass."""

PROCESS: dict[str, tuple[str, str]] = {
    "sending": ("Sending", "run"),
    "ready": ("Ready", "ok"),
    "working": ("Working", "ok"),
    "taking": ("Taking over", "run"),
    "idle": ("No shard", "wait"),
    "draining": ("Draining", "run"),
    "drained": ("Drained", "end"),
    "stuck": ("Stands still", "bad"),
    "gone": ("Gone", "bad"),
}
"""Of a process, as `services.monitoring` tells them."""

SHARD: dict[str, tuple[str, str]] = {
    "empty": ("empty", "end"),
    "waiting": ("keeps time", "run"),
    "late": ("late", "warn"),
    "behind": ("behind", "bad"),
    "unowned": ("no sender", "bad"),
}
"""Of a shard. Five seconds late is late, thirty is behind."""

SAID: dict[str, str | tuple[str, str]] = {
    "device-added": ("The device was added.", "{n} devices were added."),
    "device-paused": ("The device is paused; its messages wait.", "{n} devices are paused; their messages wait."),
    "device-resumed": ("The device goes on.", "{n} devices go on."),
    "device-proxied": ("The proxy is changed; the device connects anew.", ""),
    "device-paced": ("The pace is changed; it holds from the next message on.", "The pace of {n} devices is changed."),
    "device-removed": ("The device was removed. What waited for it is being skipped.", "{n} devices were removed."),
    "device-logged-out": (
        "The device is logged out. One message waits until it is paired again.",
        "The device is logged out. {n} messages wait until it is paired again.",
    ),
    "pairing-cancelled": "Nobody waits for a phone any more.",
    "campaign-draft": "The draft is stored. Check whom it reaches, then launch it.",
    "campaign-edit": "The changes are stored.",
    "campaign-clone": "This is the copy: change what differs, then launch it.",
    "campaign-launch": "The campaign is launched.",
    "campaign-withdraw": "The start was taken back; the campaign is a draft again.",
    "campaign-pause": "The campaign is paused. What is on its way arrives.",
    "campaign-resume": "The campaign goes on.",
    "campaign-cancel": "The campaign is cancelled. What waited does not leave any more.",
    "campaign-retry": ("One message is tried again.", "{n} messages are tried again."),
    "sequence-draft": "The draft is stored. Add its steps, then activate it.",
    "sequence-edit": "The changes are stored; they hold from now on.",
    "sequence-clone": "This is the copy: change what differs, then activate it.",
    "sequence-activate": ("The sequence is active.", "The sequence is active, and {n} people are being enrolled."),
    "sequence-pause": "The sequence is paused: nothing of it is sent, and nobody comes in by themselves.",
    "sequence-resume": "The sequence goes on.",
    "sequence-archive": ("The sequence is over.", "The sequence is over; {n} people get nothing more of it."),
    "sequence-enrol-existing": ("One person is being enrolled.", "{n} people are being enrolled."),
    "step-add": "The step is added.",
    "step-edit": "The step is changed.",
    "step-moved": "The two steps changed places; the times stay as they are.",
    "step-removed": ("The step is removed.", "The step is removed; {n} people go on with the next one."),
    "enrolments-stopped": ("One person was taken out.", "{n} people were taken out."),
    "lead-changed": "What is known of this person is changed.",
    "lead-written": "Your message leaves as soon as it is the device's turn.",
    "lead-unwanted": "Nothing was sent: this person asked for no more messages.",
    "lead-given": "It is written down that they agreed.",
    "lead-refused": "They are never written to again from this workspace.",
    "lead-removed": "This person is forgotten.",
    "doubt-arrived": ("The message counts as sent.", "{n} messages count as sent."),
    "doubt-give-up": ("The message counts as failed, unconfirmed.", "{n} messages count as failed, unconfirmed."),
    "doubt-resend": ("The message goes out again.", "{n} messages go out again."),
    "me-name": "Your name is changed.",
    "me-password": "Your password is changed. Your other sessions are over.",
    "me-second-factor-off": "The second factor is off.",
    "me-sessions": ("One other session is over.", "{n} other sessions are over."),
    "workspace-edit": "The workspace is changed.",
    "member-role": "The role is changed; they have to sign in again.",
    "member-removed": "They are no member any more.",
    "invitation-withdrawn": "The invitation is withdrawn; its link opens nothing.",
    "key-revoked": "The key is revoked; it opens nothing any more.",
    "suppression-added": "This person is never written to again.",
    "suppression-lifted": "This person may be written to again.",
    "sender-drain": "The sender rests from now on: its shards go to the other senders, one by one.",
    "sender-resume": "The sender takes its share of the shards again.",
    "bulk-stopped": "It was stopped. What was done before stays.",
    "nothing": "Nothing had to be done.",
}
"""What a page says after something was done: a word of the address → the sentence, or that for one and for several."""

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
    Reason.PERSON_IN_DOUBT: "waits for the message before it",
    Reason.NO_ANSWER: "no answer",
    Reason.SENDER_LOST: "sender lost",
}


def said(word: str, n: int) -> str | None:
    """What was done, in a sentence; None for a word that is none of ours."""
    sentence = SAID.get(word)
    if sentence is None or isinstance(sentence, str):
        return sentence
    return sentence[0] if n == 1 else sentence[1].format(n=f"{n:,}")


def phone(number: str) -> str:
    """A number in international groups: `+60 12-345 6789`."""
    return international(Phone(number))


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


def clip(seconds: float) -> str:
    """How long something plays, as players write it: `0:07`, `12:05`, `1:02:03`."""
    minutes, rest = divmod(max(1, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def lateness(seconds: float) -> str:
    """A short time: `31 ms`, `1.2 s`, then as `span`."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    return f"{seconds:.1f} s" if seconds < 10 else span(seconds)


def span_short(seconds: float) -> str:
    """A length of time where there is hardly room: `4 s`, `12 m`, `3 h`, `2 d`."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def size(number: float) -> str:
    """Bytes for people: `812 kB`, `268 MB`, `3.1 GB`."""
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= one:
            return f"{number / one:.1f} {unit}" if number < 10 * one and unit == "GB" else f"{number / one:,.0f} {unit}"
    return f"{number:.0f} B"


def compact(n: int) -> str:
    """A number where there is hardly room: `412`, `1.2k`, `38k`."""
    if n < 1_000:
        return str(n)
    return f"{n / 1_000:.1f}k" if n < 10_000 else f"{n // 1_000}k"


def pace(device: Device) -> str:
    """The gaps of a device: `10 to 30 s`."""
    low, high = f"{device.min_delay:g}", f"{device.max_delay:g}"
    return f"{low} s" if low == high else f"{low} to {high} s"


def browser(agent: str) -> str:
    """Which browser, as far as it says."""
    found = next((word for mark, word in _BROWSERS if mark in agent), "A program" if agent else "Unknown")
    system = next((word for mark, word in _SYSTEMS if mark in agent), "")
    return f"{found} on {system}" if system else found


_BROWSERS = (("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "Mac"),
    ("Linux", "Linux"),
)


def edit_title(edit: BulkEdit) -> str:
    """What a change of many does: `Add the niche tea to 1,204 people`."""
    value, n = edit.value, edit.expected
    many = plural(n, "person", "people") if edit.things is Things.LEADS else plural(n, "device")
    if edit.action is EditAction.SET_ATTRIBUTE:
        told = f"Set {value['key']} to “{value['text']}” for" if value["text"] else f"Take {value['key']} away from"
    elif edit.action is EditAction.PACE:
        told = f"Set a pace of {value['min_delay']:g} to {value['max_delay']:g} s for"
    else:
        told = _EDITS[edit.action].format(**value)
    return f"{'Take back: ' if edit.undoes else ''}{told} {many}"


_EDITS = {
    EditAction.ADD_NICHE: "Add the niche {niche} to",
    EditAction.REMOVE_NICHE: "Take the niche {niche} away from",
    EditAction.SET_STATUS: "Make {status}s of",
    EditAction.FORGET: "Forget",
    EditAction.PAUSE: "Pause",
    EditAction.RESUME: "Resume",
    EditAction.REMOVE: "Remove",
}


_FIELDS = {"target_status": "standing", "journey": "notes", "time_zone": "time zone"}


def fields_changed(names: Iterable[str]) -> str:
    """What was changed of a lead: `Name, notes`."""
    told = ", ".join(_FIELDS.get(name, name) for name in names)
    return told[:1].upper() + told[1:]


def sentence(text: str) -> str:
    """What a form says about a field, as a sentence: `password: too short` becomes `Password: too short.`"""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def person(actor: str) -> str:
    """Who did something, as the audit log names them, for people: the address of a user, `key 12 shop export`."""
    kind, _, name = actor.partition(":")
    return name if kind == "user" else actor.replace(":", " ", 1)
