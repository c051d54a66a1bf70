"""Campaigns: one text to many people, from the draft to the last message."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fleetcast.api.guard import Caller, GuardedRoute, Open, needs
from fleetcast.api.limits import with_medium
from fleetcast.api.paging import LAST_ID, STORABLE, After, Id, Limit, Page
from fleetcast.domain.access import Scope
from fleetcast.domain.campaign import CampaignStatus, NicheMatch, TargetStatus, WhenOffline
from fleetcast.domain.content import LONGEST_BODY
from fleetcast.domain.identifiers import CampaignId, DeviceId, MessageId
from fleetcast.domain.schedule import write_deadline
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services import audience, campaign_actions, campaigns
from fleetcast.services.campaigns import CampaignFields, CampaignReport
from fleetcast.services.media import checked_source
from fleetcast.store.campaigns import Campaign as StoredCampaign
from fleetcast.store.campaigns import Counts as StoredCounts

router = APIRouter(route_class=GuardedRoute, tags=["campaigns"])

MOST_DEVICES = 5_000
MOST_NICHES = 100
MOST_MESSAGES = 1_000
LONGEST_MEDIA = 24_000_000
"""Characters: the largest file as a data URL."""


def left_out(schema: dict[str, Any]) -> None:
    """What is left out has no value, so the description names none."""
    schema.pop("default", None)


def _is_media(text: str) -> str:
    try:
        checked_source(text)
    except InvalidInput as error:
        raise ValueError(error.problem) from None
    return text


Media = Annotated[
    str,
    Field(
        max_length=LONGEST_MEDIA,
        examples=["https://example.org/spring.jpg"],
        json_schema_extra={"pattern": "^(https:|data:|[0-9a-f]{64}$)"},
    ),
    AfterValidator(_is_media),
]
"""Where a picture, video, audio or document comes from: never a file of the machine that Fleetcast runs on."""
BODY_TOLD = "Liquid, with the leads' variables. Errors name line and column. Empty with audio, and only with it."
MEDIA_TOLD = "The `sha256` of an uploaded medium, an https address that is fetched once, or a data URL (base64)."
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False, examples=[10])]


class Counts(BaseModel):
    """Where the messages are. They add up: `planned` is the sum of `by_status`."""

    model_config = ConfigDict(from_attributes=True)

    planned: int = Field(examples=[5000])
    by_status: dict[str, int] = Field(examples=[{"pending": 4200, "sending": 1, "sent": 789, "failed": 10}])
    by_reason: dict[str, dict[str, int]] = Field(
        description="Why, of those that failed or were skipped.", examples=[{"failed": {"not_on_whatsapp": 10}}]
    )
    delivered: int = Field(description="Reached the phone; `sent` only means that WhatsApp took it.")
    read: int

    @classmethod
    def of(cls, counts: StoredCounts) -> "Counts":
        """For people."""
        return cls.model_validate(counts)


class Campaign(BaseModel):
    """A campaign and where it stands."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    title: str = Field(examples=["Spring sale"])
    status: CampaignStatus
    niches: list[str] = Field(description="Whole names; none: everybody.", examples=[["fitness"]])
    niche_match: NicheMatch
    target_status: TargetStatus
    device_ids: list[int] | None = Field(description="null: all devices.")
    takes_newcomers: bool = Field(description="Whether a device that is added after the start takes part.")
    min_delay: float | None = Field(description="Seconds between two sends of a device; null: its own pace.")
    max_delay: float | None
    schedule_local: datetime | None = Field(description="The start by the clocks of `schedule_zone`; null: now.")
    schedule_zone: str | None
    starts_at: datetime | None
    deadline: str = Field(description="From the start; what is not sent by then is skipped.", examples=["7d"])
    expires_at: datetime | None = Field(description="The deadline as an instant, once it has started.")
    when_offline: WhenOffline
    created_at: datetime
    launched_at: datetime | None
    started_at: datetime | None
    planned_at: datetime | None = Field(description="Since when all of its messages exist.")
    is_replanned: bool = Field(description="An edit is being planned; it cannot be resumed yet.")
    paused_at: datetime | None
    paused_reason: str | None
    ended_at: datetime | None
    retiring_at: datetime | None = Field(description="Since when its messages are deleted; the counts stay.")
    counts: Counts


class CampaignDetails(Campaign):
    """A campaign with what it says."""

    body: str = Field(description="Liquid, with the leads' variables.", examples=["Hello {{ name }}"])
    required_variables: list[str] = Field(description="A lead that lacks one of them is skipped.")
    media_sha256: str | None


class CampaignChange(BaseModel):
    """What may change of a campaign; what is left out stays as it is.

    While it runs: title, pace and deadline. While it is paused, also its text, medium and audience: what was never
    attempted is then planned anew.
    """

    model_config = ConfigDict(extra="forbid")

    title: str = Field(default="", max_length=200, examples=["Spring sale"], json_schema_extra=left_out)
    body: str = Field(
        default="",
        max_length=LONGEST_BODY,
        description=BODY_TOLD,
        examples=["Hello {{ name }}, everything is half price until Sunday."],
        json_schema_extra=left_out,
    )
    media: Media | None = Field(default=None, description=f"{MEDIA_TOLD} null: none.", json_schema_extra=left_out)
    niches: list[Annotated[str, Field(max_length=200, pattern=STORABLE)]] = Field(
        default=[],
        max_length=MOST_NICHES,
        description="Whole names; an empty list: everybody.",
        examples=[["fitness"]],
        json_schema_extra=left_out,
    )
    niche_match: NicheMatch = Field(default=NicheMatch.ANY, json_schema_extra=left_out)
    target_status: TargetStatus = Field(default=TargetStatus.ALL, json_schema_extra=left_out)
    devices: list[Annotated[str, Field(max_length=200)]] = Field(
        default=["all"],
        min_length=1,
        max_length=MOST_DEVICES,
        description='Devices by name; ["all"]: all of them.',
        examples=[["all"]],
        json_schema_extra=left_out,
    )
    device_ids: list[Annotated[int, Field(ge=1, le=LAST_ID)]] = Field(
        default=[],
        min_length=1,
        max_length=MOST_DEVICES,
        description="Devices by number, instead of `devices`.",
        json_schema_extra=left_out,
    )
    takes_newcomers: bool = Field(default=True, json_schema_extra=left_out)
    min_delay: Seconds | None = Field(
        default=None, description="Together with max_delay; null: each device's own pace.", json_schema_extra=left_out
    )
    max_delay: Seconds | None = Field(default=None, json_schema_extra=left_out)
    schedule: str = Field(
        default="now",
        max_length=64,
        description='Local time of the workspace, or "now": when it is launched.',
        examples=["2031-12-24 18:30"],
        json_schema_extra=left_out,
    )
    deadline: str = Field(
        default="7d", max_length=16, description="From the start: 7d, 36h, 90m.", json_schema_extra=left_out
    )
    when_offline: WhenOffline = Field(default=WhenOffline.WAIT, json_schema_extra=left_out)

    def fields(self) -> CampaignFields:
        """What was given and nothing else."""
        # The names are those of CampaignFields; a test compares them.
        return {name: getattr(self, name) for name in self.model_fields_set}  # type: ignore[return-value]


class NewCampaign(CampaignChange):
    """A campaign to be made. Without more it goes to everybody, from all devices, at their own pace, for a week."""

    title: str = Field(max_length=200, examples=["Spring sale"])
    body: str = Field(
        max_length=LONGEST_BODY,
        description=BODY_TOLD,
        examples=["Hello {{ name }}, everything is half price until Sunday."],
    )


class Audience(BaseModel):
    """Whom a campaign would reach if it started now. Numbers count people, not leads."""

    model_config = ConfigDict(from_attributes=True)

    recipients: int = Field(description="Exactly the messages that would be planned.")
    lacking: int = Field(description="Of them: without a variable that the text needs. They will be skipped.")
    suppressed: int = Field(description="Left out: on the suppression list.")
    refused: int = Field(description="Left out: they refused consent.")
    by_device: dict[str, int] = Field(description="Recipients by the device's name.", examples=[{"Shop KL": 5000}])
    seconds: float | None = Field(description="Until the slowest device is through at its mean pace.")
    sample: str | None = Field(description="What the first of them would read.", examples=["Hello Ada"])
    sample_problem: str | None = Field(description="Why there is no sample.")


class Pause(BaseModel):
    """Why, for whoever asks later."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=500, pattern=STORABLE, examples=["prices were wrong"])


class Retry(BaseModel):
    """What to send again."""

    model_config = ConfigDict(extra="forbid")

    device_id: int | None = Field(default=None, ge=1, le=LAST_ID, description="Only of this device; null: of all.")


class RetryUnconfirmed(BaseModel):
    """Messages of which nobody knows whether they arrived."""

    model_config = ConfigDict(extra="forbid")

    messages: list[Annotated[int, Field(ge=1, le=LAST_ID)]] = Field(min_length=1, max_length=MOST_MESSAGES)


class Retried(BaseModel):
    """What came of a retry."""

    messages: int = Field(description="So many wait for their turn again.")


def _facts(campaign: StoredCampaign, counts: StoredCounts) -> dict[str, Any]:
    facts = {name: getattr(campaign, name) for name in Campaign.model_fields if hasattr(campaign, name)}
    return facts | {
        "deadline": write_deadline(campaign.deadline_after),
        "is_replanned": campaign.replan,
        "counts": Counts.of(counts),
    }


def _told(report: CampaignReport) -> CampaignDetails:
    content = report.content
    more: dict[str, Any] = {
        "body": content.body,
        "required_variables": list(content.required_variables),
        "media_sha256": content.media_sha256,
    }
    return CampaignDetails.model_validate(_facts(report.campaign, report.counts) | more)


async def _show(runtime: Runtime, access: Caller, campaign_id: int) -> CampaignDetails:
    return _told(await campaigns.show_campaign(runtime, access.workspace_id, CampaignId(campaign_id), estimate=False))


@router.get("/campaigns", **needs(Scope.READ))
async def list_campaigns(
    access: Caller,
    runtime: Open,
    status: Annotated[CampaignStatus | None, Query(description="Only those in this status.")] = None,
    limit: Limit = 50,
    after: After = None,
) -> Page[Campaign]:
    """Campaigns with their counts, newest first."""
    found, following = await campaigns.page_of_campaigns(
        runtime, access.workspace_id, status=status, after=after, limit=limit
    )
    return Page(items=[Campaign.model_validate(_facts(c, counts)) for c, counts in found], next=following)


@router.post("/campaigns", status_code=201, **needs(Scope.SEND, largest=with_medium))
async def create_campaign(new: NewCampaign, access: Caller, runtime: Open, response: Response) -> CampaignDetails:
    """Make a draft. Nothing is sent before it is launched."""
    made = await campaigns.create_campaign(runtime, access.workspace_id, new.fields(), actor=access.actor)
    response.headers["Location"] = f"campaigns/{made.id}"
    return await _show(runtime, access, made.id)


@router.get("/campaigns/{campaign_id}", **needs(Scope.READ))
async def show_campaign(campaign_id: Id, access: Caller, runtime: Open) -> CampaignDetails:
    """One campaign with its text and its counts."""
    return await _show(runtime, access, campaign_id)


@router.patch("/campaigns/{campaign_id}", **needs(Scope.SEND, largest=with_medium))
async def edit_campaign(campaign_id: Id, change: CampaignChange, access: Caller, runtime: Open) -> CampaignDetails:
    """Change what is given and nothing else."""
    await campaigns.edit_campaign(
        runtime, access.workspace_id, CampaignId(campaign_id), change.fields(), actor=access.actor
    )
    return await _show(runtime, access, campaign_id)


@router.post("/campaigns/{campaign_id}/clone", status_code=201, **needs(Scope.SEND))
async def clone_campaign(campaign_id: Id, access: Caller, runtime: Open, response: Response) -> CampaignDetails:
    """A new draft with the same text, audience, pace and schedule."""
    made = await campaigns.clone_campaign(runtime, access.workspace_id, CampaignId(campaign_id), actor=access.actor)
    response.headers["Location"] = f"campaigns/{made.id}"
    return await _show(runtime, access, made.id)


@router.get("/campaigns/{campaign_id}/audience", **needs(Scope.READ))
async def preview_audience(campaign_id: Id, access: Caller, runtime: Open) -> Audience:
    """Whom it would reach if it started now, and what the first of them would read."""
    found = await audience.preview_audience(runtime, access.workspace_id, CampaignId(campaign_id))
    return Audience.model_validate(found)


@router.post("/campaigns/{campaign_id}/launch", **needs(Scope.SEND))
async def launch_campaign(campaign_id: Id, access: Caller, runtime: Open) -> CampaignDetails:
    """Start a draft now, or at the time it has."""
    await campaign_actions.launch_campaign(runtime, access.workspace_id, CampaignId(campaign_id), actor=access.actor)
    return await _show(runtime, access, campaign_id)


@router.post("/campaigns/{campaign_id}/withdraw", **needs(Scope.SEND))
async def withdraw_campaign(campaign_id: Id, access: Caller, runtime: Open) -> CampaignDetails:
    """Take a planned start back: the campaign is a draft again."""
    await campaign_actions.withdraw_campaign(runtime, access.workspace_id, CampaignId(campaign_id), actor=access.actor)
    return await _show(runtime, access, campaign_id)


@router.post("/campaigns/{campaign_id}/pause", **needs(Scope.SEND))
async def pause_campaign(campaign_id: Id, access: Caller, runtime: Open, why: Pause | None = None) -> CampaignDetails:
    """Hold it. What is being sent at this moment ends by itself."""
    await campaign_actions.pause_campaign(
        runtime,
        access.workspace_id,
        CampaignId(campaign_id),
        actor=access.actor,
        reason=(why.reason or None) if why else None,
    )
    return await _show(runtime, access, campaign_id)


@router.post("/campaigns/{campaign_id}/resume", **needs(Scope.SEND))
async def resume_campaign(campaign_id: Id, access: Caller, runtime: Open) -> CampaignDetails:
    """Let it go on."""
    await campaign_actions.resume_campaign(runtime, access.workspace_id, CampaignId(campaign_id), actor=access.actor)
    return await _show(runtime, access, campaign_id)


@router.post("/campaigns/{campaign_id}/cancel", **needs(Scope.SEND))
async def cancel_campaign(campaign_id: Id, access: Caller, runtime: Open) -> CampaignDetails:
    """End it for good. From now on nothing of it is sent; what waits becomes `cancelled` within seconds."""
    await campaign_actions.cancel_campaign(runtime, access.workspace_id, CampaignId(campaign_id), actor=access.actor)
    return await _show(runtime, access, campaign_id)


@router.post("/campaigns/{campaign_id}/retry", **needs(Scope.SEND))
async def retry_campaign(campaign_id: Id, access: Caller, runtime: Open, what: Retry | None = None) -> Retried:
    """Send again what certainly was not sent. A finished campaign runs again."""
    device_id = what.device_id if what else None
    waiting = await campaign_actions.retry_campaign(
        runtime,
        access.workspace_id,
        CampaignId(campaign_id),
        actor=access.actor,
        device_id=None if device_id is None else DeviceId(device_id),
    )
    return Retried(messages=waiting)


@router.post("/campaigns/{campaign_id}/retry-unconfirmed", **needs(Scope.SEND))
async def retry_unconfirmed(campaign_id: Id, what: RetryUnconfirmed, access: Caller, runtime: Open) -> Retried:
    """Send messages again that may have arrived: a copy may arrive twice. Only for a list that a person has seen."""
    waiting = await campaign_actions.retry_unconfirmed(
        runtime,
        access.workspace_id,
        CampaignId(campaign_id),
        [MessageId(m) for m in what.messages],
        actor=access.actor,
    )
    return Retried(messages=waiting)
