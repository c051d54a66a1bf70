"""Templates, their filters, and the geometry of bars. What a fragment looks like is decided here and in templates/."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from fleetcast.domain.device import DeviceState
from fleetcast.domain.timeline import in_words
from fleetcast.errors import Conflict, FleetcastError, InvalidInput, InvalidInputs
from fleetcast.services.accounts.membership import Invitation
from fleetcast.services.devices import Device
from fleetcast.services.overview import PEEK, Counts, Fleet, Overview, standing
from fleetcast.web import formatting, words
from fleetcast.web.advice import AGAIN
from fleetcast.web.charts import RANGES, Past

if TYPE_CHECKING:
    from fleetcast.web.place import Place  # it draws pages itself where nobody is signed in

STATIC = Path(__file__).parent / "static"
SECTIONS = ("state", "going", "needs", "devices", "others")
"""Parts of the first page that change by themselves; each is an element's id and a template in templates/parts/."""

_WIDTH, _LEAST, _GAP = 1000.0, 5.0, 2.0


@dataclass(frozen=True, slots=True)
class Segment:
    """One coloured stretch of a bar, in thousandths of its width."""

    kind: str
    x: float
    width: float


def segments(parts: list[tuple[str, int]], total: int) -> list[Segment]:
    """Stretches beside each other. A part above zero is at least half a percent wide; the rest of the track waits."""
    shown = [(kind, n) for kind, n in parts if n > 0]
    if not shown or total <= 0:
        return []
    widths = [max(_LEAST, _WIDTH * n / total) for _, n in shown]
    room = _WIDTH - _GAP * (len(shown) - 1)
    over = sum(widths) - room
    if over > 0:  # the small ones keep their least width, the large ones give way
        large = sum(w for w in widths if w > 2 * _LEAST)
        widths = [w - over * w / large if w > 2 * _LEAST else w for w in widths]
    found, x = [], 0.0
    for (kind, _), width in zip(shown, widths, strict=True):
        found.append(Segment(kind, round(x, 1), round(width, 1)))
        x += width + _GAP
    return found


def campaign_bar(counts: Counts) -> list[Segment]:
    """Read, delivered and sent are depths of one blue; then what is in doubt, failed, and kept back."""
    delivered = min(max(counts.delivered, counts.read), counts.sent)  # some may have been reported as failed since
    read = min(counts.read, delivered)
    return segments(
        [
            ("read", read),
            ("dlv", delivered - read),
            ("sent", counts.sent - delivered),
            ("warn", counts.in_doubt),
            ("bad", counts.failed),
            ("end", counts.skipped + counts.cancelled),
        ],
        counts.planned,
    )


def fleet_bar(fleet: Fleet) -> list[Segment]:
    """The devices by what they are doing, in the order of the words."""
    return segments([(kind, fleet.standings.get(key, 0)) for key, (_, kind) in words.DEVICE.items()], fleet.total)


def when(instant: datetime, now: datetime, zone: str, *, seconds: bool = False) -> str:
    """An instant by the clock of the workspace: `20:33` today, then `Wed 25 Nov, 12:00`, then with the year."""
    local, today = instant.astimezone(ZoneInfo(zone)), now.astimezone(ZoneInfo(zone))
    clock = local.strftime("%H:%M:%S" if seconds else "%H:%M")
    if local.date() == today.date():
        return clock
    day = f"{local:%a} {local.day} {local:%b}" + ("" if local.year == today.year else f" {local.year}")
    return f"{day}, {clock}"


def device_next(device: Device) -> str:
    """What follows from a device's state, and what to do; empty where nothing does."""
    return words.ANSWERS if device.state is DeviceState.RESTRICTED and device.may_answer else words.NEXT[device.state]


def standing_line(device: Device, now: datetime, zone: str) -> str:
    """Since when a device is as it is, and why: beside its badge."""
    if standing(device.state, paused=device.paused_at is not None) == "paused" and device.paused_at is not None:
        by = f" by {words.person(device.paused_by)}" if device.paused_by else ""
        why = f": {device.paused_reason}" if device.paused_reason else ""
        return f"since {when(device.paused_at, now, zone)}{by}{why}. Its messages wait."
    told = f"since {when(device.state_since, now, zone)}"
    if device.restricted_until is not None:
        told += f", until {when(device.restricted_until, now, zone)}"
    return f"{told}: {device.state_reason}" if device.state_reason else f"{told}."


def elsewhere(instant: datetime, zone: str, own: str) -> str:
    """The same instant by other clocks: `12:05 UTC`, and that of who looks, where theirs is another."""
    here = instant.astimezone(ZoneInfo(zone))
    seen, told = {here.utcoffset()}, []
    for name, word in (("UTC", "UTC"), (own, f"{own.rpartition('/')[2].replace('_', ' ')}, where you are")):
        there = instant.astimezone(ZoneInfo(name)) if name else here
        if there.utcoffset() not in seen:
            seen.add(there.utcoffset())
            told.append(f"{there:%H:%M}{'' if there.date() == here.date() else f' on {there:%a}'} {word}")
    return ", ".join(told)


def day(now: datetime, zone: str) -> str:
    """`Tuesday 24 November, 20:12 in Kuala Lumpur`."""
    local = now.astimezone(ZoneInfo(zone))
    place = zone.rsplit("/", 1)[-1].replace("_", " ")
    return f"{local:%A} {local.day} {local:%B}, {local:%H:%M} " + (f"in {place}" if "/" in zone else place)


@cache
def _fingerprint(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]


def static_url(name: str) -> str:
    """The address of a static file; it changes with the content, so browsers may keep it for ever."""
    return f"/static/{name}?v={_fingerprint(name)}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fleetcast.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        whole=lambda n: f"{n:,}",
        rate=words.per_minute,
        percent=words.percent,
        span=words.span,
        span_short=words.span_short,
        lateness=words.lateness,
        clip=words.clip,
        bytes=words.size,
        compact=words.compact,
        plural=words.plural,
        reason=words.reason_word,
        person=words.person,
        phone=words.phone,
        pace=words.pace,
        browser=words.browser,
        edit_title=words.edit_title,
        join_fields=words.fields_changed,
        written=formatting.written,
        join_with=str.join,
        capitalize_first=lambda text: text[:1].upper() + text[1:],
        sentence=lambda trouble: words.sentence(str(trouble)),
        standing_line=standing_line,
        trim_number=lambda n: f"{n:g}",
    )
    environment.globals.update(
        static=static_url,
        when=when,
        later=lambda at, seconds: at + timedelta(seconds=seconds),
        elsewhere=elsewhere,
        day=day,
        standing_of=standing,
        campaign_bar=campaign_bar,
        fleet_bar=fleet_bar,
        device_words=words.DEVICE,
        device_next=device_next,
        campaign_words=words.CAMPAIGN,
        sequence_words=words.SEQUENCE,
        enrolment_words=words.ENROLMENT,
        stop_words=words.STOPPED,
        came_in=words.CAME_IN,
        in_words=in_words,
        message_words=words.MESSAGE,
        process_words=words.PROCESS,
        shard_words=words.SHARD,
        ranges=RANGES,
        again=AGAIN,
        peek=PEEK,
    )
    return environment


_TEMPLATES = _environment()


def sections(overview: Overview) -> dict[str, str]:
    """The changing parts of the first page, by their id."""
    return {name: _TEMPLATES.get_template(f"parts/{name}.html").render(o=overview) for name in SECTIONS}


def overview_page(overview: Overview, place: "Place", past: Past) -> str:
    """The first page, for who is signed in."""
    return _TEMPLATES.get_template("overview.html").render(
        o=overview,
        place=place,
        section="overview",
        heading="Overview",
        said=None,
        sections=sections(overview),
        past=past,
    )


def refusal(trouble: InvalidInput | InvalidInputs | Conflict | None) -> dict[str, Any]:
    """What the page of a form says of its refusal: a status, every problem, and those that have a field by it."""
    problems = list(trouble.problems) if isinstance(trouble, InvalidInputs) else [trouble] if trouble else []
    return {
        "status": 200 if trouble is None else 409 if isinstance(trouble, Conflict) else 422,
        "problems": problems,
        "wrong": {p.field: p for p in problems if isinstance(p, InvalidInput)},
    }


def page(
    request: Request, place: "Place", template: str, section: str, heading: str, *, status: int = 200, **facts: object
) -> HTMLResponse:
    """A page of a workspace. `section`: which part of the navigation it belongs to; `heading`: its h1 and title."""
    text = _TEMPLATES.get_template(template).render(
        place=place, section=section, heading=heading, said=_said(request), **facts
    )
    return HTMLResponse(text, status)


def part(template: str, place: "Place", *, status: int = 200, **facts: object) -> HTMLResponse:
    """A piece of a page, as a page that is open asks for it."""
    return HTMLResponse(_TEMPLATES.get_template(template).render(place=place, **facts), status)


def _said(request: Request) -> str | None:
    """What was done last, as the address says it in a word and perhaps a number."""
    n = request.query_params.get("n", "")
    return words.said(
        request.query_params.get("said", ""), int(n) if n.isascii() and n.isdigit() and len(n) < 10 else 1
    )


def sign_in_page(*, following: str, email: str = "", trouble: str | None = None) -> str:
    """The form to sign in, and then go on to `following`."""
    return _TEMPLATES.get_template("sign_in.html").render(following=following, email=email, trouble=trouble)


def code_page(*, following: str, trouble: str | None = None) -> str:
    """The form for the second factor."""
    return _TEMPLATES.get_template("code.html").render(following=following, trouble=trouble)


def invitation_page(
    invitation: Invitation, *, link: str, known: bool, email: str | None, name: str, trouble: FleetcastError | None
) -> str:
    """An invitation. `known`: its address has an account; `email`: who is signed in."""
    return _TEMPLATES.get_template("invitation.html").render(
        i=invitation,
        link=link,
        known=known,
        email=email,
        name=name,
        until=f"{invitation.expires_at:%A} {invitation.expires_at.day} {invitation.expires_at:%B, %H:%M} UTC",
        trouble=None if trouble is None else words.sentence(str(trouble)),
        field=trouble.field if isinstance(trouble, InvalidInput) else None,
    )


def notice_page(
    title: str,
    sentence: str,
    *,
    command: str | None = None,
    again: bool = False,
    retry: bool = False,
    onward: tuple[str, str] = ("/", "To the overview"),
    email: str | None = None,
) -> str:
    """A page that says one thing: an error, or what to do first. `again`: asking once more may help, and with `retry`
    it does so by itself. `onward`: where else to go. `email`: who is signed in, to be able to leave.
    """
    return _TEMPLATES.get_template("notice.html").render(
        title=title,
        sentence=sentence,
        command=command,
        again=again or retry,
        retry=retry,
        onward=onward,
        email=email,
    )


def partials(changed: dict[str, str]) -> str:
    """Changed sections as htmx takes them: each is morphed into the element of its id."""
    return "".join(
        f'<hx-partial hx-target="#{name}" hx-swap="innerMorph">{html}</hx-partial>' for name, html in changed.items()
    )
