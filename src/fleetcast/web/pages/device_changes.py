"""Changing many devices at once: those that were chosen in the list, or all that it shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, Response

from fleetcast.domain.bulk_edit import OF_DEVICES, EditAction
from fleetcast.domain.identifiers import DeviceId
from fleetcast.errors import Conflict, FleetcastError, Forbidden, InvalidInput
from fleetcast.services import bulk_edits
from fleetcast.services.bulk_edits import COUNTED_WAITING, DeviceFilter
from fleetcast.services.devices import DEFAULT_MAX_DELAY, DEFAULT_MIN_DELAY
from fleetcast.services.fleet import MOST_AT_ONCE
from fleetcast.web import rendering, words
from fleetcast.web.fields import seconds
from fleetcast.web.pages.devices import SECTION
from fleetcast.web.place import Place, Sending

router = APIRouter()

Line = Annotated[str, Form(max_length=500)]
Chosen = Annotated[list[int], Form(alias="device", max_length=MOST_AT_ONCE)]


@dataclass(frozen=True, slots=True)
class Meant:
    """Of which devices a form speaks, and what it wants of them."""

    text: str
    standing: str
    ids: Sequence[int]
    everything: bool
    action: EditAction | None
    reason: str
    min_delay: str
    max_delay: str

    def wanted(self) -> DeviceFilter:
        """Which. Raises InvalidInput."""
        if self.everything:
            known = self.standing if self.standing in words.DEVICE else None
            return DeviceFilter(" ".join(self.text.split()), known)
        if not self.ids:
            raise InvalidInput("devices", "choose at least one device, or all that match")
        return DeviceFilter(ids=tuple(DeviceId(i) for i in dict.fromkeys(self.ids)))

    def value(self) -> dict[str, Any]:
        """What the action needs. Raises InvalidInput."""
        if self.action is EditAction.PACE:
            return {
                "min_delay": seconds("min_delay", self.min_delay),
                "max_delay": seconds("max_delay", self.max_delay),
            }
        return {"reason": self.reason}


def _meant(
    chosen: Chosen = [],  # noqa: B006
    scope: Line = "",
    action: Line = "",
    text: Annotated[str, Form(alias="q", max_length=200)] = "",
    standing: Annotated[str, Form(alias="state", max_length=20)] = "",
    reason: Line = "",
    min_delay: Line = f"{DEFAULT_MIN_DELAY:g}",
    max_delay: Line = f"{DEFAULT_MAX_DELAY:g}",
) -> Meant:
    known = EditAction(action) if action in OF_DEVICES else None
    return Meant(text, standing, chosen, scope == "all", known, reason, min_delay, max_delay)


WhichAreMeant = Annotated[Meant, Depends(_meant)]


@router.post("/devices/bulk")
async def ask_about_many(request: Request, here: Sending, meant: WhichAreMeant) -> HTMLResponse:
    """How many are they, and what exactly is to be done to them?"""
    return await _ask(request, here, meant)


def _allowed(here: Place, meant: Meant) -> EditAction:
    if meant.action is None:
        raise InvalidInput("action", "say what is to be done")
    if meant.action is EditAction.REMOVE and not here.may_manage:
        raise Forbidden("Only owners of the workspace may remove devices. Ask one of them.")
    return meant.action


async def _ask(request: Request, here: Place, meant: Meant, *, trouble: FleetcastError | None = None) -> HTMLResponse:
    action = _allowed(here, meant)
    removes = action is EditAction.REMOVE
    found = await bulk_edits.count_devices(here.runtime, here.workspace.id, meant.wanted(), messages=removes)
    return rendering.page(
        request,
        here,
        "bulk_devices.html",
        SECTION,
        "Change many devices",
        status=422 if trouble else 200,
        meant=meant,
        action=action,
        found=found,
        most=COUNTED_WAITING,
        trouble=trouble,
    )


@router.post("/devices/bulk/start")
async def change_many(
    request: Request, here: Sending, meant: WhichAreMeant, confirmed: Annotated[int, Form(ge=0)] = 0
) -> Response:
    """Begin to do it."""
    action = _allowed(here, meant)
    try:
        made = await bulk_edits.change_devices(
            here.runtime,
            here.workspace.id,
            meant.wanted(),
            action,
            meant.value(),
            confirmed=confirmed,
            actor=here.access.actor,
        )
    except (InvalidInput, Conflict) as error:
        return await _ask(request, here, meant, trouble=error)
    return here.to(f"/bulk/{made.id}")
