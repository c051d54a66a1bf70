"""What a person writes about a sequence or one of its steps, read and checked: from words to columns.

Every refusal names its field, and all of them are collected, so that a form can show them at once. Separate from the
use cases because making and editing read the same words: a field that is not given is not touched. What a sequence
shares with a campaign is read by `campaign_fields`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypedDict, TypeVar

from fleetcast.domain.campaign import NicheMatch, TargetStatus
from fleetcast.domain.content import Template
from fleetcast.domain.pacing import Pace
from fleetcast.domain.schedule import parse_deadline
from fleetcast.domain.sequence import FailureRule
from fleetcast.domain.timeline import LAST_DAY, After, At, Timing, parse_span, parse_time
from fleetcast.errors import InvalidInput, InvalidInputs
from fleetcast.services.campaign_fields import read_body, read_choice, read_niches
from fleetcast.services.media import Source, checked_source
from fleetcast.services.naming import checked_name
from fleetcast.store.workspaces import Workspace

T = TypeVar("T")


class SequenceFields(TypedDict, total=False):
    """What may be given of a sequence. An edit changes what is given and nothing else."""

    name: str
    niches: Sequence[str]
    """Whole names; none: nobody comes in by a niche."""
    niche_match: str
    target_status: str
    auto_enrol: bool
    """Leads that come into a niche, or come with it, are enrolled by themselves while it is active."""
    min_delay: float | None
    """Seconds; given together with max_delay. Both None: each device's own pace."""
    max_delay: float | None
    on_failure: str
    late_by: str | timedelta
    """How long after its moment a step may still go out: 12h, 90m, 2d."""
    stop_on_reply: bool
    stop_on_conversion: bool


class StepFields(TypedDict, total=False):
    """What may be given of a step: either day and time, or after."""

    day: int
    """0: the day on which somebody begins."""
    time: str
    """On the person's clock: 09:00."""
    after: str
    """The step before ended: 3h, 90m, 2d. Of the first step: after somebody was enrolled."""
    body: str
    """Liquid, with the leads' variables."""
    media: Source | None
    """As of a campaign; None: none."""


@dataclass(slots=True)
class CheckedStep:
    """What was given of a step, fit for storing."""

    timing: Timing | None = None
    """None: nothing of it was given."""
    template: Template | None = None


@dataclass(slots=True)
class _Reading:
    problems: list[InvalidInput] = field(default_factory=list)

    def read(self, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except InvalidInputs as error:
            self.problems.extend(error.problems)
        except InvalidInput as error:
            self.problems.append(error)
        return None

    def refuse(self) -> None:
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            raise InvalidInputs(self.problems)


_CHOICES: tuple[tuple[str, type[StrEnum]], ...] = (
    ("niche_match", NicheMatch),
    ("target_status", TargetStatus),
    ("on_failure", FailureRule),
)


def check_sequence(fields: SequenceFields, pace: tuple[float | None, float | None]) -> dict[str, Any]:
    """Columns of what was given. `pace` is what holds so far, for when only one of the delays is given.

    Raises InvalidInputs with everything that is wrong.
    """
    if unknown := sorted(set(fields) - set(SequenceFields.__annotations__)):
        raise InvalidInput(unknown[0], "a sequence has no such field")
    reading, columns = _Reading(), dict[str, Any]()
    if "name" in fields:
        columns["name"] = reading.read(lambda: checked_name(fields["name"], "name"))
    if "niches" in fields:
        columns["niches"] = reading.read(lambda: list(read_niches(fields["niches"])))
    for name, kind in _CHOICES:
        if name in fields:
            columns[name] = reading.read(lambda n=name, k=kind: read_choice(k, fields[n], n))  # type: ignore[misc,literal-required]
    for name in ("auto_enrol", "stop_on_reply", "stop_on_conversion"):
        if name in fields:
            columns[name] = bool(fields[name])  # type: ignore[literal-required]
    if "min_delay" in fields or "max_delay" in fields:
        bounds = fields.get("min_delay", pace[0]), fields.get("max_delay", pace[1])
        given = reading.read(lambda: Pace.from_optional(*bounds))
        columns |= {
            "min_delay": given.min_delay if given else None,
            "max_delay": given.max_delay if given else None,
        }
    if "late_by" in fields:
        columns["late_by"] = reading.read(lambda: _span(fields["late_by"]))
    reading.refuse()
    return columns


def check_audience(*, auto_enrol: bool, niches: Sequence[str]) -> None:
    """Refuse that everybody comes in by themselves. Raises InvalidInput."""
    if auto_enrol and not niches:
        raise InvalidInput("niches", "name at least one niche: without one, every new lead would come in by itself")


def check_step(
    fields: StepFields, workspace: Workspace, held: Timing | None, *, may_be_empty: bool = False
) -> CheckedStep:
    """What was given of a step; `held`: when it is due so far; `may_be_empty`: its text, since there is a medium.

    Raises InvalidInputs with everything that is wrong.
    """
    if unknown := sorted(set(fields) - set(StepFields.__annotations__)):
        raise InvalidInput(unknown[0], "a step has no such field")
    reading, checked = _Reading(), CheckedStep()
    if {"day", "time", "after"} & set(fields):
        checked.timing = reading.read(lambda: _timing(fields, held))
    if "body" in fields:
        checked.template = reading.read(lambda: read_body(fields["body"], workspace, may_be_empty=may_be_empty))
    reading.refuse()
    return checked


def step_media(fields: StepFields) -> Source | None:
    """The medium that was given, if one was. Raises InvalidInput for a text that is no source."""
    source = fields.get("media")
    return None if source is None else checked_source(source)


def _timing(fields: StepFields, held: Timing | None) -> Timing:
    if "after" in fields:
        if "day" in fields or "time" in fields:
            raise InvalidInput("after", "give either day and time, or how long after the step before; not both")
        return After(parse_span(fields["after"]))
    day, at = fields.get("day"), fields.get("time")
    if isinstance(held, At):
        day, at = held.day if day is None else day, f"{held.time:%H:%M}" if at is None else at
    if day is None:
        raise InvalidInput("day", "say on which day; 0 is the day on which somebody begins")
    if at is None:
        raise InvalidInput("time", "say at which time of day, as in 09:00")
    if not 0 <= day <= LAST_DAY:
        raise InvalidInput("day", f"give a day from 0 to {LAST_DAY}")
    return At(day, parse_time(at))


def _span(given: str | timedelta) -> timedelta:
    if isinstance(given, str):
        return parse_deadline(given, "late_by")
    return given
