"""Use cases of devices: add, find, pause, pace, and what the transports report of their connection.

Whatever takes a device out of work gives its queued rows back in the same transaction (T4), so that no sender can
start one of them after the commit. Senders are nudged after the commit.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.pacing import Pace
from fleetcast.domain.pairing import PAIRED_KINDS
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import paging
from fleetcast.services.naming import as_stored, checked_name
from fleetcast.services.workspaces import checked_region
from fleetcast.store import audit, devices, transitions
from fleetcast.store.connection import Connection
from fleetcast.store.devices import Device
from fleetcast.transports.registry import TRANSPORTS

__all__ = [
    "ALL_DEVICES",
    "DEFAULT_MAX_DELAY",
    "DEFAULT_MIN_DELAY",
    "Device",
    "add_device",
    "any_device",
    "choose_devices",
    "find_device",
    "get_device",
    "list_devices",
    "names_of",
    "page_of_devices",
    "pause_device",
    "ready_devices",
    "remove_device",
    "resume_device",
    "set_pace",
    "set_state",
    "waiting_messages",
]

DEFAULT_MIN_DELAY, DEFAULT_MAX_DELAY = 10.0, 30.0
"""Seconds between two sends of a device that was given no pace."""

_FIRST_STATE = {
    TransportKind.SIMULATOR: DeviceState.CONNECTING,
    TransportKind.LINKED: DeviceState.UNPAIRED,
    TransportKind.CLOUD: DeviceState.CONNECTING,
}


ALL_DEVICES = "all"
"""No device's name: it is how campaigns say every device."""


def _checked_name(name: str) -> str:
    clean = checked_name(name)
    if clean.lower() == ALL_DEVICES:
        raise InvalidInput("name", f"'{clean}' is how a campaign says every device; choose another name")
    return clean


def _checked_transport(name: str) -> TransportKind:
    try:
        kind = TransportKind(name)
    except ValueError:
        known = ", ".join(TransportKind)
        raise InvalidInput("transport", f"'{name}' is not a transport; known are {known}") from None
    if kind not in TRANSPORTS:
        raise InvalidInput("transport", f"'{name}' is not built yet; this version has {', '.join(TRANSPORTS)}")
    return kind


async def add_device(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    name: str,
    *,
    transport: str = TransportKind.SIMULATOR,
    region: str | None = None,
    min_delay: float = DEFAULT_MIN_DELAY,
    max_delay: float = DEFAULT_MAX_DELAY,
    state: DeviceState | None = None,
    pair_first: bool = False,
    actor: str = "system",
) -> Device:
    """Add a device; delays in seconds. Its sender opens it, which brings it online. With `pair_first` it waits until a
    phone is linked to it, as devices always do that are more than simulated.

    Raises InvalidInput for a name that is empty or taken in this workspace (capitals make no difference), an unknown
    transport or country, or a pace that cannot be.
    """
    name, kind, pace = _checked_name(name), _checked_transport(transport), Pace(min_delay, max_delay)
    country = None if region is None else checked_region(region)
    async with runtime.db.transaction() as connection:
        made = await devices.insert(
            connection,
            workspace_id,
            name,
            transport=kind,
            state=state or (DeviceState.UNPAIRED if pair_first and kind in PAIRED_KINDS else _FIRST_STATE[kind]),
            region=country,
            min_delay=pace.min_delay,
            max_delay=pace.max_delay,
        )
        if made is None:
            raise InvalidInput("name", f"a device called '{name}' already exists; choose another name")
        after = {"transport": kind.value, "min_delay": pace.min_delay, "max_delay": pace.max_delay}
        await audit.record(connection, workspace_id, actor, "device.add", name, after=after)
    await runtime.nudges.devices(made.id)
    return made


async def find_device(runtime: Runtime, workspace_id: WorkspaceId, name: str) -> Device:
    """The device of that name; capitals make no difference. Raises NotFound."""
    async with runtime.db.connection() as connection:
        found = await devices.by_name(connection, workspace_id, as_stored(name))
    if found is None:
        raise NotFound(f"There is no device called '{name}'. `fleetcast device list` shows all.")
    return found


async def list_devices(runtime: Runtime, workspace_id: WorkspaceId) -> list[Device]:
    """All devices of the workspace, by name."""
    async with runtime.db.connection() as connection:
        return await devices.of_workspace(connection, workspace_id)


async def choose_devices(
    runtime: Runtime, workspace_id: WorkspaceId, chosen: Sequence[int], *, text: str = "", limit: int = 60
) -> list[Device]:
    """Those that are chosen, and the first others whose name has the text."""
    async with runtime.db.connection() as connection:
        return await devices.choices(connection, workspace_id, chosen, " ".join(text.split()), limit)


async def ready_devices(
    runtime: Runtime, workspace_id: WorkspaceId, *, first: Sequence[int] = (), limit: int = 100
) -> list[Device]:
    """Some that can send now, by name; those of `first` come first."""
    async with runtime.db.connection() as connection:
        return await devices.ready(connection, workspace_id, first, limit)


async def names_of(
    runtime: Runtime, workspace_id: WorkspaceId, device_ids: Collection[DeviceId]
) -> dict[DeviceId, str]:
    """The names of these devices; those that were removed are left out."""
    if not device_ids:
        return {}
    async with runtime.db.connection() as connection:
        return await devices.names_of(connection, workspace_id, device_ids)


async def any_device(runtime: Runtime, workspace_id: WorkspaceId) -> bool:
    """Whether the workspace has one."""
    return bool((await page_of_devices(runtime, workspace_id, limit=1))[0])


async def get_device(runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId) -> Device:
    """The device with that id. Raises NotFound."""
    async with runtime.db.connection() as connection:
        found = await devices.by_id(connection, workspace_id, device_id)
    if found is None:
        raise NotFound(f"There is no device {device_id} in this workspace.")
    return found


async def page_of_devices(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    *,
    device_id: DeviceId | None = None,
    state: DeviceState | None = None,
    after: str | None = None,
    limit: int = 50,
) -> tuple[list[Device], str | None]:
    """Devices by id, and where the next page begins. Raises InvalidInput for an `after` of another list."""
    async with runtime.db.connection() as connection:
        found = await devices.page(
            connection,
            workspace_id,
            device_id=device_id,
            state=state,
            after=paging.position(after, 0),
            limit=limit + 1,
        )
    return paging.cut(found, limit, lambda d: d.id)


async def _lock(connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId) -> Device:
    found = await devices.locked(connection, workspace_id, device_id)
    if found is None:
        raise NotFound(f"There is no device {device_id} in this workspace.")
    return found


async def pause_device(
    runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId, *, actor: str, reason: str = ""
) -> bool:
    """Stop giving this device work; its queued rows go back to pending. False when it was paused already."""
    async with runtime.db.transaction() as connection:
        device = await _lock(connection, workspace_id, device_id)
        if device.paused_at is not None:
            return False
        await devices.write_pause(connection, device_id, actor, reason)
        given_back = await transitions.requeue_device(connection, device_id)
        after = {"reason": reason, "given_back": given_back}
        await audit.record(connection, workspace_id, actor, "device.pause", device.name, after=after)
    await runtime.nudges.devices(device_id)
    return True


async def resume_device(runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId, *, actor: str) -> bool:
    """Lift the pause. False when the device was not paused."""
    async with runtime.db.transaction() as connection:
        device = await _lock(connection, workspace_id, device_id)
        if device.paused_at is None:
            return False
        await devices.write_pause(connection, device_id, None, None)
        before = {"paused_by": device.paused_by, "reason": device.paused_reason}
        await audit.record(connection, workspace_id, actor, "device.resume", device.name, before=before)
    await runtime.nudges.devices(device_id)
    await runtime.nudges.work([device_id])
    return True


async def set_pace(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    device_id: DeviceId,
    min_delay: float,
    max_delay: float,
    *,
    actor: str,
) -> None:
    """Change the seconds between two sends; holds from the next draw. Raises InvalidInput, NotFound."""
    pace = Pace(min_delay, max_delay)
    async with runtime.db.transaction() as connection:
        device = await _lock(connection, workspace_id, device_id)
        await devices.write_pace(connection, device_id, pace.min_delay, pace.max_delay)
        await audit.record(
            connection,
            workspace_id,
            actor,
            "device.pace",
            device.name,
            before={"min_delay": device.min_delay, "max_delay": device.max_delay},
            after={"min_delay": pace.min_delay, "max_delay": pace.max_delay},
        )
    await runtime.nudges.devices(device_id)


async def waiting_messages(runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId) -> int:
    """How many messages wait for this device: what its removal would skip."""
    async with runtime.db.connection() as connection:
        return await devices.waiting_messages(connection, workspace_id, device_id)


async def remove_device(runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId, *, actor: str) -> None:
    """Take a device away for good. Raises NotFound.

    From the commit on it gets no work; the sweeper skips what waits for it (`device_removed`), chunk by chunk, and an
    attempt under way still gets its answer. Its leads stay stored, and no campaign reaches them. Its name is free.
    """
    async with runtime.db.transaction() as connection:
        device = await _lock(connection, workspace_id, device_id)
        await devices.mark_removed(connection, device_id)
        await transitions.requeue_device(connection, device_id)
        await audit.record(connection, workspace_id, actor, "device.remove", device.name, before={"id": device_id})
    await runtime.nudges.devices(device_id)


async def set_state(
    runtime: Runtime,
    device_id: DeviceId,
    state: DeviceState,
    reason: str,
    until: datetime | None = None,
    *,
    may_answer: bool = False,
) -> bool:
    """Write what the transport reports of a connection. Returns whether anything changed.

    Phone, JID and LID are never touched, and neither is a person's pause. A device that cannot send gives its queued
    rows back in the same transaction. `until` bounds a restriction, during which it `may_answer` or not; both are
    dropped with any other state.
    """
    is_restricted = state is DeviceState.RESTRICTED
    until = until if is_restricted else None
    async with runtime.db.transaction() as connection:
        now = await devices.write_state(
            connection, device_id, state, reason, until, answers=is_restricted and may_answer
        )
        if now is None:
            return False
        ready, answers = now
        if not ready:
            await transitions.requeue_device(connection, device_id)
    await runtime.nudges.devices(device_id)
    if answers:
        await runtime.nudges.work([device_id])
    return True
