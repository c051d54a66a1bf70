"""The list of devices as people look at it: searched, narrowed to a standing, a page at a time, with counts of all."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services.devices import Device, pause_device, resume_device
from fleetcast.services.overview import PEEK, Fleet, fleet_of
from fleetcast.store import fleet as store
from fleetcast.store.fleet import DeviceFilter, FleetRow

PAGE = 50
SUGGESTED = 20
"""Devices that a field proposes."""
MOST_AT_ONCE = 500
"""Devices that one action may name."""


@dataclass(frozen=True, slots=True)
class FleetPage:
    """One page of the devices, and all of them counted."""

    fleet: Fleet
    rows: tuple[FleetRow, ...]
    next: str | None
    """What to ask for the following page; None on the last one."""


async def look(
    runtime: Runtime, workspace_id: WorkspaceId, *, text: str = "", standing: str | None = None, after: str = ""
) -> FleetPage:
    """Devices by name. `text` is looked for in names and numbers; `standing` is a state, or 'paused'."""
    async with runtime.db.transaction() as connection:
        counted = await fleet_of(connection, workspace_id, listed=0)
        found = await store.page(
            connection,
            workspace_id,
            DeviceFilter(" ".join(text.split()), standing),
            after=after,
            limit=PAGE + 1,
            peek=PEEK,
        )
    more = found[PAGE - 1].device.name.lower() if len(found) > PAGE else None
    return FleetPage(counted, tuple(found[:PAGE]), more)


async def named_like(runtime: Runtime, workspace_id: WorkspaceId, text: str) -> list[Device]:
    """The first devices whose name or number has this text: what somebody may mean who types a name."""
    wanted = DeviceFilter(" ".join(text.split()))
    async with runtime.db.connection() as connection:
        rows = await store.page(connection, workspace_id, wanted, after="", limit=SUGGESTED, peek=0)
    return [row.device for row in rows]


def _checked(device_ids: Sequence[int]) -> list[DeviceId]:
    if not device_ids:
        raise InvalidInput("devices", "choose at least one device")
    if len(device_ids) > MOST_AT_ONCE:
        raise InvalidInput("devices", f"choose at most {MOST_AT_ONCE} devices at a time")
    return [DeviceId(i) for i in dict.fromkeys(device_ids)]


async def pause_devices(
    runtime: Runtime, workspace_id: WorkspaceId, device_ids: Sequence[int], *, actor: str, reason: str = ""
) -> int:
    """Pause several devices, one after the other; returns how many were not paused before. Raises NotFound."""
    return sum([await pause_device(runtime, workspace_id, i, actor=actor, reason=reason) for i in _checked(device_ids)])


async def resume_devices(runtime: Runtime, workspace_id: WorkspaceId, device_ids: Sequence[int], *, actor: str) -> int:
    """Let several devices go on; returns how many were paused. Raises NotFound."""
    return sum([await resume_device(runtime, workspace_id, i, actor=actor) for i in _checked(device_ids)])
