"""Orders to link a device to a phone or to unlink it, and the identity that comes of it.

Separate from `devices` because an order is a wish: it stands beside the state, and what comes of it is written only
while it is still wanted. Identity is a write of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from fleetcast.domain.identifiers import DeviceId, Phone, WorkspaceId
from fleetcast.store import devices
from fleetcast.store.connection import Connection
from fleetcast.store.devices import Device

_STATE = "state_since = fleetcast_now(), restricted_until = NULL"
_OVER = "pairing_until = NULL, pairing_phone = NULL, pairing_from = NULL"

BEGIN = f"""
UPDATE devices SET pairing_from = CASE WHEN state = 'pairing' THEN coalesce(pairing_from, 'unpaired') ELSE state END,
  state = 'pairing', state_reason = '', pairing_order = pairing_order + 1,
  pairing_until = fleetcast_now() + $2::interval, pairing_phone = $3, {_STATE}
WHERE id = $1"""

_BACK = f"""
UPDATE devices SET state = coalesce(pairing_from, 'unpaired'), state_reason = $2, {_STATE}, {_OVER}"""
CANCEL = _BACK.replace("SET state", "SET pairing_order = pairing_order + 1, state") + " WHERE id = $1"
GIVE_UP = f"{_BACK} WHERE id = $1 AND pairing_order = $3 AND pairing_until IS NOT NULL AND deleted_at IS NULL"
EXPIRE = f"""
UPDATE devices SET state = coalesce(pairing_from, 'unpaired'), state_reason = $1, {_STATE}, {_OVER}
WHERE id IN (
  SELECT id FROM devices
  WHERE (pairing_until IS NOT NULL OR logout_ordered_at IS NOT NULL) AND pairing_until <= fleetcast_now()
  ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
RETURNING id"""

AWAITING = f"""
SELECT {devices.COLUMNS} FROM devices
WHERE id = $1 AND deleted_at IS NULL AND logout_ordered_at IS NULL
  AND (pairing_order = $2 OR pairing_order > $2 AND state = 'pairing')
FOR NO KEY UPDATE"""
# A phone that was linked in the very moment in which the time was over is linked all the same. One that was linked
# although a person had called it off, or had logged the device out since, is not wanted: it is unlinked again.
LINKED = f"""
UPDATE devices SET state = 'connecting', state_reason = '', {_STATE}, {_OVER}
WHERE id = $1 AND deleted_at IS NULL AND logout_ordered_at IS NULL
  AND (state = 'pairing' AND pairing_order >= $2
    OR state IN ('unpaired', 'logged_out', 'banned') AND pairing_order = $2)
RETURNING id"""
UNWANTED = """
UPDATE devices SET logout_ordered_at = coalesce(logout_ordered_at, fleetcast_now())
WHERE id = $1 AND (pairing_order > $2 AND state IN ('unpaired', 'logged_out', 'banned') OR deleted_at IS NOT NULL)
RETURNING id"""
IDENTIFY = """
UPDATE devices SET phone = $2, jid = $3, lid = $4
WHERE id = $1 AND deleted_at IS NULL AND (phone, jid, lid) IS DISTINCT FROM ($2, $3, $4)
RETURNING id"""

LOG_OUT = f"""
UPDATE devices SET state = 'logged_out', state_reason = $2, pairing_order = pairing_order + 1,
  logout_ordered_at = fleetcast_now(), {_STATE}
WHERE id = $1"""
UNLINKED = "UPDATE devices SET logout_ordered_at = NULL WHERE id = $1 AND logout_ordered_at = $2"

ORDERS = """
SELECT id, transport, phone, pairing_order, pairing_phone,
  coalesce(pairing_until > fleetcast_now() AND deleted_at IS NULL, false) AS pairs, logout_ordered_at
FROM devices
WHERE shard_id = ANY ($1::smallint[]) AND (pairing_until IS NOT NULL OR logout_ordered_at IS NOT NULL)"""

_IS_LINKED = "{d}.deleted_at IS NULL AND {d}.state IN ('connecting', 'online', 'offline', 'restricted')"
LOOK = f"""
SELECT {devices.COLUMNS}, pairing_order, pairing_phone, pairing_until, logout_ordered_at,
  greatest(0, extract(epoch FROM pairing_until - fleetcast_now()))::float8 AS seconds_left,
  (SELECT s.owner IS NOT NULL AND s.expires_at > fleetcast_now() FROM shards s WHERE s.id = shard_id) AS has_owner,
  (SELECT array_agg(o.name ORDER BY lower(o.name)) FROM devices o WHERE o.workspace_id = devices.workspace_id
     AND o.id <> devices.id AND o.phone = devices.phone
     AND {_IS_LINKED.format(d="o")} AND {_IS_LINKED.format(d="devices")}) AS twins
FROM devices WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL"""


class LinkOrder(NamedTuple):
    """What is wanted of a device, as its owner needs it."""

    device: int
    transport: str
    phone: str | None
    """Its own number, as far as it is known."""
    order: int
    code_for: str | None
    """The number of the phone that a code is typed into; None: a QR code."""
    pairs: bool
    """It is to be linked now."""
    logout_ordered_at: datetime | None
    """It is to be unlinked before anything else."""


@dataclass(frozen=True, slots=True)
class PairingRow:
    """A device and what is wanted of it."""

    device: Device
    order: int
    code_for: Phone | None
    until: datetime | None
    seconds_left: float
    """Until then; 0 when nobody wants it linked, or the time is over."""
    unlinking: bool
    """It is logged out, and WhatsApp does not know yet."""
    has_owner: bool
    """A sender has it at this moment."""
    twins: tuple[str, ...]
    """Other devices of the workspace that are linked to the same phone."""


async def begin(connection: Connection, device_id: DeviceId, seconds: float, code_for: Phone | None) -> None:
    """Want the device linked, for so many seconds. An order under way is replaced."""
    await connection.execute(BEGIN, device_id, timedelta(seconds=seconds), code_for)


async def cancel(connection: Connection, device_id: DeviceId, reason: str) -> None:
    """Want it no more: the device is what it was before."""
    await connection.execute(CANCEL, device_id, reason)


async def give_up(connection: Connection, device_id: DeviceId, order: int, reason: str) -> bool:
    """Nothing came of this order. False when it is not the order under way."""
    return await connection.execute(GIVE_UP, device_id, reason, order) == "UPDATE 1"


async def expire(connection: Connection, reason: str) -> list[DeviceId]:
    """End the orders whose time is over; returns their devices."""
    return [DeviceId(row["id"]) for row in await connection.fetch(EXPIRE, reason)]


async def awaiting(connection: Connection, device_id: DeviceId, order: int) -> Device | None:
    """The device, if a phone that this order linked is wanted; locked until the transaction ends."""
    row = await connection.fetchrow(AWAITING, device_id, order)
    return devices.device(row) if row else None


async def linked(connection: Connection, device_id: DeviceId, order: int) -> bool:
    """A phone is linked by this order: the device connects from now on. False when that is not wanted, or known."""
    return await connection.fetchval(LINKED, device_id, order) is not None


async def unwanted(connection: Connection, device_id: DeviceId, order: int) -> bool:
    """Have a phone unlinked that was linked by an order which a person had called off. False for any other."""
    return await connection.fetchval(UNWANTED, device_id, order) is not None


async def identify(connection: Connection, device_id: DeviceId, phone: Phone, jid: str, lid: str | None) -> bool:
    """Write who the device is at WhatsApp, and nothing else. False when that stood there."""
    return await connection.fetchval(IDENTIFY, device_id, phone, jid, lid) is not None


async def log_out(connection: Connection, device_id: DeviceId, reason: str) -> None:
    """Take the device out of work and want it unlinked at WhatsApp."""
    await connection.execute(LOG_OUT, device_id, reason)


async def unlinked(connection: Connection, device_id: DeviceId, ordered_at: datetime) -> None:
    """WhatsApp knows of the logout that was ordered then."""
    await connection.execute(UNLINKED, device_id, ordered_at)


async def orders(connection: Connection, shards: Sequence[int]) -> list[LinkOrder]:
    """What is wanted of the devices of these shards."""
    return [LinkOrder(*row) for row in await connection.fetch(ORDERS, shards)]


async def look(connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId) -> PairingRow | None:
    """One device and what is wanted of it."""
    row = await connection.fetchrow(LOOK, workspace_id, device_id)
    if row is None:
        return None
    return PairingRow(
        device=devices.device(row),
        order=row["pairing_order"],
        code_for=None if row["pairing_phone"] is None else Phone(row["pairing_phone"]),
        until=row["pairing_until"],
        seconds_left=row["seconds_left"] or 0.0,
        unlinking=row["logout_ordered_at"] is not None,
        has_owner=bool(row["has_owner"]),
        twins=tuple(row["twins"] or ()),
    )
