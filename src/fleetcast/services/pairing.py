"""Use cases of linking: pair a device with a phone, call it off, log it out; and what transports report of it.

What is wanted is stored, with a nudge to the device's owner, who acts on it. Codes come back by Redis and are shown
only to those who may send. Whatever is heard of an order that nobody wants any more changes nothing, but for a phone
that was linked all the same: that one is unlinked again, so that no phone shows a device that nobody knows of.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import DeviceId, Phone, WorkspaceId
from fleetcast.domain.pairing import LINKED, PAIRABLE, PAIRED_KINDS, PAIRING_SECONDS, Code
from fleetcast.domain.phone import parse_phone
from fleetcast.errors import ConfigurationError, Conflict, InvalidInput, NotFound, Unavailable
from fleetcast.queue.pairing_codes import PairingCodes
from fleetcast.runtime import Runtime
from fleetcast.services.installation_key import installation_key
from fleetcast.store import audit, devices, lead_merge, pairing, transitions
from fleetcast.store.connection import Connection
from fleetcast.store.devices import Device
from fleetcast.transports.base import Paired, PairingEnded
from fleetcast.transports.simulator.control import SimulatorControl

NOBODY_CAME = "no phone was linked in time"
CALLED_OFF = "pairing was called off"
LOGGED_OUT_HERE = "logged out here"


@dataclass(frozen=True, slots=True)
class Pairing:
    """A device on its way to a phone, or not."""

    device: Device
    order: int
    """Grows with every order."""
    code_for: Phone | None
    """The phone that a code is typed into; None: a QR code is shown, or nothing."""
    until: datetime | None
    seconds_left: float
    """For a phone to be linked; 0: nobody waits for one."""
    unlinking: bool
    """It is logged out here, and WhatsApp does not know yet."""
    has_owner: bool
    """A sender has the device at this moment. Without one nothing happens until there is."""
    twins: tuple[str, ...] = ()
    """Other devices of the workspace that are linked to the same phone: what all of them send leaves from one number,
    which their paces do not know.
    """
    code: Code | None = None
    """What to show now. There is none for moments, and never for those who only look."""
    codes_arrive: bool = True
    """False: it could not be fetched, for Redis does not answer."""

    @property
    def warning(self) -> str:
        """What is wrong with the phone that is linked, as a sentence; empty where nothing is."""
        if not self.twins:
            return ""
        return (
            f"The same phone is linked as {', '.join(self.twins)} too: what they all send leaves from one number, "
            "faster than the pace of each says. Log all but one out."
        )

    @property
    def under_way(self) -> bool:
        """Whether a phone is waited for."""
        return self.device.state is DeviceState.PAIRING and self.seconds_left > 0


async def look(runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId, *, with_code: bool = False) -> Pairing:
    """How far it is. `with_code`: for who may link a phone. Raises NotFound."""
    async with runtime.db.connection() as connection:
        row = await pairing.look(connection, workspace_id, device_id)
    if row is None:
        raise _no_device(device_id)
    found = Pairing(
        row.device, row.order, row.code_for, row.until, row.seconds_left, row.unlinking, row.has_owner, row.twins
    )
    if not (with_code and found.under_way):
        return found
    try:
        return replace(found, code=await (await codes(runtime)).newest(device_id, row.order))
    except (Unavailable, ConfigurationError):
        return replace(found, codes_arrive=False)


async def codes(runtime: Runtime) -> PairingCodes:
    """The codes of this installation. Raises ConfigurationError where its key is another one."""
    return PairingCodes(runtime.redis, runtime.keys, await installation_key(runtime))


async def start_pairing(
    runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId, *, actor: str, phone: str | None = None
) -> Pairing:
    """Show codes until a phone takes one: QR codes, or with `phone` one that is typed into that phone.

    Started again, it begins anew. Raises NotFound, InvalidInput for a number that is none, Conflict where a phone is
    linked already or none can be.
    """
    async with runtime.db.transaction() as connection:
        device = await _lock(connection, workspace_id, device_id)
        _refuse_unless_pairable(device)
        code_for = None if phone is None else await _number(connection, device, phone)
        await pairing.begin(connection, device_id, PAIRING_SECONDS, code_for)
        after = {"by": "QR code" if code_for is None else "phone code", "phone": code_for}
        await audit.record(connection, workspace_id, actor, "device.pair", device.name, after=after)
    await runtime.nudges.devices(device_id)
    return await look(runtime, workspace_id, device_id)


async def cancel_pairing(runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId, *, actor: str) -> bool:
    """Wait for no phone any more. False when nobody did. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        device = await _lock(connection, workspace_id, device_id)
        if device.state is not DeviceState.PAIRING:
            return False
        await pairing.cancel(connection, device_id, CALLED_OFF)
        await audit.record(connection, workspace_id, actor, "device.pair_cancel", device.name)
    await runtime.nudges.devices(device_id)
    return True


async def log_out(runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId, *, actor: str) -> int:
    """Unlink the device from its phone; returns how many messages wait for it, until it is paired again.

    From the commit on it gets no work; its queued rows are given back. Raises NotFound, Conflict where no phone is
    linked.
    """
    async with runtime.db.transaction() as connection:
        device = await _lock(connection, workspace_id, device_id)
        if device.transport not in PAIRED_KINDS:
            raise Conflict(f"{device.name} is not linked to a phone. To stop it, pause it.")
        if device.state not in LINKED:
            raise Conflict(f"No phone is linked to {device.name}, so there is nothing to log out.")
        await pairing.log_out(connection, device_id, LOGGED_OUT_HERE)
        given_back = await transitions.requeue_device(connection, device_id)
        waiting = await devices.waiting_messages(connection, workspace_id, device_id)
        before = {"state": device.state.value, "phone": device.phone}
        after = {"given_back": given_back, "waiting": waiting}
        await audit.record(connection, workspace_id, actor, "device.log_out", device.name, before, after)
    await runtime.nudges.devices(device_id)
    return waiting


async def play_the_phone(runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId) -> None:
    """Let a simulated phone take the code that a simulated device shows. Raises Conflict, NotFound, Unavailable."""
    found = await look(runtime, workspace_id, device_id, with_code=True)
    if found.device.transport is not TransportKind.SIMULATOR:
        raise Conflict(f"{found.device.name} is not simulated: take a phone to link it.")
    if found.code is None:
        raise Conflict(f"{found.device.name} shows no code at this moment. Try again once there is one.")
    async with SimulatorControl(runtime.simulator_socket) as simulator:
        await simulator.take_code(found.code.text)


async def paired(runtime: Runtime, news: Paired) -> None:
    """A phone was linked. Identity first and by itself: whatever becomes of the state, it is known who this is."""
    async with runtime.db.transaction() as connection:
        device = await pairing.awaiting(connection, news.device, news.order)
        if device is not None and await pairing.identify(connection, news.device, news.phone, news.jid, news.lid):
            before, after = {"phone": device.phone}, {"phone": news.phone}
            await audit.record(
                connection, device.workspace_id, "system", "device.paired", device.name, before=before, after=after
            )
    async with runtime.db.transaction() as connection:
        changed = await pairing.linked(connection, news.device, news.order)
        if not changed:
            changed = await pairing.unwanted(connection, news.device, news.order)
    if changed:
        await runtime.nudges.devices(news.device)


async def pairing_ended(runtime: Runtime, news: PairingEnded) -> None:
    """The transport waits for no phone any more."""
    async with runtime.db.transaction() as connection:
        ended = await pairing.give_up(connection, news.device, news.order, news.reason)
    if ended:
        await runtime.nudges.devices(news.device)


async def expire_pairings(runtime: Runtime) -> int:
    """End what nobody came for, whoever was to look after it; returns how many."""
    async with runtime.db.transaction() as connection:
        ended = await pairing.expire(connection, NOBODY_CAME)
    if ended:
        await runtime.nudges.devices(*ended)
    return len(ended)


async def _lock(connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId) -> Device:
    found = await devices.locked(connection, workspace_id, device_id)
    if found is None:
        raise _no_device(device_id)
    return found


def _no_device(device_id: int) -> NotFound:
    return NotFound(f"There is no device {device_id} in this workspace.")


def _refuse_unless_pairable(device: Device) -> None:
    if device.transport not in PAIRED_KINDS:
        raise Conflict(f"{device.name} is a number of the Cloud API: it is connected by its token, not with a phone.")
    if device.state in PAIRABLE:
        return
    if device.state is DeviceState.OFFLINE:
        raise Conflict(f"{device.name} is linked to a phone and connects again by itself. Log it out to link another.")
    raise Conflict(f"{device.name} is linked to a phone already. Log it out first to link it anew.")


async def _number(connection: Connection, device: Device, phone: str) -> Phone:
    region = await lead_merge.region(connection, device.workspace_id, device.id)
    assert region is not None
    try:
        return parse_phone(phone, region)
    except InvalidInput as error:
        raise InvalidInput("phone", error.problem) from None
