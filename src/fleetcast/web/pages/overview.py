"""The first page and its stream of changes."""

import asyncio
import shlex
from collections.abc import AsyncIterator
from datetime import date
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi.sse import format_sse_event

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import FleetcastError, InvalidInput, Unavailable
from fleetcast.services.history import history
from fleetcast.web import charts, live, rendering
from fleetcast.web.door import Visiting, visiting
from fleetcast.web.live import Live, Watcher
from fleetcast.web.place import Chosen, Looking, Place, place

router = APIRouter()

Range = Annotated[Literal["today", "7", "30", "90", "own"], Query(alias="range")]
Day = Annotated[str, Query(max_length=10)]

STILL_MEMBER = 20.0
"""Seconds after which a stream asks again whether its reader is signed in and a member. Asked with the next event, and
there is one at least every five seconds."""


@router.get("/", response_class=HTMLResponse)
async def first_page(
    request: Request,
    who: Visiting,
    chosen: Chosen = None,
    span: Range = "today",
    first: Annotated[Day, Query(alias="from")] = "",
    last: Annotated[Day, Query(alias="to")] = "",
) -> HTMLResponse:
    """How fast is it going out, when is it done, does anything need a person?"""
    if not who.memberships:
        return HTMLResponse(
            rendering.notice_page(
                "Welcome to Fleetcast",
                "You are not a member of any workspace. A workspace keeps the devices, leads and campaigns of one "
                "organisation apart from all others. Ask an owner of one for an invitation, or make one on the machine "
                "that Fleetcast runs on, then reload this page:",
                command=f"fleetcast workspace create NAME --owner {shlex.quote(who.email)}",
                again=True,
                email=who.email,
            )
        )
    here = await place(request, who, chosen)
    figures: Live = request.app.state.live
    return HTMLResponse(
        rendering.overview_page(await figures.look(here.workspace.id), here, await _past(here, span, first, last))
    )


@router.get("/history")
async def past(
    here: Looking,
    span: Range = "today",
    first: Annotated[Day, Query(alias="from")] = "",
    last: Annotated[Day, Query(alias="to")] = "",
) -> HTMLResponse:
    """What was sent over time: the part of the first page that asks for itself now and then."""
    return rendering.part("parts/history.html", here, past=await _past(here, span, first, last))


async def _past(here: Place, span: str, first: str, last: str) -> charts.Past:
    """Some days as a chart; of days of one's own those that are not named are the last seven."""
    today = here.at.astimezone(ZoneInfo(here.workspace.time_zone)).date()
    since, until = charts.days_of(span, today)
    try:
        if span == "own":
            since, until = _day("from", first) or since, _day("to", last) or until
        found = await history(here.runtime, here.workspace.id, since, until)
    except InvalidInput as error:
        return charts.Past(span, first, last, None, error)
    return charts.Past(span, since.isoformat(), until.isoformat(), charts.chart(found))


def _day(field: str, text: str) -> date | None:
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInput(field, f"'{text.strip()}' is no day: write it as 2026-12-24") from None


async def _watcher(
    request: Request, who: Visiting, chosen: Annotated[int, Query(alias="workspace", ge=1, le=2**63 - 1)]
) -> AsyncIterator[Watcher]:  # async, or it would be entered in a thread beside the loop that owns the watchers
    figures: Live = request.app.state.live
    with figures.watching(who.access(WorkspaceId(chosen)).workspace_id) as watcher:
        yield watcher


@router.get("/events")
async def events(
    request: Request,
    watcher: Annotated[Watcher, Depends(_watcher)],
    chosen: Annotated[int, Query(alias="workspace", ge=1, le=2**63 - 1)],
) -> StreamingResponse:
    """Changed sections as unnamed events, which htmx swaps in; `current`, `trouble` and `over` are for live.js.

    Not FastAPI's own stream of events: it makes three events ahead for a browser that does not read, and logs a
    traceback when that browser goes away.
    """
    told = _told(watcher, request, WorkspaceId(chosen))
    return StreamingResponse(told, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _told(watcher: Watcher, request: Request, workspace_id: WorkspaceId) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop().time
    asked = clock()
    async for update in watcher.updates(live.LIFETIME):
        if clock() - asked > STILL_MEMBER:
            try:
                (await visiting(request)).access(workspace_id)
            except Unavailable:
                pass  # nobody can say now; the figures say so too
            except FleetcastError as error:
                yield format_sse_event(event="over", data_str=str(error))
                return
            asked = clock()
        if update.trouble is not None:
            yield format_sse_event(event="trouble", data_str=update.trouble)
        elif update.changed:
            yield format_sse_event(data_str=rendering.partials(update.changed))
        else:
            yield format_sse_event(event="current", data_str="")
