"""Devices: the numbers that send, and the phones that they are linked to."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from fleetcast.api.guard import Caller, GuardedRoute, Open, needs, own_device
from fleetcast.api.paging import STORABLE, After, Id, Limit, Page
from fleetcast.domain.access import Scope
from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import DeviceId
from fleetcast.domain.pairing import CodeKind
from fleetcast.services import devices, pairing
from fleetcast.services.device_proxy import set_proxy
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
    may_answer: bool = Field(
        description="Ready; or WhatsApp restricts it, and people who wrote to it within a day may still be answered."
    )
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
    pair_first: bool = Field(
        default=False, description="A simulated device waits until a phone is linked to it, as all others always do."
    )


class DeviceChange(BaseModel):
    """What may change of a device. Both delays together."""

    model_config = ConfigDict(extra="forbid")

    min_delay: Seconds
    max_delay: Seconds


class Reason(BaseModel):
    """Why, for whoever asks later."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=500, pattern=STORABLE, examples=["number is being moved"])


class NewProxy(BaseModel):
    """Through what a linked device is to connect."""

    model_config = ConfigDict(extra="forbid")

    address: str | None = Field(
        max_length=500,
        pattern=STORABLE,
        description="Of an http, https or socks5 proxy, with its port. null: it connects by itself.",
        examples=["socks5://user:password@proxy.example.org:1080"],
    )


class Proxy(BaseModel):
    """Through what a linked device connects."""

    shown: str | None = Field(description="Without its password, which is never told again. null: it has none.")


class NewPairing(BaseModel):
    """How a phone is to be linked."""

    model_config = ConfigDict(extra="forbid")

    phone: str | None = Field(
        default=None,
        max_length=100,
        description="The phone's number: it gets a code of eight characters to type in. null: a QR code to scan.",
        examples=["+60123456789"],
    )


class Pairing(BaseModel):
    """How far a device is on its way to a phone."""

    model_config = ConfigDict(from_attributes=True)

    device_id: int
    state: DeviceState = Field(description="`pairing` while a phone is waited for; then what came of it.")
    state_reason: str
    order: int = Field(description="Grows each time a pairing is started.")
    phone: str | None = Field(description="The number whose phone is to type a code in. null: a QR code.")
    until: datetime | None = Field(description="So long a phone is waited for. null: nobody waits for one.")
    unlinking: bool = Field(description="It was logged out, and WhatsApp does not know yet.")
    twins: int = Field(
        description="So many other devices of the workspace are linked to the same phone. What they send leaves from "
        "one number, faster than the pace of each says: log all but one out."
    )


class PairingCode(BaseModel):
    """What links a phone: a secret. Ask again before it ends; the next one comes by itself."""

    model_config = ConfigDict(from_attributes=True)

    kind: CodeKind = Field(description="`qr`: draw `text` as a QR code; `phone`: type it into the phone.")
    text: str
    valid_for: float = Field(description="Seconds from now.")


class ShownPairing(Pairing):
    """The same with the code that is shown now."""

    code: PairingCode | None = Field(description="null: none yet, or nobody waits for a phone.")


class LoggedOut(BaseModel):
    """What a logout leaves behind."""

    device: Device
    waiting: int = Field(description="Messages that wait for it until it is paired again, or their time is over.")


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
    """Add a device. A simulated one connects by itself, unless it is to be paired first."""
    made = await devices.add_device(
        runtime,
        access.workspace_id,
        new.name,
        transport=new.transport,
        region=new.region,
        min_delay=new.min_delay,
        max_delay=new.max_delay,
        pair_first=new.pair_first,
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


@router.post("/devices/{device_id}/proxy", **needs(Scope.MANAGE))
async def change_proxy(device_id: Id, wanted: NewProxy, access: Caller, runtime: Open) -> Proxy:
    """Have a linked device connect through a proxy of its own; it connects anew. Refused (409) for other devices."""
    shown = await set_proxy(runtime, access.workspace_id, DeviceId(device_id), wanted.address or "", actor=access.actor)
    return Proxy(shown=shown)


def _pairing(found: pairing.Pairing) -> Pairing:
    d = found.device
    return Pairing(
        device_id=d.id,
        state=d.state,
        state_reason=d.state_reason,
        order=found.order,
        phone=found.code_for,
        until=found.until,
        unlinking=found.unlinking,
        twins=len(found.twins),
    )


@router.post("/devices/{device_id}/pairing", status_code=202, **needs(Scope.SEND, device="device_id"))
async def start_pairing(
    device_id: Id, access: Caller, runtime: Open, response: Response, wanted: NewPairing | None = None
) -> Pairing:
    """Wait three minutes for a phone to be linked; started again, it begins anew. Look at the pairing for its code.

    Refused (409) where a phone is linked already. An answer that is repeated for an Idempotency-Key holds no code.
    """
    found = await pairing.start_pairing(
        runtime,
        access.workspace_id,
        DeviceId(device_id),
        actor=access.actor,
        phone=None if wanted is None else wanted.phone,
    )
    response.headers["Location"] = f"devices/{device_id}/pairing"
    return _pairing(found)


@router.get("/devices/{device_id}/pairing", **needs(Scope.SEND, device="device_id"))
async def show_pairing(device_id: Id, access: Caller, runtime: Open) -> ShownPairing:
    """How far it is, with the code to show to the phone; every second or two is often enough."""
    found = await pairing.look(runtime, access.workspace_id, DeviceId(device_id), with_code=True)
    code = None if found.code is None else PairingCode.model_validate(found.code)
    return ShownPairing(**dict(_pairing(found)), code=code)


@router.delete("/devices/{device_id}/pairing", status_code=204, **needs(Scope.SEND, device="device_id"))
async def cancel_pairing(device_id: Id, access: Caller, runtime: Open) -> None:
    """Wait for no phone any more. Nothing is changed when nobody did."""
    await pairing.cancel_pairing(runtime, access.workspace_id, DeviceId(device_id), actor=access.actor)


@router.post("/devices/{device_id}/logout", **needs(Scope.SEND, device="device_id"))
async def log_out(device_id: Id, access: Caller, runtime: Open) -> LoggedOut:
    """Unlink the device from its phone. Its messages wait; what is just leaving may end in doubt.

    Refused (409) where no phone is linked.
    """
    waiting = await pairing.log_out(runtime, access.workspace_id, DeviceId(device_id), actor=access.actor)
    device = await devices.get_device(runtime, access.workspace_id, DeviceId(device_id))
    return LoggedOut(device=Device.model_validate(device), waiting=waiting)
