"""The numbers that send: all of them, and one of them."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import DeviceId, MessageId
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.services import devices, fleet, messages, pairing
from fleetcast.services.device_proxy import set_proxy, shown_proxy
from fleetcast.services.devices import DEFAULT_MAX_DELAY, DEFAULT_MIN_DELAY
from fleetcast.web import rendering, words
from fleetcast.web.fields import seconds
from fleetcast.web.place import Looking, Managing, Place, Sending

router = APIRouter()

SECTION = "devices"
VIEWS = ("table", "cards")

Text = Annotated[str, Query(alias="q", max_length=200)]
Standing = Annotated[str, Query(alias="state", max_length=20)]
After = Annotated[str, Query(max_length=400)]
ThisDevice = Annotated[int, Path(alias="device_id", ge=1, le=2**63 - 1)]
Chosen = Annotated[list[int], Form(alias="device", max_length=fleet.MOST_AT_ONCE)]
Field = Annotated[str, Form(max_length=500)]
Tested = Annotated[int | None, Query(ge=1, le=2**63 - 1)]
View = Annotated[str, Query(max_length=10)]
_VIEW = "devices-view"
"""Cookie: cards or a table, as last chosen in this browser."""
_KEPT = 400 * 86_400


@router.get("/devices")
async def list_devices(
    request: Request, here: Looking, text: Text = "", standing: Standing = "", after: After = "", view: View = ""
) -> HTMLResponse:
    """How many can send, which cannot and why?"""
    answer = await _list(request, here, text=text, standing=standing, after=after, view=view)
    if view in VIEWS:
        secure = request.url.scheme == "https"
        answer.set_cookie(_VIEW, view, max_age=_KEPT, httponly=True, samesite="lax", secure=secure)
    return answer


async def _list(
    request: Request,
    here: Place,
    *,
    text: str = "",
    standing: str = "",
    after: str = "",
    view: str = "",
    adding: dict[str, str] | None = None,
    trouble: InvalidInput | None = None,
) -> HTMLResponse:
    known = standing if standing in words.DEVICE else ""
    found = await fleet.look(here.runtime, here.workspace.id, text=text, standing=known or None, after=after)
    kept = view or request.cookies.get(_VIEW, "")
    return rendering.page(
        request,
        here,
        "devices.html",
        SECTION,
        "Devices",
        status=422 if trouble else 200,
        found=found,
        text=text,
        standing=known,
        after=after,
        view=kept if kept in VIEWS else VIEWS[0],
        adding=adding
        or {
            "name": "",
            "region": "",
            "min_delay": f"{DEFAULT_MIN_DELAY:g}",
            "max_delay": f"{DEFAULT_MAX_DELAY:g}",
            "pair_first": "",
            "transport": TransportKind.SIMULATOR,
        },
        trouble=trouble,
    )


@router.get("/devices/names")
async def device_names(here: Looking, of: Annotated[str, Query(max_length=200)] = "") -> HTMLResponse:
    """Devices whose name or number has what was typed, for a field that names one."""
    found = await fleet.named_like(here.runtime, here.workspace.id, of)
    return rendering.part("device_names.html", here, found=found)


@router.post("/devices")
async def add_device(
    request: Request,
    here: Managing,
    name: Field = "",
    min_delay: Field = "",
    max_delay: Field = "",
    region: Field = "",
    transport: Field = TransportKind.SIMULATOR,
    pair_first: Annotated[bool, Form()] = False,
) -> Response:
    """Add one; one that is to be linked to a phone is paired at once."""
    try:
        made = await devices.add_device(
            here.runtime,
            here.workspace.id,
            name,
            transport=transport,
            region=region.strip().upper() or None,
            min_delay=seconds("min_delay", min_delay),
            max_delay=seconds("max_delay", max_delay),
            pair_first=pair_first,
            actor=here.access.actor,
        )
    except InvalidInput as error:
        given = {"name": name, "min_delay": min_delay, "max_delay": max_delay, "region": region}
        given |= {"transport": transport, "pair_first": "on" if pair_first else ""}
        return await _list(request, here, adding=given, trouble=error)
    if made.state is DeviceState.UNPAIRED:
        await pairing.start_pairing(here.runtime, here.workspace.id, made.id, actor=here.access.actor)
        return here.to(f"/devices/{made.id}/pair", "device-added")
    return here.to(f"/devices/{made.id}", "device-added")


@router.post("/devices/actions/{action}")
async def act_on_several(
    here: Sending,
    action: Annotated[str, Path(pattern="^(pause|resume)$")],
    chosen: Chosen = [],  # noqa: B006
) -> RedirectResponse:
    """Pause or resume those that were chosen."""
    if action == "pause":
        n = await fleet.pause_devices(here.runtime, here.workspace.id, chosen, actor=here.access.actor)
        return here.to("/devices", "device-paused" if n else "nothing", n)
    n = await fleet.resume_devices(here.runtime, here.workspace.id, chosen, actor=here.access.actor)
    return here.to("/devices", "device-resumed" if n else "nothing", n)


@router.get("/devices/{device_id}")
async def show_device(request: Request, here: Looking, device_id: ThisDevice, test: Tested = None) -> HTMLResponse:
    """Can it send, what waits for it, what did it do last?"""
    return await device_page(request, here, DeviceId(device_id), test=test)


async def device_page(
    request: Request,
    here: Place,
    device_id: DeviceId,
    *,
    test: int | None = None,
    testing: dict[str, str] | None = None,
    trouble: InvalidInput | None = None,
) -> HTMLResponse:
    """The page of one device. `test`: a message whose life is shown; `testing`: one that was refused, as typed."""
    found = await pairing.look(here.runtime, here.workspace.id, device_id)
    own = await messages.of_device(here.runtime, here.workspace.id, device_id)
    return rendering.page(
        request,
        here,
        "device.html",
        SECTION,
        found.device.name,
        status=422 if trouble else 200,
        device=found.device,
        p=found,
        proxy=await shown_proxy(here.runtime, device_id) if found.device.transport is TransportKind.LINKED else None,
        waiting=await devices.waiting_messages(here.runtime, here.workspace.id, device_id),
        own=own,
        story=await _test(here, device_id, test),
        testing=testing or {"to": "", "text": f"A test from {here.workspace.name}."},
        trouble=trouble,
    )


async def _test(here: Place, device_id: DeviceId, test: int | None) -> messages.Story | None:
    if test is None:
        return None
    try:
        return await messages.show_message(here.runtime, here.workspace.id, MessageId(test), device_id=device_id)
    except NotFound:
        return None


@router.post("/devices/{device_id}/pause")
async def pause(here: Sending, device_id: ThisDevice, reason: Field = "") -> RedirectResponse:
    """Stop it until a person lets it go on."""
    done = await devices.pause_device(
        here.runtime, here.workspace.id, DeviceId(device_id), actor=here.access.actor, reason=reason.strip()
    )
    return here.to(f"/devices/{device_id}", "device-paused" if done else "nothing")


@router.post("/devices/{device_id}/resume")
async def resume(here: Sending, device_id: ThisDevice) -> RedirectResponse:
    """Let it go on."""
    done = await devices.resume_device(here.runtime, here.workspace.id, DeviceId(device_id), actor=here.access.actor)
    return here.to(f"/devices/{device_id}", "device-resumed" if done else "nothing")


@router.post("/devices/{device_id}/pace")
async def set_pace(
    request: Request, here: Sending, device_id: ThisDevice, min_delay: Field = "", max_delay: Field = ""
) -> Response:
    """Change the gaps that are drawn."""
    try:
        await devices.set_pace(
            here.runtime,
            here.workspace.id,
            DeviceId(device_id),
            seconds("min_delay", min_delay),
            seconds("max_delay", max_delay),
            actor=here.access.actor,
        )
    except InvalidInput as error:
        return await device_page(request, here, DeviceId(device_id), trouble=error)
    return here.to(f"/devices/{device_id}", "device-paced")


@router.post("/devices/{device_id}/proxy")
async def change_proxy(request: Request, here: Managing, device_id: ThisDevice, proxy: Field = "") -> Response:
    """Have it connect in another way."""
    try:
        await set_proxy(here.runtime, here.workspace.id, DeviceId(device_id), proxy, actor=here.access.actor)
    except InvalidInput as error:
        return await device_page(request, here, DeviceId(device_id), trouble=error)
    return here.to(f"/devices/{device_id}", "device-proxied")


@router.post("/devices/{device_id}/remove")
async def remove(here: Managing, device_id: ThisDevice) -> RedirectResponse:
    """Remove it; what waits for it is skipped."""
    await devices.remove_device(here.runtime, here.workspace.id, DeviceId(device_id), actor=here.access.actor)
    return here.to("/devices", "device-removed")
