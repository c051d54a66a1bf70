"""What one chunk of a change of many does to its leads, and what takes it back.

Each statement looks again whether a lead is still one to be changed, locks leads in the order of their ids, and keeps
what was there before. Taking back touches only what still is as the change had left it: what somebody has changed since
stays.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fleetcast.domain.bulk_edit import EditAction
from fleetcast.domain.identifiers import DeviceId, LeadId, Phone, WorkspaceId
from fleetcast.domain.lead import MAX_NICHES
from fleetcast.store.connection import Connection

LARGEST_ATTRIBUTES = 64_000
"""Bytes; the limit of a lead's attributes, nearly."""


def _change(which: str, was: str, becomes: str) -> str:
    """$1 change, $2 workspace, $3 leads; from $4 on its values."""
    return f"""
WITH picked AS MATERIALIZED (
  SELECT l.id, {was} AS was FROM leads l
  WHERE l.workspace_id = $2 AND l.id = ANY ($3::bigint[]) AND l.deleted_at IS NULL AND {which}
  ORDER BY l.id FOR NO KEY UPDATE),
moved AS (
  UPDATE leads l SET {becomes}, updated_at = fleetcast_now() FROM picked p WHERE l.id = p.id
  RETURNING l.id, l.device_id, p.was),
kept AS (
  INSERT INTO bulk_edit_changes (edit_id, device_id, lead_id, was) SELECT $1, device_id, id, was FROM moved)
SELECT count(*) FROM moved"""


def _back(which: str, becomes: str) -> str:
    """$1 the change that is taken back, $2 workspace, $3 leads; from $4 on what it had set."""
    return f"""
WITH picked AS MATERIALIZED (
  SELECT l.id, c.was FROM leads l JOIN bulk_edit_changes c
    ON c.edit_id = $1 AND c.device_id = l.device_id AND c.lead_id = l.id
  WHERE l.workspace_id = $2 AND l.id = ANY ($3::bigint[]) AND l.deleted_at IS NULL AND {which}
  ORDER BY l.id FOR NO KEY UPDATE OF l),
moved AS (
  UPDATE leads l SET {becomes}, updated_at = fleetcast_now() FROM picked p WHERE l.id = p.id RETURNING l.id)
SELECT count(*) FROM moved"""


_WITH_NICHE = 'niches = ARRAY(SELECT DISTINCT n COLLATE "C" FROM unnest(l.niches || $4::text) AS n ORDER BY 1)'
_WITHOUT_NICHE = "niches = array_remove(l.niches, $4::text)"
_HAS_NICHE = "l.niches @> ARRAY[$4::text]"
_HAS_ROOM = f"NOT {_HAS_NICHE} AND cardinality(l.niches) < {MAX_NICHES}"
_WITH_ATTRIBUTE = (
    "attributes = CASE WHEN {0} IS NULL THEN l.attributes - $4::text "
    "ELSE l.attributes || jsonb_build_object($4::text, {0}) END"
)

CHANGES: Mapping[EditAction, str] = {
    EditAction.ADD_NICHE: _change(_HAS_ROOM, "NULL::text", _WITH_NICHE),
    EditAction.REMOVE_NICHE: _change(_HAS_NICHE, "NULL::text", _WITHOUT_NICHE),
    EditAction.SET_STATUS: _change(
        "l.target_status <> $4::text::lead_status", "l.target_status::text", "target_status = $4::text::lead_status"
    ),
    EditAction.SET_ATTRIBUTE: _change(
        "l.attributes ->> $4::text IS DISTINCT FROM $5::text "
        f"AND octet_length(l.attributes::text) + octet_length(coalesce($5::text, '')) < {LARGEST_ATTRIBUTES}",
        "l.attributes ->> $4::text",
        _WITH_ATTRIBUTE.format("$5::text"),
    ),
}
BACK: Mapping[EditAction, str] = {
    EditAction.ADD_NICHE: _back(_HAS_NICHE, _WITHOUT_NICHE),
    EditAction.REMOVE_NICHE: _back(_HAS_ROOM, _WITH_NICHE),
    EditAction.SET_STATUS: _back("l.target_status = $4::text::lead_status", "target_status = p.was::lead_status"),
    EditAction.SET_ATTRIBUTE: _back(
        "l.attributes ->> $4::text IS NOT DISTINCT FROM $5::text", _WITH_ATTRIBUTE.format("p.was")
    ),
}

_CHANGED = """
SELECT device_id, lead_id FROM bulk_edit_changes WHERE edit_id = $1 AND (device_id, lead_id) > ($2, $3)
ORDER BY device_id, lead_id LIMIT $4"""

# Of a lead that is forgotten nothing is kept that it was.
_FORGET = """
DELETE FROM bulk_edit_changes c USING bulk_edits e
WHERE e.workspace_id = $1 AND c.edit_id = e.id AND c.lead_id = ANY ($2::bigint[])
  AND c.device_id IN (SELECT device_id FROM leads WHERE workspace_id = $1 AND id = ANY ($2::bigint[]))"""

_LOCK = """
SELECT id, phone FROM leads WHERE workspace_id = $1 AND id = ANY ($2::bigint[]) AND deleted_at IS NULL
ORDER BY id FOR NO KEY UPDATE"""


def _values(action: EditAction, value: Mapping[str, Any]) -> tuple[str | None, ...]:
    if action is EditAction.SET_ATTRIBUTE:
        return value["key"], value["text"] or None
    return (value["status"] if action is EditAction.SET_STATUS else value["niche"],)


async def change(
    connection: Connection,
    workspace_id: WorkspaceId,
    edit_id: int,
    leads: Sequence[LeadId],
    action: EditAction,
    value: Mapping[str, Any],
) -> int:
    """Do it to these leads; returns how many it changed."""
    changed: int = await connection.fetchval(
        CHANGES[action], edit_id, workspace_id, list(leads), *_values(action, value)
    )
    return changed


async def take_back(
    connection: Connection,
    workspace_id: WorkspaceId,
    edit_id: int,
    leads: Sequence[LeadId],
    action: EditAction,
    value: Mapping[str, Any],
) -> int:
    """Take the change `edit_id` back in these leads; returns in how many of them."""
    changed: int = await connection.fetchval(BACK[action], edit_id, workspace_id, list(leads), *_values(action, value))
    return changed


async def changed_by(
    connection: Connection, edit_id: int, after: tuple[int, int], limit: int
) -> list[tuple[DeviceId, LeadId]]:
    """The leads that a change has changed, device by device, behind the place `after`."""
    rows = await connection.fetch(_CHANGED, edit_id, *after, limit)
    return [(DeviceId(row["device_id"]), LeadId(row["lead_id"])) for row in rows]


async def locked(connection: Connection, workspace_id: WorkspaceId, leads: Sequence[LeadId]) -> dict[LeadId, Phone]:
    """Those of these leads that are there, locked until the transaction ends, with their numbers."""
    rows = await connection.fetch(_LOCK, workspace_id, list(leads))
    return {LeadId(row["id"]): Phone(row["phone"]) for row in rows}


async def forget_changes(connection: Connection, workspace_id: WorkspaceId, leads: Sequence[LeadId]) -> None:
    """Forget what these leads were before changes of many."""
    await connection.execute(_FORGET, workspace_id, list(leads))
