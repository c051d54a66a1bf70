"""Devices: the numbers that send."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from fleetcast.api.guard import Caller, GuardedRoute, Open, needs, own_device
from fleetcast.api.paging import STORABLE, After, Id, Limit, Page
from fleetcast.domain.access import Scope
from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import DeviceId
from fleetcast.services import devices
from fleetcast.services.devices import DEFAULT_MAX_DELAY, DEFAULT_MIN_DELAY

router = APIRouter(route_class=GuardedRoute, tags=["devices"])

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False, examples=[10])]


class Device(BaseModel):
    """A number that sends."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str = Field(examples=["Shop KL"])
    transport: TransportKind
    state: DeviceState = Field(description="Of its connection.")
    state_reason: str
    state_since: datetime
    restricted_until: datetime | None
    is_ready: bool = Field(description="Online and not paused: it may be given work.")
    paused_at: datetime | None
    paused_by: str | None
    paused_reason: str | None
    min_delay: float = Field(description="Seconds; the shortest gap between two sends.", examples=[10])
    max_delay: float = Field(description="Seconds; the longest gap that is drawn.", examples=[30])
    region: str | None = Field(description="Two letters; how its leads' numbers are read. null: as the workspace's.")
    phone: str | None = Field(description="Its own number, once it is known.")
    last_send_at: datetime | None
    created_at: datetime


class NewDevice(BaseModel):
    """What a device is made of."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=200, examples=["Shop KL"])
    transport: TransportKind = Field(default=TransportKind.SIMULATOR)
    region: str | None = Field(default=None, max_length=10, examples=["MY"])
    min_delay: Seconds = DEFAULT_MIN_DELAY
    max_delay: Seconds = DEFAULT_MAX_DELAY


class DeviceChange(BaseModel):
    """What may change of a device. Both delays together."""

    model_config = ConfigDict(extra="forbid")

    min_delay: Seconds
    max_delay: Seconds


class Reason(BaseModel):
    """Why, for whoever asks later."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=500, pattern=STORABLE, examples=["number is being moved"])


@router.get("/devices", **needs(Scope.READ, device_keys=True))
async def list_devices(
    access: Caller,
    runtime: Open,
    state: Annotated[DeviceState | None, Query(description="Only those in this state.")] = None,
    limit: Limit = 50,
    after: After = None,
) -> Page[Device]:
    """All devices of the workspace, by id."""
    only = own_device(access, None)
    found, following = await devices.page_of_devices(
        runtime, access.workspace_id, device_id=only, state=state, after=after, limit=limit
    )
    return Page(items=[Device.model_validate(d) for d in found], next=following)


@router.post("/devices", status_code=201, **needs(Scope.MANAGE))
async def add_device(new: NewDevice, access: Caller, runtime: Open, response: Response) -> Device:
    """Add a device. It connects by itself."""
    made = await devices.add_device(
        runtime,
        access.workspace_id,
        new.name,
        transport=new.transport,
        region=new.region,
        min_delay=new.min_delay,
        max_delay=new.max_delay,
        actor=access.actor,
    )
    response.headers["Location"] = f"devices/{made.id}"
    return Device.model_validate(made)


@router.get("/devices/{device_id}", **needs(Scope.READ, device="device_id"))
async def show_device(device_id: Id, access: Caller, runtime: Open) -> Device:
    """One device."""
    return Device.model_validate(await devices.get_device(runtime, access.workspace_id, DeviceId(device_id)))


@router.patch("/devices/{device_id}", **needs(Scope.SEND, device="device_id"))
async def change_device(device_id: Id, change: DeviceChange, access: Caller, runtime: Open) -> Device:
    """Change its pace; it holds from the next draw."""
    await devices.set_pace(
        runtime, access.workspace_id, DeviceId(device_id), change.min_delay, change.max_delay, actor=access.actor
    )
    return Device.model_validate(await devices.get_device(runtime, access.workspace_id, DeviceId(device_id)))


@router.delete("/devices/{device_id}", status_code=204, **needs(Scope.MANAGE))
async def remove_device(device_id: Id, access: Caller, runtime: Open) -> None:
    """Remove a device for good. What waits for it is skipped with the reason `device_removed`."""
    await devices.remove_device(runtime, access.workspace_id, DeviceId(device_id), actor=access.actor)


@router.post("/devices/{device_id}/pause", **needs(Scope.SEND, device="device_id"))
async def pause_device(device_id: Id, access: Caller, runtime: Open, why: Reason | None = None) -> Device:
    """Stop giving it work. Nothing is changed when it is paused already."""
    reason = why.reason if why else ""
    await devices.pause_device(runtime, access.workspace_id, DeviceId(device_id), actor=access.actor, reason=reason)
    return Device.model_validate(await devices.get_device(runtime, access.workspace_id, DeviceId(device_id)))


@router.post("/devices/{device_id}/resume", **needs(Scope.SEND, device="device_id"))
async def resume_device(device_id: Id, access: Caller, runtime: Open) -> Device:
    """Lift the pause. Nothing is changed when it is not paused."""
    await devices.resume_device(runtime, access.workspace_id, DeviceId(device_id), actor=access.actor)
    return Device.model_validate(await devices.get_device(runtime, access.workspace_id, DeviceId(device_id)))
