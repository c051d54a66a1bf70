"""What a campaign is: its statuses, whom it reaches, and its bounds."""

from enum import StrEnum


class CampaignStatus(StrEnum):
    """Where a campaign is. The words are the database's enum `campaign_status`."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class TargetStatus(StrEnum):
    """Which leads by their standing. A lead is a prospect or a customer; ALL is for campaigns."""

    PROSPECT = "prospect"
    CUSTOMER = "customer"
    ALL = "all"


class NicheMatch(StrEnum):
    """How a campaign's niches meet a lead's; niches are whole names, never parts of words."""

    ANY = "any"
    ALL = "all"


class WhenOffline(StrEnum):
    """What happens to the rows of a device that is not connected."""

    WAIT = "wait"
    """They wait until the deadline."""
    SKIP = "skip"
    """They are skipped as soon as the device is found offline."""


_C = CampaignStatus
CAMPAIGN_TRANSITIONS: dict[CampaignStatus, frozenset[CampaignStatus]] = {
    _C.DRAFT: frozenset({_C.SCHEDULED, _C.RUNNING, _C.CANCELLED}),
    _C.SCHEDULED: frozenset({_C.RUNNING, _C.DRAFT, _C.CANCELLED}),
    _C.RUNNING: frozenset({_C.PAUSED, _C.FINISHED, _C.CANCELLED}),
    _C.PAUSED: frozenset({_C.RUNNING, _C.CANCELLED, _C.FINISHED}),
    _C.FINISHED: frozenset({_C.RUNNING}),
    _C.CANCELLED: frozenset(),
}
"""`finished → running` is a person's retry; `scheduled → draft` takes a planned start back."""
