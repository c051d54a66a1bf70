"""How a sequence, its people and its report look in a terminal; separate from the commands, which only ask."""

from collections.abc import Mapping, Sequence

from fleetcast.cli.output import local_time, number, say, table
from fleetcast.domain.schedule import write_deadline
from fleetcast.domain.timeline import in_words
from fleetcast.services.enrolments import Enrolment
from fleetcast.services.sequence_reports import Funnel, SequenceReport
from fleetcast.services.sequences import SequenceShown

DEVICES_SHOWN = 20


def show_sequence(shown: SequenceShown, zone: str) -> None:
    """Print a sequence with its steps; times by the clock of `zone`."""
    s, people = shown.sequence, shown.people
    stops = [name for name, is_so in (("reply", s.stop_on_reply), ("conversion", s.stop_on_conversion)) if is_so]
    run = shown.run
    table(
        ("", f"Sequence {s.id}"),
        [
            ("name", s.name),
            ("status", f"{s.status} ({s.paused_reason})" if s.paused_reason else s.status),
            ("niches", f"{s.niche_match} of {', '.join(s.niches)}" if s.niches else "-"),
            ("target", s.target_status),
            ("new leads", "come in by themselves" if s.auto_enrol else "by hand"),
            ("pace", "each device's own" if s.min_delay is None else f"{s.min_delay:g}-{s.max_delay:g} s"),
            ("not sent", s.on_failure),
            ("late by", write_deadline(s.late_by)),
            ("stops on", ", ".join(["opt-out", *stops])),
            ("activated", local_time(s.activated_at, zone)),
        ],
    )
    say("")
    rows = [
        (
            step.place,
            in_words(step.timing, step.place),
            number(shown.at_step[step.id]),
            step.content.body.split("\n")[0][:60],
        )
        for step in shown.steps
    ]
    if rows:
        table(("step", "when", "people at it", "says"), rows, right=("step", "people at it"))
    else:
        say(f"It has no step yet. Add one with `fleetcast sequence add-step {s.id}`.")
    say("")
    counts = [(name, number(getattr(people, name))) for name in ("enrolled", "active", "completed", "stopped")]
    reasons = [(f"  {reason}", number(n)) for reason, n in sorted(people.by_reason.items(), key=lambda pair: -pair[1])]
    table(("people", ""), [*counts, *reasons, ("replied", number(people.replied))], right=("",))
    if run is not None and run.finished_at is None:
        say(f"Leads are being enrolled: {number(run.enrolled)} so far.")
    if s.retime_cursor is not None:
        say("The timeline has changed; people are being placed anew.")


_COLUMNS = ("due", "sent", "delivered", "read", "replied", "not sent", "stopped")


def _cells(funnel: Funnel) -> tuple[str, ...]:
    unsent = sum(funnel.by_status.get(status, 0) for status in ("failed", "skipped", "cancelled"))
    people = funnel.people
    return tuple(
        number(n)
        for n in (funnel.due, funnel.sent, funnel.delivered, funnel.read, people.replied, unsent, people.stopped)
    )


def show_report(report: SequenceReport) -> None:
    """Print a report."""
    rows = [(step.place, step.when, *_cells(step.funnel)) for step in report.steps]
    table(("step", "when", *_COLUMNS), [*rows, ("", "all", *_cells(report.whole))], right=("step", *_COLUMNS))
    if report.devices:
        say("")
        shown = report.devices[:DEVICES_SHOWN]
        table(
            ("device", "people", *_COLUMNS),
            [(d.device, number(d.funnel.people.enrolled), *_cells(d.funnel)) for d in shown],
            right=("people", *_COLUMNS),
        )
        if len(report.devices) > len(shown):
            say(f"and {number(len(report.devices) - len(shown))} more devices")


def show_people(found: Sequence[Enrolment], places: Mapping[int, int], zone: str) -> None:
    """Print who is in a sequence; times by the clock of `zone`."""
    table(
        ("id", "phone", "name", "state", "step", "next", "enrolled"),
        [
            (
                e.id,
                e.phone,
                e.name,
                f"{e.state} ({e.stop_reason})" if e.stop_reason else e.state,
                places.get(e.step_id or 0, "-"),
                local_time(e.due_at, zone),
                local_time(e.enrolled_at, zone),
            )
            for e in found
        ],
        right=("id", "step"),
    )
