"""Campaigns, as a program sees them: one text to many people, from the draft to the last message."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict, Unpack

from fleetcast.client.exchange import Exchange
from fleetcast.client.pages import PAGE, Pages
from fleetcast.client.reading import read

ENDED = frozenset({"finished", "cancelled"})
EVERY = 2.0
"""Seconds between two looks at a campaign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Where the messages are; `planned` is the sum of `by_status`."""

    planned: int
    by_status: Mapping[str, int]
    by_reason: Mapping[str, Mapping[str, int]]
    """Why, of those that failed or were skipped."""
    delivered: int
    read: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A campaign and where it stands."""

    id: int
    title: str
    status: str
    """`draft`, `scheduled`, `running`, `paused`, `finished` or `cancelled`."""
    niches: tuple[str, ...]
    niche_match: str
    target_status: str
    device_ids: tuple[int, ...] | None
    """None: all devices."""
    takes_newcomers: bool
    min_delay: float | None
    """Seconds; None: each device's own pace."""
    max_delay: float | None
    schedule_local: datetime | None
    schedule_zone: str | None
    starts_at: datetime | None
    deadline: str
    expires_at: datetime | None
    when_offline: str
    created_at: datetime
    launched_at: datetime | None
    started_at: datetime | None
    planned_at: datetime | None
    is_replanned: bool
    paused_at: datetime | None
    paused_reason: str | None
    ended_at: datetime | None
    retiring_at: datetime | None
    counts: Counts

    @property
    def has_ended(self) -> bool:
        """Whether every message is settled, or nothing more is sent."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignDetails(Campaign):
    """A campaign with what it says."""

    body: str
    required_variables: tuple[str, ...]
    media_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Whom a campaign would reach if it started now. Numbers count people, not leads."""

    recipients: int
    lacking: int
    """Of them: without a variable that the text needs. They will be skipped."""
    suppressed: int
    refused: int
    by_device: Mapping[str, int]
    seconds: float | None
    """Until the slowest device is through at its mean pace."""
    sample: str | None
    sample_problem: str | None


class Setting(TypedDict, total=False):
    """What a campaign may have besides title and text; what is left out is usual, or stays as it is."""

    media: str | None
    """The `sha256` of an uploaded medium, an https address or a data URL; None: none."""
    niches: Sequence[str]
    """Whole names; empty: everybody."""
    niche_match: str
    """`any` or `all` of them."""
    target_status: str
    """`prospect`, `customer` or `all`."""
    devices: Sequence[str]
    """By name; `["all"]`: all of them."""
    device_ids: Sequence[int]
    """By number, instead of `devices`."""
    takes_newcomers: bool
    min_delay: float | None
    """Seconds, together with max_delay; None: each device's own pace."""
    max_delay: float | None
    schedule: str
    """Local time of the workspace, like `2031-12-24 18:30`, or `now`: when it is launched."""
    deadline: str
    """From the start: `7d`, `36h`, `90m`."""
    when_offline: str
    """`wait` or `skip`."""


class Change(Setting, total=False):
    """What may change of a campaign."""

    title: str
    body: str


class Campaigns:
    """`fleet.campaigns`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def list(self, *, status: str | None = None, limit: int = PAGE, after: str | None = None) -> Pages[Campaign]:
        """Campaigns with their counts, newest first."""
        return Pages(self._exchange, "campaigns", Campaign, {"status": status, "limit": limit}, after=after)

    async def show(self, campaign_id: int) -> CampaignDetails:
        """One campaign with its text and its counts."""
        return _read(await self._exchange.ask("GET", "campaigns/{campaign_id}", campaign_id=campaign_id))

    async def create(self, title: str, body: str, **settings: Unpack[Setting]) -> CampaignDetails:
        """Make a draft. Without settings it goes to everybody, from all devices, at their own pace, for a week."""
        return _read(await self._exchange.ask("POST", "campaigns", content={"title": title, "body": body, **settings}))

    async def change(self, campaign_id: int, **changes: Unpack[Change]) -> CampaignDetails:
        """Change what is given and nothing else."""
        return _read(
            await self._exchange.ask("PATCH", "campaigns/{campaign_id}", content=changes, campaign_id=campaign_id)
        )

    async def clone(self, campaign_id: int) -> CampaignDetails:
        """A new draft with the same text, audience, pace and schedule."""
        return _read(await self._exchange.ask("POST", "campaigns/{campaign_id}/clone", campaign_id=campaign_id))

    async def audience(self, campaign_id: int) -> Audience:
        """Whom it would reach if it started now, and what the first of them would read."""
        told = await self._exchange.ask("GET", "campaigns/{campaign_id}/audience", campaign_id=campaign_id)
        return read(Audience, told)

    async def launch(self, campaign_id: int) -> CampaignDetails:
        """Start a draft now, or at the time it has."""
        return _read(await self._exchange.ask("POST", "campaigns/{campaign_id}/launch", campaign_id=campaign_id))

    async def withdraw(self, campaign_id: int) -> CampaignDetails:
        """Take a planned start back."""
        return _read(await self._exchange.ask("POST", "campaigns/{campaign_id}/withdraw", campaign_id=campaign_id))

    async def pause(self, campaign_id: int, reason: str = "") -> CampaignDetails:
        """Hold it. What is being sent at this moment ends by itself."""
        return _read(
            await self._exchange.ask(
                "POST", "campaigns/{campaign_id}/pause", content={"reason": reason}, campaign_id=campaign_id
            )
        )

    async def resume(self, campaign_id: int) -> CampaignDetails:
        """Let it go on."""
        return _read(await self._exchange.ask("POST", "campaigns/{campaign_id}/resume", campaign_id=campaign_id))

    async def cancel(self, campaign_id: int) -> CampaignDetails:
        """End it for good."""
        return _read(await self._exchange.ask("POST", "campaigns/{campaign_id}/cancel", campaign_id=campaign_id))

    async def retry(self, campaign_id: int, *, device_id: int | None = None) -> int:
        """Send again what certainly was not sent; how many messages wait again."""
        told = await self._exchange.ask(
            "POST", "campaigns/{campaign_id}/retry", content={"device_id": device_id}, campaign_id=campaign_id
        )
        return read(Retried, told).messages

    async def retry_unconfirmed(self, campaign_id: int, messages: Sequence[int]) -> int:
        """Send messages again that may have arrived: a copy may arrive twice. How many wait again."""
        told = await self._exchange.ask(
            "POST",
            "campaigns/{campaign_id}/retry-unconfirmed",
            content={"messages": messages},
            campaign_id=campaign_id,
        )
        return read(Retried, told).messages

    async def wait(
        self,
        campaign_id: int,
        *,
        progress: Callable[[CampaignDetails], object] | None = None,
        every: float = EVERY,
    ) -> CampaignDetails:
        """Wait until a campaign is finished or cancelled. `progress` is told of each look at it.

        It goes on when this is cancelled; `asyncio.timeout` bounds the wait.
        """
        while True:
            found = await self.show(campaign_id)
            if progress is not None:
                progress(found)
            if found.has_ended:
                return found
            await self._exchange.pause(every)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """What came of a retry."""

    messages: int


def _read(told: object) -> CampaignDetails:
    return read(CampaignDetails, told)
