"""Messages: what became of each, decisions about those in doubt, and a message to one person."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from fleetcast.api.campaigns import MEDIA_TOLD, MOST_MESSAGES, Media
from fleetcast.api.guard import Caller, GuardedRoute, Open, needs, own_device
from fleetcast.api.leads import CSV
from fleetcast.api.limits import with_medium
from fleetcast.api.paging import LAST_ID, After, Id, Limit, Page, with_plus, without_plus
from fleetcast.api.repetition import Key
from fleetcast.domain.access import Access, Scope
from fleetcast.domain.content import LONGEST_BODY
from fleetcast.domain.identifiers import CampaignId, DeviceId, MessageId, Phone
from fleetcast.domain.message import Delivery, MessageStatus, Reason
from fleetcast.domain.phone import parse_phone
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services import doubts, messages, paging
from fleetcast.services.message_export import WantedMessages, download_messages
from fleetcast.services.single_sends import DEFAULT_EXPIRES_AFTER, SingleSend, send_message
from fleetcast.services.workspaces import get_workspace

router = APIRouter(route_class=GuardedRoute, tags=["messages"])

EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)


def _in_range(at: datetime) -> datetime:
    if not EARLIEST <= at < LATEST:
        raise ValueError("give a time between the years 2000 and 2100")
    return at


Instant = Annotated[AwareDatetime, AfterValidator(_in_range)]
"""A time with its offset."""


class Message(BaseModel):
    """A message to one person."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    recipient: str = Field(description="E.164.", examples=["+60123456789"])
    device_id: int
    device: str = Field(examples=["Shop KL"])
    campaign_id: int | None = Field(description="null: of a sequence, or sent by itself.")
    campaign: str | None
    sequence_id: int | None = Field(description="null: of a campaign, or sent by itself.")
    sequence: str | None
    status: MessageStatus
    delivery: Delivery = Field(description="What the recipient's phone reported.")
    reason: str | None = Field(description="Why it was skipped, failed, put off or is in doubt.", examples=["opt_out"])
    attempts: int
    created_at: datetime = Field(description="Of a campaign's message: when the campaign started.")
    not_before: datetime
    expires_at: datetime | None = Field(description="What has not left by then is skipped.")
    queued_at: datetime | None
    claimed_at: datetime | None
    sent_at: datetime | None = Field(description="WhatsApp took it.")
    in_doubt_since: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    ended_at: datetime | None = Field(description="When it was skipped, failed or cancelled.")
    provider_id: str | None
    resolution: str | None = Field(description="By what it is known to be sent.", examples=["answer"])


class Attempt(BaseModel):
    """One attempt to send a message."""

    model_config = ConfigDict(from_attributes=True)

    attempt: int
    started_at: datetime
    finished_at: datetime | None
    drawn_gap_ms: int = Field(description="The delay that was drawn before it.")
    outcome: str | None = Field(description="null: plainly accepted, or not known yet.", examples=["not_sent"])
    code: str | None
    detail: str | None
    reference: str = Field(description="Our name of the attempt, as far as a provider can carry one.")


class TimelineEntry(BaseModel):
    """One thing that happened."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    what: str = Field(examples=["sent"])
    detail: str


class MessageStory(BaseModel):
    """A message and everything that happened to it, in order."""

    message: Message
    attempts: list[Attempt]
    timeline: list[TimelineEntry]
    waits_for: int | None = Field(
        description="The message in doubt, from the same device to the same person, that holds it back until it is "
        "settled: linked devices have at most one open attempt to a person."
    )


class NewMessage(BaseModel):
    """A message to one person. Its text is sent as it is written; texts with variables are what campaigns are for."""

    model_config = ConfigDict(extra="forbid")

    device_id: int = Field(ge=1, le=LAST_ID, description="Who sends it.")
    to: str = Field(max_length=100, description="A number, as people write it in the device's country.")
    text: str = Field(
        default="",
        max_length=LONGEST_BODY,
        description="May be left out with a medium, and is with audio.",
        examples=["Your table is booked for 19:30."],
    )
    media: Media | None = Field(default=None, description=MEDIA_TOLD)
    expires_after: str = Field(
        default=DEFAULT_EXPIRES_AFTER, max_length=16, description="What has not left by then is skipped: 7d, 36h, 90m."
    )


class Decided(BaseModel):
    """Messages in doubt about which somebody decides: all of them, or none if one is not in doubt."""

    model_config = ConfigDict(extra="forbid")

    messages: list[Annotated[int, Field(ge=1, le=LAST_ID)]] = Field(min_length=1, max_length=MOST_MESSAGES)

    @property
    def ids(self) -> list[MessageId]:
        """For the services."""
        return [MessageId(m) for m in self.messages]


class Decision(BaseModel):
    """What came of it."""

    messages: int = Field(description="So many were decided about.")


class Resent(BaseModel):
    """What became of messages that were to be sent again."""

    model_config = ConfigDict(from_attributes=True)

    waiting: int = Field(description="They wait for their turn again.")
    kept_back: int = Field(description="Failed, unconfirmed: these people have asked for no more messages.")


def _page(found: Sequence[object], following: str | None) -> Page[Message]:
    return Page(items=[Message.model_validate(m) for m in found], next=following)


async def _recipient(runtime: Runtime, access: Access, text: str | None) -> Phone | None:
    if text is None:
        return None
    workspace = await get_workspace(runtime, access.workspace_id)
    if text.startswith(" "):  # a + that was not written as %2B
        text = f"+{text[1:]}"
    try:
        return parse_phone(text, workspace.region)
    except InvalidInput as error:
        raise InvalidInput("recipient", error.problem) from None


async def _wanted(
    access: Caller,
    runtime: Open,
    campaign_id: Annotated[int | None, Query(ge=1, le=LAST_ID, description="Only of this campaign.")] = None,
    device_id: Annotated[int | None, Query(ge=1, le=LAST_ID, description="Only of this device.")] = None,
    status: Annotated[MessageStatus | None, Query(description="Only in this status.")] = None,
    recipient: Annotated[str | None, Query(max_length=100, description="Only to this number.")] = None,
    since: Annotated[Instant | None, Query(description="Only those made then or later.")] = None,
    until: Annotated[Instant | None, Query(description="Only those made before then.")] = None,
    reason: Annotated[Reason | None, Query(description="Only those that stand where they do because of it.")] = None,
) -> WantedMessages:
    return WantedMessages(
        None if campaign_id is None else CampaignId(campaign_id),
        own_device(access, device_id),
        status,
        await _recipient(runtime, access, recipient),
        since,
        until,
        reason,
    )


Wanted = Annotated[WantedMessages, Depends(_wanted)]
"""Which messages a list or an export is narrowed to."""


@router.get("/messages", **needs(Scope.READ, device_keys=True))
async def list_messages(
    access: Caller,
    runtime: Open,
    wanted: Wanted,
    limit: Limit = 50,
    after: After = None,
) -> Page[Message]:
    """Messages and why they stand where they do: those of a campaign by number, all others newest first.

    Where few are like that, a page may have fewer than `limit`, or none, although others follow: go on as long as there
    is a `next`. A list that takes longer than 10 seconds is refused; best narrow it by campaign.
    """
    by_number = wanted.campaign_id is not None and wanted.recipient is None
    found = await messages.list_messages(
        runtime,
        access.workspace_id,
        campaign_id=wanted.campaign_id,
        device_id=wanted.device_id,
        status=wanted.status,
        recipient=wanted.recipient,
        since=wanted.since,
        until=wanted.until,
        reason=wanted.reason,
        after=with_plus(after) if by_number else after,
        limit=limit,
    )
    return _page(found.messages, without_plus(found.next))


@router.get(
    "/messages/export",
    response_class=StreamingResponse,
    responses=CSV,
    **needs(Scope.READ, device_keys=True),
)
async def export_messages(
    access: Caller,
    runtime: Open,
    wanted: Wanted,
) -> StreamingResponse:
    """The same messages as CSV, all of them, with the name of each person.

    Cells that a spreadsheet would run, and phone numbers, begin with an apostrophe. Times are of the workspace's zone.
    """
    pieces = await download_messages(runtime, access.workspace_id, wanted, actor=access.actor)
    headers = {"Content-Disposition": 'attachment; filename="messages.csv"'}
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)


@router.post("/messages", status_code=202, **needs(Scope.SEND, device_keys=True, repeatable=True, largest=with_medium))
async def post_message(new: NewMessage, access: Caller, runtime: Open, key: Key, response: Response) -> Message:
    """Send a message to one person, through the same queue and at the same pace as everything else.

    It goes before what campaigns have in the device's queue; first of all to somebody who wrote to the device within a
    day, whom it may also answer while WhatsApp lets it begin nothing new (`may_answer`). To a person on the suppression
    list it is skipped, and the answer says so. With an Idempotency-Key it is sent once for as long as it is kept,
    whatever dies in between.
    """
    if access.device_id not in (None, new.device_id):
        raise InvalidInput("device_id", f"there is no device {new.device_id} in this workspace")
    asked = SingleSend(DeviceId(new.device_id), new.to, new.text, new.media, new.expires_after)
    made = await send_message(runtime, access.workspace_id, asked, actor=access.actor, once=key)
    response.headers["Location"] = f"messages/{made.id}"
    return Message.model_validate(made)


@router.get("/messages/in-doubt", **needs(Scope.READ, device_keys=True))
async def list_doubts(access: Caller, runtime: Open, limit: Limit = 50, after: After = None) -> Page[Message]:
    """Messages of which nobody knows whether they left, by number. Evidence may still settle them."""
    found = await doubts.list_doubts(
        runtime,
        access.workspace_id,
        after=paging.position(after, 0),
        limit=limit + 1,
        device_id=own_device(access, None),
    )
    return _page(*paging.cut(found, limit, lambda m: m.id))


@router.post("/messages/in-doubt/arrived", **needs(Scope.SEND, device_keys=True))
async def confirm_arrived(what: Decided, access: Caller, runtime: Open) -> Decision:
    """These arrived: you know it from the person or from the phone. They count as sent."""
    done = await doubts.confirm_arrived(
        runtime, access.workspace_id, what.ids, actor=access.actor, device_id=access.device_id
    )
    return Decision(messages=done)


@router.post("/messages/in-doubt/give-up", **needs(Scope.SEND, device_keys=True))
async def give_up(what: Decided, access: Caller, runtime: Open) -> Decision:
    """Wait no longer: these are failed, unconfirmed."""
    done = await doubts.give_up(runtime, access.workspace_id, what.ids, actor=access.actor, device_id=access.device_id)
    return Decision(messages=done)


@router.post("/messages/in-doubt/resend", **needs(Scope.SEND, device_keys=True))
async def resend(what: Decided, access: Caller, runtime: Open) -> Resent:
    """Send these again although they may have arrived: a copy may arrive twice."""
    done = await doubts.resend(runtime, access.workspace_id, what.ids, actor=access.actor, device_id=access.device_id)
    return Resent.model_validate(done)


@router.get("/messages/{message_id}", **needs(Scope.READ, device_keys=True))
async def show_message(message_id: Id, access: Caller, runtime: Open) -> MessageStory:
    """One message, its attempts and everything that happened to it."""
    story = await messages.show_message(runtime, access.workspace_id, MessageId(message_id), device_id=access.device_id)
    return MessageStory(
        message=Message.model_validate(story.message),
        attempts=[Attempt.model_validate(a) for a in story.attempts],
        timeline=[TimelineEntry.model_validate(t) for t in story.timeline],
        waits_for=story.waits_for,
    )
