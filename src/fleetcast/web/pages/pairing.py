"""A device on its way to a phone: codes that renew themselves, what came of it, and the way out, the logout.

Whoever may only look does not come here: a code is a secret. The page asks for its changing part every second and is
asked for anew when something else is to be said, so that nothing of it goes on once it is over or left.
"""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import DeviceId
from fleetcast.domain.pairing import LINKED
from fleetcast.errors import Conflict, FleetcastError, InvalidInput, Unavailable
from fleetcast.services import devices, pairing
from fleetcast.services.pairing import Pairing
from fleetcast.web import qr, rendering
from fleetcast.web.pages.devices import SECTION, Field, ThisDevice
from fleetcast.web.place import Place, Sending

router = APIRouter()

Phase = Annotated[str, Query(max_length=20)]


def phase_of(found: Pairing) -> str:
    """What the page is about now: a code, a device that connects, one that is there, or nothing yet."""
    if found.under_way:
        return "code"
    if found.device.state is DeviceState.CONNECTING:
        return "connects"
    return "linked" if found.device.state in LINKED else "over"


@router.get("/devices/{device_id}/pair")
async def show_pairing(request: Request, here: Sending, device_id: ThisDevice) -> HTMLResponse:
    """What do I do with the phone now?"""
    return await _page(request, here, DeviceId(device_id))


async def _page(
    request: Request, here: Place, device_id: DeviceId, *, phone: str = "", trouble: FleetcastError | None = None
) -> HTMLResponse:
    found = await pairing.look(here.runtime, here.workspace.id, device_id, with_code=True)
    return rendering.page(
        request,
        here,
        "pair.html",
        SECTION,
        f"Pair {found.device.name}",
        status=200 if trouble is None else 422 if isinstance(trouble, InvalidInput) else 409,
        p=found,
        phase=phase_of(found),
        picture=qr.picture,
        waiting=await devices.waiting_messages(here.runtime, here.workspace.id, device_id),
        phone=phone or found.code_for or found.device.phone or "",
        plays=found.device.transport is TransportKind.SIMULATOR and not here.runtime.settings.production,
        trouble=trouble,
    )


@router.get("/devices/{device_id}/pair/now")
async def show_code(here: Sending, device_id: ThisDevice, phase: Phase = "") -> HTMLResponse:
    """The code as it is now; the whole page, where it is about something else by now."""
    found = await pairing.look(here.runtime, here.workspace.id, DeviceId(device_id), with_code=True)
    if phase_of(found) != phase:
        return HTMLResponse("", headers={"HX-Refresh": "true"})
    return rendering.part("parts/pairing.html", here, p=found, phase=phase, picture=qr.picture)


@router.post("/devices/{device_id}/pair")
async def start(
    request: Request,
    here: Sending,
    device_id: ThisDevice,
    how: Annotated[str, Form(pattern="^(qr|phone)$")] = "qr",
    phone: Field = "",
) -> Response:
    """Show a QR code, or one that is typed into the phone."""
    try:
        await pairing.start_pairing(
            here.runtime,
            here.workspace.id,
            DeviceId(device_id),
            actor=here.access.actor,
            phone=phone if how == "phone" else None,
        )
    except (InvalidInput, Conflict) as error:
        return await _page(request, here, DeviceId(device_id), phone=phone, trouble=error)
    return here.to(f"/devices/{device_id}/pair")


@router.post("/devices/{device_id}/pair/cancel")
async def cancel(here: Sending, device_id: ThisDevice) -> RedirectResponse:
    """Wait for no phone any more."""
    done = await pairing.cancel_pairing(here.runtime, here.workspace.id, DeviceId(device_id), actor=here.access.actor)
    return here.to(f"/devices/{device_id}", "pairing-cancelled" if done else "nothing")


@router.post("/devices/{device_id}/pair/play")
async def play_the_phone(request: Request, here: Sending, device_id: ThisDevice) -> Response:
    """Let a phone of the simulator take the code, for who has none at hand."""
    try:
        await pairing.play_the_phone(here.runtime, here.workspace.id, DeviceId(device_id))
    except (Conflict, Unavailable) as error:
        return await _page(request, here, DeviceId(device_id), trouble=error)
    return here.to(f"/devices/{device_id}/pair")


@router.post("/devices/{device_id}/log-out")
async def log_out(request: Request, here: Sending, device_id: ThisDevice) -> Response:
    """Unlink it from its phone; what waits for it goes on waiting."""
    try:
        n = await pairing.log_out(here.runtime, here.workspace.id, DeviceId(device_id), actor=here.access.actor)
    except Conflict as error:
        return await _page(request, here, DeviceId(device_id), trouble=error)
    return here.to(f"/devices/{device_id}", "device-logged-out", n)
