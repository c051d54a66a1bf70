"""What comes in from transports, and what it may change."""

from datetime import UTC, datetime

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device, find_device
from fleetcast.services.inbound import receive
from fleetcast.transports.base import StateChange

AT = datetime(2026, 3, 1, tzinfo=UTC)


async def test_a_session_that_was_taken_over_does_not_speak_for_the_device(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    """A sender that was frozen wakes up and learns that its successor has the device; the device is well."""
    device = await add_device(runtime, workspace, "sales")
    online = StateChange("one", device.id, DeviceState.ONLINE, AT)
    taken_over = StateChange("two", device.id, DeviceState.OFFLINE, AT, "replaced", replaced=True)
    await receive(runtime, "install", [online, taken_over])
    assert (await find_device(runtime, workspace, "sales")).state is DeviceState.ONLINE
    lost = StateChange("three", device.id, DeviceState.OFFLINE, AT, "the connection was lost")
    await receive(runtime, "install", [lost])
    assert (await find_device(runtime, workspace, "sales")).state is DeviceState.OFFLINE
