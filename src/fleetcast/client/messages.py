"""Messages, as a program sees them: what became of each, and a message to one person."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fleetcast.client.exchange import Exchange
from fleetcast.client.pages import PAGE, Pages
from fleetcast.client.reading import read


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message to one person."""

    id: int
    recipient: str
    device_id: int
    device: str
    campaign_id: int | None
    """None: of a sequence, or sent by itself."""
    campaign: str | None
    sequence_id: int | None
    """None: of a campaign, or sent by itself."""
    sequence: str | None
    status: str
    """`pending`, `queued`, `sending`, `in_doubt`, `sent`, `failed`, `skipped` or `cancelled`."""
    delivery: str
    """`none`, `delivered` or `read`."""
    reason: str | None
    """Why it was skipped, failed, put off or is in doubt."""
    attempts: int
    created_at: datetime
    not_before: datetime
    expires_at: datetime | None
    queued_at: datetime | None
    claimed_at: datetime | None
    sent_at: datetime | None
    in_doubt_since: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    ended_at: datetime | None
    provider_id: str | None
    resolution: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt to send a message."""

    attempt: int
    started_at: datetime
    finished_at: datetime | None
    drawn_gap_ms: int
    outcome: str | None
    """None: plainly accepted, or not known yet."""
    code: str | None
    detail: str | None
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One thing that happened."""

    at: datetime
    what: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageStory:
    """A message and everything that happened to it, in order."""

    message: Message
    attempts: tuple[Attempt, ...]
    timeline: tuple[TimelineEntry, ...]
    waits_for: int | None
    """The message in doubt, from the same device to the same person, that holds it back until it is settled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What came of a decision about messages in doubt."""

    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resent:
    """What became of messages that were to be sent again."""

    waiting: int
    kept_back: int
    """Failed, unconfirmed: these people have asked for no more messages."""


class Messages:
    """`fleet.messages`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def list(
        self,
        *,
        campaign_id: int | None = None,
        device_id: int | None = None,
        status: str | None = None,
        recipient: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        reason: str | None = None,
        limit: int = PAGE,
        after: str | None = None,
    ) -> Pages[Message]:
        """Messages and why they stand where they do. `since` and `until` need an offset."""
        query = {
            "campaign_id": campaign_id,
            "device_id": device_id,
            "status": status,
            "recipient": recipient,
            "since": since,
            "until": until,
            "reason": reason,
            "limit": limit,
        }
        return Pages(self._exchange, "messages", Message, query, after=after)

    async def export(
        self,
        target: Path | str,
        *,
        campaign_id: int | None = None,
        device_id: int | None = None,
        status: str | None = None,
        recipient: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        reason: str | None = None,
    ) -> int:
        """Write the same messages, all of them, to a CSV file that no spreadsheet runs; its bytes."""
        query = {
            "campaign_id": campaign_id,
            "device_id": device_id,
            "status": status,
            "recipient": recipient,
            "since": since,
            "until": until,
            "reason": reason,
        }
        return await self._exchange.save("messages/export", Path(target), query=query)

    async def send(
        self,
        device_id: int,
        to: str,
        text: str = "",
        *,
        media: str | None = None,
        expires_after: str | None = None,
    ) -> Message:
        """Send a message to one person, through the same queue and at the same pace as everything else.

        `media` as for campaigns; what has not left after `expires_after` (`7d`, `36h`, `90m`) is skipped.
        """
        content = {"device_id": device_id, "to": to, "text": text, "media": media, "expires_after": expires_after}
        given = {field: value for field, value in content.items() if value is not None}
        return read(Message, await self._exchange.ask("POST", "messages", content=given))

    async def show(self, message_id: int) -> MessageStory:
        """One message, its attempts and everything that happened to it."""
        return read(MessageStory, await self._exchange.ask("GET", "messages/{message_id}", message_id=message_id))

    def in_doubt(self, *, limit: int = PAGE, after: str | None = None) -> Pages[Message]:
        """Messages of which nobody knows whether they left, by number."""
        return Pages(self._exchange, "messages/in-doubt", Message, {"limit": limit}, after=after)

    async def confirm_arrived(self, messages: Sequence[int]) -> int:
        """These arrived: somebody knows. All of them, or none if one is not in doubt."""
        told = await self._exchange.ask("POST", "messages/in-doubt/arrived", content={"messages": messages})
        return read(Decision, told).messages

    async def give_up(self, messages: Sequence[int]) -> int:
        """Wait no longer: these are failed, unconfirmed."""
        told = await self._exchange.ask("POST", "messages/in-doubt/give-up", content={"messages": messages})
        return read(Decision, told).messages

    async def resend(self, messages: Sequence[int]) -> Resent:
        """Send these again although they may have arrived: a copy may arrive twice."""
        told = await self._exchange.ask("POST", "messages/in-doubt/resend", content={"messages": messages})
        return read(Resent, told)
