"""Sequences, as a program sees them: steps that reach each person in order, at their own time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict, Unpack

from fleetcast.client.exchange import Exchange
from fleetcast.client.pages import PAGE, Pages
from fleetcast.client.reading import read


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Who came in, by where they are now."""

    enrolled: int
    active: int
    completed: int
    stopped: int
    replied: int
    """Wrote while they were active."""
    by_reason: Mapping[str, int]
    """Why they were stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceStep:
    """A step: either at a time of a day, or so long after the step before."""

    id: int
    place: int
    day: int | None
    time: str | None
    after: str | None
    body: str
    required_variables: tuple[str, ...]
    media_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentRun:
    """Enrolling many, and how far it is."""

    expected: int
    enrolled: int
    started_at: datetime
    finished_at: datetime | None
    """None: it is under way."""


# What Python calls a sequence is another thing, so this is the one name that is not the API's.
@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSequence:
    """A sequence and where it stands."""

    id: int
    name: str
    status: str
    """`draft`, `active`, `paused` or `archived`."""
    niches: tuple[str, ...]
    niche_match: str
    target_status: str
    auto_enrol: bool
    """Leads that fit come in by themselves while it is active."""
    min_delay: float | None
    """Seconds; None: each device's own pace."""
    max_delay: float | None
    on_failure: str
    """`continue`, `retry` or `stop`."""
    late_by: str
    """How long after its moment a step may still go out."""
    stop_on_reply: bool
    stop_on_conversion: bool
    created_at: datetime
    activated_at: datetime | None
    paused_at: datetime | None
    paused_reason: str | None
    archived_at: datetime | None
    people: People


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceDetails(StoredSequence):
    """A sequence with its steps."""

    steps: tuple[SequenceStep, ...]
    at_step: Mapping[str, int]
    """Step → people for whom it is due, under way or to come."""
    run: EnrolmentRun | None
    """The newest enrolment of many."""
    is_retimed: bool
    """The timeline has changed, and people are being placed anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComingStep:
    """A step as it would come to somebody who is enrolled now."""

    step_id: int
    place: int
    at: datetime
    text: str | None
    problem: str | None
    """Why this lead would get no text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComingSteps:
    """All of them."""

    items: tuple[ComingStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The steps of a sequence, in their order."""

    items: tuple[SequenceStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedStep:
    """What came of a deletion."""

    people: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """Whom a run would enrol now."""

    people: int


class SequenceSetting(TypedDict, total=False):
    """What a sequence may have besides a name; what is left out is usual, or stays as it is."""

    niches: Sequence[str]
    """Whole names; empty: nobody comes in by a niche."""
    niche_match: str
    """`any` or `all` of them."""
    target_status: str
    """`prospect`, `customer` or `all`."""
    auto_enrol: bool
    min_delay: float | None
    """Seconds, together with max_delay; None: each device's own pace."""
    max_delay: float | None
    on_failure: str
    """`continue`, `retry` or `stop`."""
    late_by: str
    """How long after its moment a step may still go out: `12h`, `90m`, `2d`."""
    stop_on_reply: bool
    stop_on_conversion: bool


class SequenceChange(SequenceSetting, total=False):
    """What may change of a sequence."""

    name: str


class StepSetting(TypedDict, total=False):
    """When a step is due, and its medium."""

    day: int
    """0: the day on which somebody begins. Together with `time`."""
    time: str
    """On the person's clock: `09:00`."""
    after: str
    """Instead of both: the step before ended: `3h`, `90m`, `2d`."""
    media: str | None
    """The `sha256` of an uploaded medium, an https address or a data URL; None: none."""


class StepChange(StepSetting, total=False):
    """What may change of a step."""

    body: str


class Sequences:
    """`fleet.sequences`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def list(self, *, status: str | None = None, limit: int = PAGE, after: str | None = None) -> Pages[StoredSequence]:
        """Sequences with how many people are in each, newest first."""
        return Pages(self._exchange, "sequences", StoredSequence, {"status": status, "limit": limit}, after=after)

    async def show(self, sequence_id: int) -> SequenceDetails:
        """One sequence with its steps, and how many people are where."""
        return _read(await self._exchange.ask("GET", "sequences/{sequence_id}", sequence_id=sequence_id))

    async def create(self, name: str, **settings: Unpack[SequenceSetting]) -> SequenceDetails:
        """Make a draft. Add its steps, then activate it."""
        return _read(await self._exchange.ask("POST", "sequences", content={"name": name, **settings}))

    async def change(self, sequence_id: int, **changes: Unpack[SequenceChange]) -> SequenceDetails:
        """Change what is given and nothing else."""
        return _read(
            await self._exchange.ask("PATCH", "sequences/{sequence_id}", content=changes, sequence_id=sequence_id)
        )

    async def clone(self, sequence_id: int) -> SequenceDetails:
        """A new draft with the same steps, audience, pace and rules, and nobody in it."""
        return _read(await self._exchange.ask("POST", "sequences/{sequence_id}/clone", sequence_id=sequence_id))

    async def existing(self, sequence_id: int) -> int:
        """How many leads there are that fit and never were in it."""
        told = await self._exchange.ask("GET", "sequences/{sequence_id}/existing", sequence_id=sequence_id)
        return read(Existing, told).people

    async def activate(
        self, sequence_id: int, *, enrol_existing: int | None = None, even_offline: bool = False
    ) -> SequenceDetails:
        """Set a draft in motion; with `enrol_existing`, as many as `existing` told, also for those that there are."""
        return _read(
            await self._exchange.ask(
                "POST",
                "sequences/{sequence_id}/activate",
                content={"enrol_existing": enrol_existing, "even_offline": even_offline},
                sequence_id=sequence_id,
            )
        )

    async def pause(self, sequence_id: int, reason: str = "") -> SequenceDetails:
        """Hold it: nothing of it is sent, and nobody comes in by themselves."""
        return _read(
            await self._exchange.ask(
                "POST", "sequences/{sequence_id}/pause", content={"reason": reason}, sequence_id=sequence_id
            )
        )

    async def resume(self, sequence_id: int) -> SequenceDetails:
        """Let it go on. What is later than its window by now has expired."""
        return _read(await self._exchange.ask("POST", "sequences/{sequence_id}/resume", sequence_id=sequence_id))

    async def archive(self, sequence_id: int, *, confirmed: int = 0) -> SequenceDetails:
        """End it for good. `confirmed`: how many people you were told that are in it."""
        return _read(
            await self._exchange.ask(
                "POST", "sequences/{sequence_id}/archive", content={"confirmed": confirmed}, sequence_id=sequence_id
            )
        )

    # -- steps

    async def add_step(
        self, sequence_id: int, body: str, *, before_step_id: int | None = None, **when: Unpack[StepSetting]
    ) -> SequenceStep:
        """Add a step, behind all others or in front of one."""
        told = await self._exchange.ask(
            "POST",
            "sequences/{sequence_id}/steps",
            content={"body": body, "before_step_id": before_step_id, **when},
            sequence_id=sequence_id,
        )
        return read(SequenceStep, told)

    async def change_step(self, sequence_id: int, step_id: int, **changes: Unpack[StepChange]) -> SequenceStep:
        """Change what is given of a step, for everybody who does not have it yet."""
        told = await self._exchange.ask(
            "PATCH",
            "sequences/{sequence_id}/steps/{step_id}",
            content=changes,
            sequence_id=sequence_id,
            step_id=step_id,
        )
        return read(SequenceStep, told)

    async def arrange_steps(self, sequence_id: int, step_ids: Sequence[int]) -> tuple[SequenceStep, ...]:
        """Put the steps into another order."""
        told = await self._exchange.ask(
            "PUT", "sequences/{sequence_id}/order", content={"step_ids": step_ids}, sequence_id=sequence_id
        )
        return read(Steps, told).items

    async def delete_step(self, sequence_id: int, step_id: int, *, confirmed: int = 0) -> int:
        """Delete a step; how many people were at it. `confirmed`: how many you were told."""
        told = await self._exchange.ask(
            "DELETE",
            "sequences/{sequence_id}/steps/{step_id}",
            query={"confirmed": confirmed},
            sequence_id=sequence_id,
            step_id=step_id,
        )
        return read(DeletedStep, told).people

    async def preview(self, sequence_id: int, *, lead_id: int | None = None) -> tuple[ComingStep, ...]:
        """When each step would come to somebody who is enrolled now, and what a lead would read."""
        told = await self._exchange.ask(
            "GET", "sequences/{sequence_id}/preview", query={"lead_id": lead_id}, sequence_id=sequence_id
        )
        return read(ComingSteps, told).items


def _read(told: object) -> SequenceDetails:
    return read(SequenceDetails, told)
