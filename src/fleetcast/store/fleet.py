"""What the page of devices shows: one page of them by name, each with how many messages wait for it; and which of them
somebody means who changes many.

Separate from `devices` because a look at a page is not a use of a device: it never locks, and it never counts further
than a page shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.store import devices
from fleetcast.store.connection import Connection
from fleetcast.store.devices import Device


@dataclass(frozen=True, slots=True)
class FleetRow:
    """A device of the list."""

    device: Device
    waiting: int
    """Open messages, counted no further than one beyond the peek."""


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """Which devices somebody means; empty: all of them."""

    text: str = ""
    """Looked for in names and numbers."""
    standing: str | None = None
    """What a person is told: 'paused', or a state in which a device is and no pause hides."""
    ids: tuple[DeviceId, ...] = ()
    """Exactly these."""

    def as_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {"text": self.text, "standing": self.standing, "ids": list(self.ids)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The filter that was stored."""
        return cls(stored["text"], stored["standing"], tuple(DeviceId(i) for i in stored["ids"]))

    def arguments(self) -> tuple[str, str | None, list[DeviceId]]:
        """The parameters $2 to $4 of `WANTED`."""
        return self.text, self.standing, list(self.ids)


# $1 workspace, $2 text, $3 standing, $4 ids.
WANTED = """workspace_id = $1 AND deleted_at IS NULL
  AND ($2 = '' OR strpos(lower(name), lower($2)) > 0 OR strpos(coalesce(phone, ''), $2) > 0)
  AND ($3::text IS NULL OR CASE WHEN paused_at IS NOT NULL AND state IN ('online', 'offline', 'connecting')
    THEN 'paused' ELSE state::text END = $3)
  AND (cardinality($4::bigint[]) = 0 OR id = ANY ($4::bigint[]))"""


async def page(
    connection: Connection, workspace_id: WorkspaceId, wanted: DeviceFilter, *, after: str, limit: int, peek: int
) -> list[FleetRow]:
    """Devices by name, those after the name `after` (in small letters)."""
    rows = await connection.fetch(
        f"""SELECT d.*, open.n AS waiting
        FROM (
          SELECT {devices.COLUMNS} FROM devices WHERE {WANTED} AND lower(name) > $5 ORDER BY lower(name) LIMIT $6) d
        CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
          SELECT FROM broadcast_messages m WHERE m.device_id = d.id AND m.is_open LIMIT $7) peek) open
        ORDER BY lower(d.name)""",
        workspace_id,
        *wanted.arguments(),
        after,
        limit,
        peek + 1,
    )
    return [FleetRow(devices.device(r), r["waiting"]) for r in rows]


async def count(connection: Connection, workspace_id: WorkspaceId, wanted: DeviceFilter) -> int:
    """How many devices are meant."""
    found: int = await connection.fetchval(
        f"SELECT count(*) FROM devices WHERE {WANTED}", workspace_id, *wanted.arguments()
    )
    return found


async def waiting(connection: Connection, workspace_id: WorkspaceId, wanted: DeviceFilter, most: int) -> int:
    """How many messages are pending or queued for these devices; counted no further than `most`."""
    found: int = await connection.fetchval(
        f"""SELECT count(*) FROM (
          SELECT FROM (SELECT id FROM devices WHERE {WANTED}) d JOIN broadcast_messages m ON m.device_id = d.id
          WHERE m.is_open AND m.status IN ('pending', 'queued') LIMIT $5) counted""",
        workspace_id,
        *wanted.arguments(),
        most,
    )
    return found


async def following(
    connection: Connection, workspace_id: WorkspaceId, wanted: DeviceFilter, *, after: int, upto: int
) -> DeviceId | None:
    """The next device that is meant, by id, none above `upto`."""
    found: int | None = await connection.fetchval(
        f"SELECT id FROM devices WHERE {WANTED} AND id > $5 AND id <= $6 ORDER BY id LIMIT 1",
        workspace_id,
        *wanted.arguments(),
        after,
        upto,
    )
    return None if found is None else DeviceId(found)


async def last(connection: Connection, workspace_id: WorkspaceId) -> DeviceId:
    """The highest id that a device of the workspace has; 0 without any."""
    found: int = await connection.fetchval(
        "SELECT coalesce(max(id), 0) FROM devices WHERE workspace_id = $1", workspace_id
    )
    return DeviceId(found)
