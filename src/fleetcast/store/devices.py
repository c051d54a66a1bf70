"""Devices: the numbers that send. State, identity, pause and pace are separate writes, so none can erase another."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetcast.domain.device import DeviceState, TransportKind, shard_for
from fleetcast.domain.identifiers import DeviceId, Phone, ShardId, WorkspaceId
from fleetcast.store.connection import Connection, Row


@dataclass(frozen=True, slots=True)
class Device:
    """One number."""

    id: DeviceId
    workspace_id: WorkspaceId
    name: str
    transport: TransportKind
    state: DeviceState
    state_reason: str
    state_since: datetime
    restricted_until: datetime | None
    paused_at: datetime | None
    paused_by: str | None
    paused_reason: str | None
    min_delay: float
    """Seconds; shortest gap between two sends."""
    max_delay: float
    """Seconds; longest drawn gap."""
    region: str | None
    """Two letters; None: the workspace's."""
    phone: Phone | None
    jid: str | None
    lid: str | None
    shard_id: ShardId
    is_ready: bool
    """Online, not paused, not removed: may be given work."""
    may_answer: bool
    """Ready; or restricted, and people who wrote may still be answered."""
    last_send_at: datetime | None
    created_at: datetime


# A `real` through text keeps 0.1 a 0.1.
COLUMNS = """id, workspace_id, name, transport, state::text, state_reason, state_since, restricted_until, paused_at,
  paused_by, paused_reason, min_delay::text::float8 AS min_delay, max_delay::text::float8 AS max_delay,
  region, phone, jid, lid, shard_id, is_ready, may_answer, last_send_at, created_at"""


def device(row: Row) -> Device:
    """A row of `COLUMNS`."""
    return Device(
        id=DeviceId(row["id"]),
        workspace_id=WorkspaceId(row["workspace_id"]),
        name=row["name"],
        transport=TransportKind(row["transport"]),
        state=DeviceState(row["state"]),
        state_reason=row["state_reason"],
        state_since=row["state_since"],
        restricted_until=row["restricted_until"],
        paused_at=row["paused_at"],
        paused_by=row["paused_by"],
        paused_reason=row["paused_reason"],
        min_delay=row["min_delay"],
        max_delay=row["max_delay"],
        region=row["region"],
        phone=row["phone"],
        jid=row["jid"],
        lid=row["lid"],
        shard_id=ShardId(row["shard_id"]),
        is_ready=row["is_ready"],
        may_answer=row["may_answer"],
        last_send_at=row["last_send_at"],
        created_at=row["created_at"],
    )


async def insert(
    connection: Connection,
    workspace_id: WorkspaceId,
    name: str,
    *,
    transport: TransportKind,
    state: DeviceState,
    region: str | None,
    min_delay: float,
    max_delay: float,
) -> Device | None:
    """A new device on the shard of its id, or None when the name is taken. Delays in seconds."""
    device_id = await connection.fetchval("SELECT nextval(pg_get_serial_sequence('devices', 'id'))")
    row = await connection.fetchrow(
        f"""
        INSERT INTO devices (id, workspace_id, name, transport, state, region, min_delay, max_delay, shard_id)
        OVERRIDING SYSTEM VALUE
        VALUES ($1, $2, $3, $4, $5::text::device_state, $6, $7, $8, $9)
        ON CONFLICT (workspace_id, lower(name)) WHERE deleted_at IS NULL DO NOTHING
        RETURNING {COLUMNS}""",
        device_id,
        workspace_id,
        name,
        transport.value,
        state.value,
        region,
        min_delay,
        max_delay,
        shard_for(device_id),
    )
    return device(row) if row else None


async def by_name(connection: Connection, workspace_id: WorkspaceId, name: str) -> Device | None:
    """The device of that name; capitals make no difference."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM devices WHERE workspace_id = $1 AND lower(name) = lower($2) AND deleted_at IS NULL",
        workspace_id,
        name,
    )
    return device(row) if row else None


async def by_id(connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId) -> Device | None:
    """The device with that id."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM devices WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL",
        workspace_id,
        device_id,
    )
    return device(row) if row else None


async def page(
    connection: Connection,
    workspace_id: WorkspaceId,
    *,
    device_id: DeviceId | None,
    state: DeviceState | None,
    after: int,
    limit: int,
) -> list[Device]:
    """Devices by id, those after `after`; `device_id` and `state` narrow the list."""
    rows = await connection.fetch(
        f"""SELECT {COLUMNS} FROM devices
        WHERE workspace_id = $1 AND deleted_at IS NULL AND id > $2 AND ($3::bigint IS NULL OR id = $3)
          AND ($4::text IS NULL OR state = $4::device_state)
        ORDER BY id LIMIT $5""",
        workspace_id,
        after,
        device_id,
        state,
        limit,
    )
    return [device(r) for r in rows]


async def locked(connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId) -> Device | None:
    """The device, its row locked until the transaction ends: what is read is what is changed."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM devices WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE",
        workspace_id,
        device_id,
    )
    return device(row) if row else None


async def are_there(connection: Connection, kind: TransportKind) -> bool:
    """Whether any workspace has a device of this kind."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM devices WHERE transport = $1 AND deleted_at IS NULL)", kind.value
    )
    return found


async def of_workspace(connection: Connection, workspace_id: WorkspaceId) -> list[Device]:
    """All devices of a workspace, by name."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM devices WHERE workspace_id = $1 AND deleted_at IS NULL ORDER BY lower(name)",
        workspace_id,
    )
    return [device(r) for r in rows]


async def existing(connection: Connection, workspace_id: WorkspaceId, ids: Sequence[int]) -> set[DeviceId]:
    """Which of these are devices of the workspace."""
    rows = await connection.fetch(
        "SELECT id FROM devices WHERE workspace_id = $1 AND id = ANY ($2::bigint[]) AND deleted_at IS NULL",
        workspace_id,
        list(ids),
    )
    return {DeviceId(r["id"]) for r in rows}


async def choices(
    connection: Connection, workspace_id: WorkspaceId, chosen: Sequence[int], text: str, limit: int
) -> list[Device]:
    """Devices to choose from: those with these ids, and by name the first others that have `text` in their name."""
    rows = await connection.fetch(
        f"""
        SELECT * FROM (SELECT {COLUMNS} FROM devices
          WHERE workspace_id = $1 AND deleted_at IS NULL AND id = ANY ($2::bigint[]) ORDER BY lower(name)) held
        UNION ALL
        SELECT * FROM (SELECT {COLUMNS} FROM devices
          WHERE workspace_id = $1 AND deleted_at IS NULL AND id <> ALL ($2::bigint[])
            AND ($3 = '' OR strpos(lower(name), lower($3)) > 0) ORDER BY lower(name) LIMIT $4) others""",
        workspace_id,
        list(chosen),
        text,
        limit,
    )
    return [device(r) for r in rows]


async def ready(connection: Connection, workspace_id: WorkspaceId, first: Sequence[int], limit: int) -> list[Device]:
    """Devices that can send now, by name, those with the ids `first` before all others."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM devices WHERE workspace_id = $1 AND is_ready "
        "ORDER BY id = ANY ($2::bigint[]) DESC, lower(name) LIMIT $3",
        workspace_id,
        list(first),
        limit,
    )
    return [device(r) for r in rows]


async def some(connection: Connection, workspace_id: WorkspaceId, device_ids: Collection[DeviceId]) -> list[Device]:
    """Those of these devices that are in the workspace, by name."""
    if not device_ids:
        return []
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM devices WHERE workspace_id = $1 AND id = ANY ($2::bigint[]) AND deleted_at IS NULL "
        "ORDER BY lower(name)",
        workspace_id,
        list(device_ids),
    )
    return [device(r) for r in rows]


async def names_of(
    connection: Connection, workspace_id: WorkspaceId, device_ids: Collection[DeviceId]
) -> dict[DeviceId, str]:
    """The names of these devices; those that were removed are left out."""
    rows = await connection.fetch(
        "SELECT id, name FROM devices WHERE workspace_id = $1 AND id = ANY ($2::bigint[]) AND deleted_at IS NULL",
        workspace_id,
        list(device_ids),
    )
    return {DeviceId(row["id"]): row["name"] for row in rows}


async def differing(
    connection: Connection, states: Sequence[tuple[DeviceId, DeviceState, str, datetime | None, bool]]
) -> list[DeviceId]:
    """Those of these devices whose state, reason, end of a restriction or leave to answer in it is another than this
    one, in the order given.

    An end or a leave that belongs to no restriction is never stored and so does not count.
    """
    rows = await connection.fetch(
        """
        SELECT u.id FROM unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[], $5::boolean[])
          WITH ORDINALITY AS u (id, state, reason, until, answers, place) JOIN devices d ON d.id = u.id
        WHERE d.deleted_at IS NULL AND d.pairing_until IS NULL AND d.logout_ordered_at IS NULL
          AND (d.state::text, d.state_reason, d.restricted_until, d.answers) IS DISTINCT FROM
          (u.state, u.reason, CASE WHEN u.state = 'restricted' THEN u.until END, u.state = 'restricted' AND u.answers)
        ORDER BY u.place""",
        [s[0] for s in states],
        [s[1].value for s in states],
        [s[2] for s in states],
        [s[3] for s in states],
        [s[4] for s in states],
    )
    return [DeviceId(row["id"]) for row in rows]


async def write_state(
    connection: Connection,
    device_id: DeviceId,
    state: DeviceState,
    reason: str,
    until: datetime | None,
    *,
    answers: bool,
) -> tuple[bool, bool] | None:
    """Write the connection's state and nothing else. Returns whether the device is ready now, and whether it may answer
    at least; None if nothing changed.

    Identity and pause stay as they are; `state_since` moves only with the state itself. A removed device is left alone,
    and one that is just being linked or unlinked: what is reported then is of a session that is over.
    """
    row = await connection.fetchrow(
        """
        UPDATE devices SET
          state = $2::text::device_state,
          state_reason = $3,
          restricted_until = $4,
          answers = $5,
          state_since = CASE WHEN state = $2::text::device_state AND answers = $5 THEN state_since
            ELSE fleetcast_now() END
        WHERE id = $1 AND deleted_at IS NULL AND pairing_until IS NULL AND logout_ordered_at IS NULL
          AND (state::text, state_reason, restricted_until, answers) IS DISTINCT FROM ($2, $3, $4, $5)
        RETURNING is_ready, may_answer""",
        device_id,
        state.value,
        reason,
        until,
        answers,
    )
    return None if row is None else (row["is_ready"], row["may_answer"])


async def write_pause(connection: Connection, device_id: DeviceId, paused_by: str | None, reason: str | None) -> None:
    """Pause a device, or lift the pause when `paused_by` is None."""
    await connection.execute(
        """
        UPDATE devices SET
          paused_at = CASE WHEN $2::text IS NULL THEN NULL ELSE fleetcast_now() END, paused_by = $2, paused_reason = $3
        WHERE id = $1""",
        device_id,
        paused_by,
        reason,
    )


async def write_pace(connection: Connection, device_id: DeviceId, min_delay: float, max_delay: float) -> None:
    """Write the pace, in seconds."""
    await connection.execute(
        "UPDATE devices SET min_delay = $2, max_delay = $3 WHERE id = $1", device_id, min_delay, max_delay
    )


async def mark_removed(connection: Connection, device_id: DeviceId) -> None:
    """Remove a device; its row stays for the messages and attempts that name it. A phone that is linked is unlinked."""
    await connection.execute(
        """
        UPDATE devices SET deleted_at = fleetcast_now(), pairing_until = NULL,
          logout_ordered_at = CASE WHEN state IN ('connecting', 'online', 'offline', 'restricted')
            THEN fleetcast_now() ELSE logout_ordered_at END
        WHERE id = $1""",
        device_id,
    )


async def waiting_messages(connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId) -> int:
    """Messages of the device that are pending or queued."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM broadcast_messages b WHERE b.workspace_id = $1 AND b.device_id = $2 AND b.is_open "
        "AND b.status IN ('pending', 'queued')",
        workspace_id,
        device_id,
    )
    return found
