"""The first page and its stream of changes."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi.sse import format_sse_event

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.overview import workspace_names
from fleetcast.web import live, rendering
from fleetcast.web.live import Live, Watcher

router = APIRouter()

Chosen = Annotated[int | None, Query(alias="workspace", ge=1, le=2**63 - 1)]
"""Without it: the oldest workspace."""


@router.get("/", response_class=HTMLResponse)
async def first_page(request: Request, chosen: Chosen = None) -> HTMLResponse:
    """How fast is it going out, when is it done, does anything need a person?"""
    runtime: Runtime = request.app.state.runtime
    choices = await workspace_names(runtime)
    if chosen is None and not choices:
        return HTMLResponse(
            rendering.notice_page(
                "Welcome to Fleetcast",
                "There is no workspace yet. A workspace keeps the devices, leads and campaigns of one organisation "
                "apart from all others. Make the first one, then reload this page:",
                command="fleetcast workspace create NAME",
            )
        )
    figures: Live = request.app.state.live
    overview = await figures.look(WorkspaceId(chosen if chosen is not None else choices[0][0]))
    return HTMLResponse(rendering.overview_page(overview, choices))


async def _watcher(
    request: Request, chosen: Annotated[int, Query(alias="workspace", ge=1, le=2**63 - 1)]
) -> AsyncIterator[Watcher]:  # async, or it would be entered in a thread beside the loop that owns the watchers
    figures: Live = request.app.state.live
    with figures.watching(WorkspaceId(chosen)) as watcher:
        yield watcher


@router.get("/events")
async def events(watcher: Annotated[Watcher, Depends(_watcher)]) -> StreamingResponse:
    """Changed sections as unnamed events, which htmx swaps in; `current` and `trouble` are for app.js.

    Not FastAPI's own stream of events: it makes three events ahead for a browser that does not read, and logs a
    traceback when that browser goes away.
    """
    return StreamingResponse(_told(watcher), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _told(watcher: Watcher) -> AsyncIterator[bytes]:
    async for update in watcher.updates(live.LIFETIME):
        if update.trouble is not None:
            yield format_sse_event(event="trouble", data_str=update.trouble)
        elif update.changed:
            yield format_sse_event(data_str=rendering.partials(update.changed))
        else:
            yield format_sse_event(event="current", data_str="")
