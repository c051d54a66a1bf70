"""The picture of a sequence: how many people each step was due for, how far it came with them, and who left after it.

Geometry only; separate from the templates so that it is computed once, by one scale for all steps: the widest is the
step that was due for most.
"""

from dataclasses import dataclass

from fleetcast.domain.message import MessageStatus
from fleetcast.domain.sequence import StopReason
from fleetcast.services.sequence_reports import People, SequenceReport
from fleetcast.web import words
from fleetcast.web.rendering import Segment, segments

_WIDTH, _LEAST = 1000.0, 5.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One step."""

    step_id: int
    place: int
    when: str
    due: int
    sent: int
    delivered: int
    read: int
    under_way: int
    """Messages that were made and wait, are leaving or are in doubt."""
    lost: int
    """Not sent: failed, skipped or cancelled."""
    people: People
    """Who is at it; who replied, was stopped or was through after it."""
    reached: tuple[Segment, ...]
    """One within the other: due, sent, delivered, read."""
    left: tuple[Segment, ...]
    """Beside each other: stopped after it, by reason."""
    reasons: tuple[tuple[str, str, int], ...]
    """The same in words: word, colour, count."""


def stages(report: SequenceReport) -> list[Stage]:
    """The steps of a report as a picture."""
    most = max([max(s.funnel.due, s.funnel.people.stopped) for s in report.steps], default=0)
    found = []
    for step in report.steps:
        f = step.funnel
        sent = f.sent
        delivered = min(max(f.delivered, f.read), sent)  # some may have been reported as failed since
        read = min(f.read, delivered)
        open_now = sum(
            f.by_status.get(s, 0)
            for s in (MessageStatus.PENDING, MessageStatus.QUEUED, MessageStatus.SENDING, MessageStatus.IN_DOUBT)
        )
        reasons = reasons_of(f.people)
        found.append(
            Stage(
                step.step_id,
                step.place,
                step.when,
                f.due,
                sent,
                delivered,
                read,
                open_now,
                f.due - sent - open_now,
                f.people,
                tuple(
                    Segment(kind, 0.0, round(max(_LEAST, _WIDTH * n / most), 1))
                    for kind, n in (("track", f.due), ("sent", sent), ("dlv", delivered), ("read", read))
                    if n > 0
                ),
                tuple(segments([(kind, n) for _, kind, n in reasons], most)),
                reasons,
            )
        )
    return found


def reasons_of(people: People) -> tuple[tuple[str, str, int], ...]:
    """Why people were stopped, in the order of the words; what cannot be told apart by colour stands together."""
    told = [(*words.STOPPED[reason], people.by_reason.get(reason, 0)) for reason in StopReason]
    order = list(words.STOPPED.values())
    return tuple(sorted((t for t in told if t[2] > 0), key=lambda t: order.index((t[0], t[1]))))
