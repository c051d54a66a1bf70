"""What the page of devices shows: one page of them by name, each with how many messages wait for it.

Separate from `devices` because a look at a page is not a use of a device: it never locks, and it never counts further
than a page shows.
"""

from dataclasses import dataclass

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store import devices
from fleetcast.store.connection import Connection
from fleetcast.store.devices import Device


@dataclass(frozen=True, slots=True)
class FleetRow:
    """A device of the list."""

    device: Device
    waiting: int
    """Open messages, counted no further than one beyond the peek."""


async def page(
    connection: Connection,
    workspace_id: WorkspaceId,
    *,
    text: str,
    standing: str | None,
    after: str,
    limit: int,
    peek: int,
) -> list[FleetRow]:
    """Devices by name, those after the name `after` (in small letters).

    `text` is looked for in names and numbers. `standing` is what a person is told: 'paused', or a state in which a
    device is and no pause hides.
    """
    rows = await connection.fetch(
        f"""SELECT d.*, open.n AS waiting
        FROM (
          SELECT {devices.COLUMNS} FROM devices
          WHERE workspace_id = $1 AND deleted_at IS NULL AND lower(name) > $2
            AND ($3 = '' OR strpos(lower(name), lower($3)) > 0 OR strpos(coalesce(phone, ''), $3) > 0)
            AND ($4::text IS NULL OR CASE WHEN paused_at IS NOT NULL AND state IN ('online', 'offline', 'connecting')
              THEN 'paused' ELSE state::text END = $4)
          ORDER BY lower(name) LIMIT $5) d
        CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
          SELECT FROM broadcast_messages m WHERE m.device_id = d.id AND m.is_open LIMIT $6) peek) open
        ORDER BY lower(d.name)""",
        workspace_id,
        after,
        text,
        standing,
        limit,
        peek + 1,
    )
    return [FleetRow(devices.device(r), r["waiting"]) for r in rows]
