"""Changes of many leads or devices: which there were, how far one is, stopping it and taking it back."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from fleetcast.domain.bulk_edit import Things
from fleetcast.services import bulk_edits
from fleetcast.web import rendering
from fleetcast.web.place import Looking, Sending

router = APIRouter()

PAGE = 50

ThisEdit = Annotated[int, Path(alias="edit_id", ge=1, le=2**63 - 1)]


@router.get("/bulk")
async def list_edits(
    request: Request,
    here: Looking,
    things: Annotated[str, Query(max_length=20)] = "",
    after: Annotated[str, Query(max_length=40)] = "",
) -> HTMLResponse:
    """What was done to many at once?"""
    only = Things(things) if things in set(Things) else None
    found, following = await bulk_edits.page_of_edits(
        here.runtime, here.workspace.id, things=only, after=after or None, limit=PAGE
    )
    return rendering.page(
        request,
        here,
        "bulk_edits.html",
        "devices" if only is Things.DEVICES else "leads",
        "Changes of many",
        found=found,
        things=things,
        after=after,
        next=following,
    )


@router.get("/bulk/{edit_id}")
async def show_edit(request: Request, here: Looking, edit_id: ThisEdit) -> HTMLResponse:
    """How far is it, what did it change, can it be taken back?"""
    found = await bulk_edits.get_edit(here.runtime, here.workspace.id, edit_id)
    return rendering.page(request, here, "bulk_edit.html", found.things.value, "Change of many", edit=found)


@router.get("/bulk/{edit_id}/now")
async def edit_now(here: Looking, edit_id: ThisEdit) -> HTMLResponse:
    """The changing part of the page, which asks for it again and again."""
    found = await bulk_edits.get_edit(here.runtime, here.workspace.id, edit_id)
    return rendering.part("bulk_edit_now.html", here, edit=found)


@router.post("/bulk/{edit_id}/stop")
async def stop_edit(here: Sending, edit_id: ThisEdit) -> RedirectResponse:
    """End it here; what was done stays."""
    done = await bulk_edits.stop_edit(here.runtime, here.workspace.id, edit_id, actor=here.access.actor)
    return here.to(f"/bulk/{edit_id}", "bulk-stopped" if done else "nothing")


@router.post("/bulk/{edit_id}/undo")
async def undo_edit(here: Sending, edit_id: ThisEdit) -> RedirectResponse:
    """Take it back."""
    made = await bulk_edits.undo_edit(here.runtime, here.workspace.id, edit_id, actor=here.access.actor)
    return here.to(f"/bulk/{made.id}")
