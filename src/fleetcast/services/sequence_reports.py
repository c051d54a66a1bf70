"""What became of a sequence: its people, and a funnel of its messages for each step and each device.

Everything is read from sums that are kept with the rows; nobody counts rows. A message that is sent again by the rule
counts once. Messages that were deleted because they were kept long enough still count.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fleetcast.domain.identifiers import DeviceId, SequenceId, StepId, WorkspaceId
from fleetcast.domain.timeline import in_words
from fleetcast.errors import NotFound
from fleetcast.runtime import Runtime
from fleetcast.store import devices, sequence_steps, sequence_tallies, sequences
from fleetcast.store.sequence_tallies import Tally

__all__ = ["DeviceReport", "Funnel", "People", "SequenceReport", "StepReport", "report_sequence"]

_PEOPLE = frozenset({"active", "completed", "stopped", "replied"})


@dataclass(frozen=True, slots=True)
class People:
    """Who came in, by where they are now. `enrolled` is the sum."""

    active: int = 0
    completed: int = 0
    stopped: int = 0
    replied: int = 0
    """Wrote while they were active, whether that stopped them or not."""
    by_reason: Mapping[str, int] = field(default_factory=dict)
    """Why they were stopped."""

    @property
    def enrolled(self) -> int:
        """All that ever came in."""
        return self.active + self.completed + self.stopped


@dataclass(frozen=True, slots=True)
class Funnel:
    """Messages and people of a step, a device or all."""

    by_status: Mapping[str, int]
    by_reason: Mapping[str, Mapping[str, int]]
    """status → reason → count, for failed and skipped."""
    delivered: int
    read: int
    people: People
    """Of a step: who is at it, and who replied, was stopped or was through after it."""

    @property
    def due(self) -> int:
        """Messages that were made: sent, under way, or not sent."""
        return sum(self.by_status.values())

    @property
    def sent(self) -> int:
        """Taken by WhatsApp."""
        return self.by_status.get("sent", 0)


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step that is sent."""

    step_id: StepId
    place: int
    when: str
    funnel: Funnel


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """One number."""

    device_id: DeviceId
    device: str
    funnel: Funnel


@dataclass(frozen=True, slots=True)
class SequenceReport:
    """A sequence as a whole, by step and by device."""

    whole: Funnel
    steps: tuple[StepReport, ...]
    before_first: People
    """Who was stopped before the first step ended."""
    devices: tuple[DeviceReport, ...]
    """Those with most people first."""


def people_of(tallies: Iterable[Tally]) -> People:
    """The people of some sums."""
    found: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for tally in tallies:
        if tally.counter in _PEOPLE:
            found[tally.counter] = found.get(tally.counter, 0) + tally.n
            if tally.counter == "stopped" and tally.reason is not None:
                reasons[tally.reason] = reasons.get(tally.reason, 0) + tally.n
    return People(**found, by_reason=reasons)


def funnel_of(tallies: Iterable[Tally]) -> Funnel:
    """The funnel of some sums."""
    some = list(tallies)
    by_status: dict[str, int] = {}
    by_reason: dict[str, dict[str, int]] = {}
    reached = {"delivered": 0, "read": 0}
    for tally in some:
        if tally.counter in reached:
            reached[tally.counter] += tally.n
        elif tally.counter not in _PEOPLE:
            by_status[tally.counter] = by_status.get(tally.counter, 0) + tally.n
            if tally.reason is not None:
                reasons = by_reason.setdefault(tally.counter, {})
                reasons[tally.reason] = reasons.get(tally.reason, 0) + tally.n
    return Funnel(
        {status: n for status, n in by_status.items() if n}, by_reason, reached["delivered"], reached["read"],
        people_of(some),
    )  # fmt: skip


async def report_sequence(
    runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId, *, with_devices: bool = True
) -> SequenceReport:
    """The report of a sequence; without its devices, of which there may be thousands, it is cheap. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        if await sequences.get(connection, workspace_id, sequence_id) is None:
            raise NotFound(f"There is no sequence {sequence_id} in this workspace.")
        steps = await sequence_steps.of_sequence(connection, workspace_id, sequence_id)
        tallies = await sequence_tallies.of_sequences(connection, workspace_id, [sequence_id])
        by_device = await sequence_tallies.by_device(connection, workspace_id, sequence_id) if with_devices else []
        known = {
            d.id: d
            for d in await devices.some(connection, workspace_id, {t.device_id for t in by_device if t.device_id})
        }
    of_device: dict[DeviceId, list[Tally]] = {}
    for tally in by_device:
        if tally.device_id is not None:
            of_device.setdefault(tally.device_id, []).append(tally)
    reports = [
        DeviceReport(device_id, known[device_id].name if device_id in known else str(device_id), funnel_of(some))
        for device_id, some in of_device.items()
    ]
    reports.sort(key=lambda each: (-each.funnel.people.enrolled, each.device_id))
    return SequenceReport(
        funnel_of(tallies),
        tuple(
            StepReport(s.id, s.place, in_words(s.timing, s.place), funnel_of(t for t in tallies if t.step_id == s.id))
            for s in steps
        ),
        people_of(t for t in tallies if t.step_id is None),
        tuple(reports),
    )
