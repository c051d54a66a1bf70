"""People in sequences, as a program sees them: enrol, list, look at one, take out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from fleetcast.client.exchange import Exchange
from fleetcast.client.pages import PAGE, Pages
from fleetcast.client.reading import read
from fleetcast.client.sequences import EnrolmentRun, SequenceStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """One person in a sequence."""

    id: int
    sequence_id: int
    lead_id: int
    device_id: int
    """The lead's own, from which every step goes out."""
    phone: str
    name: str
    state: str
    """`active`, `completed` or `stopped`."""
    stop_reason: str | None
    source: str
    step_id: int | None
    """That is due, under way or to come."""
    done_step_id: int | None
    message_id: int | None
    enrolled_at: datetime
    anchor: date
    """Day 0, by the person's clock."""
    moment: datetime | None
    due_at: datetime | None
    done_at: datetime | None
    replied_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """One step of one person's way."""

    step: SequenceStep
    at: datetime | None
    """When it is due, was sent, or ended."""
    message_id: int | None
    status: str | None
    delivery: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentDetails(Enrolment):
    """One person in a sequence, step by step."""

    steps: tuple[StepProgress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What became of people who were named."""

    enrolment_ids: tuple[int, ...]
    active: int
    """In it already."""
    before: int
    """Were in it before; `again` has them come in once more."""
    unwritable: int
    """On the suppression list, or refused."""
    unknown: int
    """No lead of this workspace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What came of a stop."""

    stopped: int


class Enrolments:
    """`fleet.enrolments`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def list(
        self,
        sequence_id: int,
        *,
        state: str | None = None,
        device_id: int | None = None,
        step_id: int | None = None,
        stop_reason: str | None = None,
        limit: int = PAGE,
        after: str | None = None,
    ) -> Pages[Enrolment]:
        """Who is or was in a sequence, newest first."""
        query = {
            "state": state,
            "device_id": device_id,
            "step_id": step_id,
            "stop_reason": stop_reason,
            "limit": limit,
        }
        return Pages(
            self._exchange,
            "sequences/{sequence_id}/enrolments",
            Enrolment,
            query,
            after=after,
            ids={"sequence_id": sequence_id},
        )

    def of_lead(self, lead_id: int, *, limit: int = PAGE, after: str | None = None) -> Pages[Enrolment]:
        """What the person of a lead is and was in, newest first."""
        return Pages(
            self._exchange, "leads/{lead_id}/enrolments", Enrolment, {"limit": limit}, after=after,
            ids={"lead_id": lead_id},
        )  # fmt: skip

    async def show(self, enrolment_id: int) -> EnrolmentDetails:
        """One person in a sequence, step by step."""
        told = await self._exchange.ask("GET", "enrolments/{enrolment_id}", enrolment_id=enrolment_id)
        return read(EnrolmentDetails, told)

    async def enrol(
        self, sequence_id: int, *, lead_ids: Sequence[int] = (), phones: Sequence[str] = (), again: bool = False
    ) -> Enrolled:
        """Enrol people by name, 1,000 at most at a time. They need not fit the sequence's niches."""
        told = await self._exchange.ask(
            "POST",
            "sequences/{sequence_id}/enrolments",
            content={"lead_ids": lead_ids, "phones": phones, "again": again},
            sequence_id=sequence_id,
        )
        return read(Enrolled, told)

    async def enrol_existing(self, sequence_id: int, confirmed: int) -> EnrolmentRun:
        """Begin to enrol all leads that there are and fit: as many as `sequences.existing` told."""
        told = await self._exchange.ask(
            "POST",
            "sequences/{sequence_id}/enrolments/existing",
            content={"confirmed": confirmed},
            sequence_id=sequence_id,
        )
        return read(EnrolmentRun, told)

    async def stop(self, sequence_id: int, enrolment_ids: Sequence[int]) -> int:
        """Take people out of a sequence; how many were active."""
        told = await self._exchange.ask(
            "POST",
            "sequences/{sequence_id}/enrolments/stop",
            content={"enrolment_ids": enrolment_ids},
            sequence_id=sequence_id,
        )
        return read(Stopped, told).stopped
