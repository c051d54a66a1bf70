"""Use cases of messages for people: a list by pages and the story of one, from planning to the last receipt."""

import re
from dataclasses import dataclass
from datetime import datetime

from fleetcast.domain.identifiers import CampaignId, DeviceId, MessageId, Phone, WorkspaceId
from fleetcast.domain.message import MessageStatus, Reason
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.store import doubt, messages
from fleetcast.store.messages import AttemptRow, EvidenceRow, MessageRow, Wanted

__all__ = [
    "LARGEST_PAGE",
    "LAST_ID",
    "DeviceMessages",
    "MessagePage",
    "MessageRow",
    "Story",
    "TimelineEntry",
    "list_messages",
    "of_device",
    "show_message",
]

LARGEST_PAGE = 1_000
OF_DEVICE = 20
"""Messages of a device's queue, and as many of its history, that a glance shows."""
LAST_ID = 2**63 - 1
"""The largest number that a message can have."""

_PHONE = re.compile(r"\+[0-9]{7,15}")


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Some messages, and how to ask for the next ones."""

    messages: list[MessageRow]
    next: str | None
    """Hand it back as `after`; None: this was the last page."""
    looking: bool = False
    """There was no time to fill the page: what follows has not been looked at yet."""


@dataclass(frozen=True, slots=True)
class DeviceMessages:
    """A device's own queue and history, as far as one looks at them at a glance."""

    following: list[MessageRow]
    """What it sends next, about in its order."""
    latest: list[MessageRow]
    """The newest ones that wait no more, newest first."""


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that happened to a message."""

    at: datetime
    what: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """A message, its attempts and everything that happened to it, in order."""

    message: MessageRow
    attempts: list[AttemptRow]
    timeline: list[TimelineEntry]
    waits_for: MessageId | None
    """The message in doubt that holds it back: the same device sent it to the same person."""


async def list_messages(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    *,
    campaign_id: CampaignId | None = None,
    device_id: DeviceId | None = None,
    status: MessageStatus | None = None,
    recipient: Phone | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    reason: Reason | None = None,
    after: str | None = None,
    limit: int = 50,
) -> MessagePage:
    """A page of messages. Those of a campaign come by recipient, all others newest first. Where few are like that a
    page may have less than it has room for, or nothing, although others follow.

    `since` and `until` bound when they were made; a campaign's messages have the time of its start.
    Raises InvalidInput for a page size outside 1 to 1,000 or an `after` of another list, Unavailable past 10 seconds.
    """
    if since is not None and until is not None and since >= until:
        raise InvalidInput("until", "has to be later than since")
    by_recipient = campaign_id is not None and recipient is None
    if by_recipient and after is not None and not _PHONE.fullmatch(after):
        raise _strange(after)
    if not 1 <= limit <= LARGEST_PAGE:
        raise InvalidInput("limit", f"between 1 and {LARGEST_PAGE:,}, not {limit}")
    if campaign_id is not None and not 0 < campaign_id <= LAST_ID:
        return MessagePage([], None)
    wanted = Wanted(device_id, status, campaign_id, since, until, reason)
    async with runtime.db.transaction() as connection, messages.time_limit(connection):
        if recipient is not None:
            rows = await messages.of_person(connection, workspace_id, recipient, wanted, _position(after), limit + 1)
            found = messages.Listed(rows)
        elif campaign_id is not None:
            found = await messages.of_campaign(connection, workspace_id, campaign_id, wanted, after or "", limit + 1)
        else:
            found = await messages.newest(connection, workspace_id, wanted, _position(after), limit + 1)
    if len(found.messages) <= limit:
        looking = found.reached is not None and len(found.messages) < limit
        return MessagePage(found.messages, found.reached, looking)
    last = found.messages[limit - 1]
    return MessagePage(found.messages[:limit], last.recipient if by_recipient else str(last.id))


async def of_device(runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId) -> DeviceMessages:
    """What the device sends next, and what became of the latest ones."""
    async with runtime.db.transaction() as connection, messages.time_limit(connection):
        following = await messages.next_of_device(connection, workspace_id, device_id, OF_DEVICE)
        latest = await messages.latest_of_device(connection, workspace_id, device_id, OF_DEVICE)
    return DeviceMessages(following, latest)


def _position(after: str | None) -> int:
    if after is None:
        return LAST_ID
    if not (after.isascii() and after.isdigit() and len(after) < 20 and int(after) <= LAST_ID):
        raise _strange(after)
    return int(after)


def _strange(after: str) -> InvalidInput:
    return InvalidInput("after", f"'{after[:40]}' does not belong to this list; take it from the page before")


async def show_message(
    runtime: Runtime, workspace_id: WorkspaceId, message_id: MessageId, *, device_id: DeviceId | None = None
) -> Story:
    """Everything that is known of one message; with `device_id` only of one of that device. Raises NotFound."""
    async with runtime.db.transaction() as connection, messages.time_limit(connection):
        message = await messages.one(connection, workspace_id, message_id) if 0 < message_id <= LAST_ID else None
        if message is None or device_id not in (None, message.device_id):
            raise NotFound(f"There is no message {message_id} in this workspace.")
        attempts = await messages.attempts(connection, workspace_id, message_id)
        evidence = await messages.evidence(connection, workspace_id, message_id)
        waits = message.status in (MessageStatus.PENDING, MessageStatus.QUEUED)
        waits_for = await doubt.holding(connection, message_id) if waits else None
    return Story(message, attempts, timeline(message, attempts, evidence), waits_for)


def timeline(message: MessageRow, attempts: list[AttemptRow], evidence: list[EvidenceRow]) -> list[TimelineEntry]:
    """What happened, by time; things of the same instant stay in the order of the life cycle."""
    told = [TimelineEntry(message.created_at, "planned", f"not before {message.not_before.isoformat()}")]
    if message.queued_at is not None:
        told.append(TimelineEntry(message.queued_at, "queued"))
    for a in attempts:
        detail = f"by {a.sender}, {a.drawn_gap_ms / 1000:g} s drawn before it, reference {a.reference}"
        told.append(TimelineEntry(a.started_at, f"attempt {a.attempt}", detail))
        if a.finished_at is not None:
            why = " ".join(x for x in (a.code, a.detail) if x)
            told.append(TimelineEntry(a.finished_at, f"attempt {a.attempt}: {a.outcome or 'accepted'}", why))
    for e in evidence:
        told.append(TimelineEntry(e.occurred_at, f"event: {e.kind}", e.effect or e.detail or ""))  # noqa: PERF401
    for at, what, detail in (
        (message.in_doubt_since, "in doubt", message.reason or ""),
        (message.sent_at, "sent", f"known by {message.resolution}, provider id {message.provider_id}"),
        (message.delivered_at, "delivered", ""),
        (message.read_at, "read", ""),
        (message.ended_at, str(message.status), message.reason or ""),
    ):
        if at is not None:
            told.append(TimelineEntry(at, what, detail))
    return sorted(told, key=lambda entry: entry.at)
