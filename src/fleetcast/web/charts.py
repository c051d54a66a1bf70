"""What a chart and the table beside it show of a workspace's history: labels by its clock, heights of bars, shares.

Separate from templates, which have no arithmetic, and from the script, which knows no time zone.
"""

import json
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from fleetcast.domain.history import Step
from fleetcast.errors import InvalidInput
from fleetcast.services.history import Counts, History, Period
from fleetcast.web.words import percent

RANGES = (("today", "Today", 1), ("7", "7 days", 7), ("30", "30 days", 30), ("90", "90 days", 90))
"""What can be chosen: word of the address, word for people, days up to today."""
MARK_HOURS = 3
"""Hours between two labels of one day."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the totals above the chart."""

    word: str
    kind: str
    """A meaning; '' where it has no colour in the chart."""
    n: int
    share: str
    """In words, '' where there is nothing to share."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A history as it is drawn."""

    figures: tuple[Figure, ...]
    data: str
    """JSON for the script."""
    step: str
    rows: tuple[tuple[str, Counts], ...]
    """(when, what happened) of every period in which anything did, the newest first."""
    is_empty: bool


@dataclass(frozen=True, slots=True)
class Past:
    """What the first page shows of the past."""

    span: str
    """The chosen range, a word of `RANGES` or `own`."""
    first: str
    """As the fields of one's own range show it."""
    last: str
    chart: Chart | None
    trouble: InvalidInput | None = None
    """Why there is none."""


def days_of(chosen: str, today: date) -> tuple[date, date]:
    """The first and last day of a range; of one's own range until its days are named: the last seven."""
    days = next((n for word, _, n in RANGES if word == chosen), 7)
    return today - timedelta(days=days - 1), today


def chart(history: History) -> Chart:
    """How it is drawn."""
    zone = ZoneInfo(history.zone)
    spoken = [_spoken(p, history, zone) for p in history.periods]
    counts = [p.counts for p in history.periods]
    rows = [(word, c) for word, c in zip(spoken, counts, strict=True) if c != Counts()]
    return Chart(
        figures=_figures(history.total),
        data=json.dumps(
            {
                "spoken": spoken,
                "marks": _marks(history, zone),
                "bars": [
                    {"kind": "bad", "values": [_tallest(c) + max(c.failed, 0) for c in counts]},
                    {"kind": "sent", "values": [max(c.sent, 0) for c in counts]},
                    {"kind": "dlv", "values": [max(c.delivered, 0) for c in counts]},
                    {"kind": "read", "values": [max(c.read, 0) for c in counts]},
                ],
                "says": [
                    {"word": word, "values": [getattr(c, name) for c in counts]}
                    for name, word in (
                        ("sent", "sent"),
                        ("delivered", "delivered"),
                        ("read", "read"),
                        ("failed", "failed"),
                    )
                ],
            },
            separators=(",", ":"),
        ),
        step={Step.QUARTER_HOUR: "Per quarter of an hour", Step.HOUR: "Per hour", Step.DAY: "Per day"}[history.step],
        rows=tuple(reversed(rows)),
        is_empty=not rows,
    )


def _tallest(c: Counts) -> int:
    """Receipts of what was sent earlier may be more than what was sent."""
    return max(c.sent, c.delivered, c.read, 0)


def _figures(total: Counts) -> tuple[Figure, ...]:
    def of(n: int, whole: int, what: str) -> str:
        return f"{percent(min(max(n, 0) / whole, 1.0))} of {what}" if whole > 0 else ""

    sent = max(total.sent, 0)
    tried = sent + max(total.failed, 0)
    return (
        Figure("Sent", "sent", total.sent, of(sent, tried, "tries")),
        Figure("Delivered", "dlv", total.delivered, of(total.delivered, sent, "sent")),
        Figure("Read", "read", total.read, of(total.read, sent, "sent")),
        Figure("Failed", "bad", total.failed, of(total.failed, tried, "tries")),
        Figure("Replies", "", total.replied, of(total.replied, sent, "sent")),
        Figure("Opted out", "", total.opted_out, of(total.opted_out, sent, "sent")),
    )


def _day(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b}"


def _spoken(period: Period, history: History, zone: ZoneInfo) -> str:
    """`Tue 24 Nov`, `Tue 24 Nov, 14:00 to 15:00`; of one day without the day. Where an hour comes twice the zone's
    own word says which.
    """
    at, until = period.at.astimezone(zone), period.until.astimezone(zone)
    if history.step is Step.DAY:
        return _day(at.date()) + ("" if history.first.year == history.last.year else f" {at.year}")
    twice = any(t.replace(fold=0).utcoffset() != t.replace(fold=1).utcoffset() for t in (at, until))
    told = f"{at:%H:%M %Z} to {until:%H:%M %Z}" if twice else f"{at:%H:%M} to {until:%H:%M}"
    return told if history.first == history.last else f"{_day(at.date())}, {told}"


def _marks(history: History, zone: ZoneInfo) -> list[tuple[int, str]]:
    """Where labels may stand below the chart, with their words; the script leaves out what has no room."""
    found = []
    one_day = history.first == history.last
    for i, period in enumerate(history.periods):
        at = period.at.astimezone(zone)
        if history.step is Step.DAY:
            found.append((i, f"{at.day} {at:%b}"))
        elif at.minute or (not one_day and history.step is Step.HOUR and at.hour):
            continue
        elif at.hour == 0 and not one_day:
            found.append((i, f"{at:%a} {at.day}"))
        elif at.hour % (MARK_HOURS if one_day else 2 * MARK_HOURS) == 0:
            found.append((i, f"{at:%H:%M}"))
    return found
