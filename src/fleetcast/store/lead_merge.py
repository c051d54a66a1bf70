"""Bulk writing of leads: rows are copied into the staging table of one import, then merged by set.

The merge rule, within a file (a later row over an earlier one) and with stored leads (the file over what is stored):

- name, journey, time zone, target status: what is said replaces, what is not said keeps; a new lead is a prospect.
- niches are united; attributes are merged key by key, a new value replaces.
- consent: a refusal always holds and is never lifted here; `given` fills `unknown`; where both sides say given, the
  older record stays with its time and source.
- a lead that was removed comes back as a new one, with nothing of what it was but a refusal.

Staging happens before the transaction: one that is open while a large file is read would slow the message queue.
Statements name `lead_staging`, from which the table of every import inherits, and run on that table alone.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fleetcast.domain.identifiers import DeviceId, Phone, WorkspaceId
from fleetcast.store.connection import Connection, Database, reachable

STAGED = ("line", "phone", "name", "niches", "target_status", "journey", "time_zone", "consent", "attributes")
"""Columns of a staged row; attributes as JSON text, target_status None where not said."""
StagedRow = tuple[int, str, str, Sequence[str], str | None, str, str | None, str, str]

_ONCE = "lead_staging_once"
TRIAL_STAGING = "lead_staging_trial"
"""The staging table of an import that is only tried."""
_TRIAL = "CREATE TEMPORARY TABLE lead_staging_trial (LIKE lead_staging)"
_HERE = "CREATE TEMPORARY TABLE lead_staging_once (LIKE lead_staging) ON COMMIT DROP"

# Rows of one phone become one. Nothing of it is correlated: a file may consist of duplicates.
_FOLD = """
WITH twice AS (SELECT phone FROM lead_staging GROUP BY phone HAVING count(*) > 1),
taken AS (DELETE FROM lead_staging s USING twice t WHERE s.phone = t.phone RETURNING s.*),
folded AS (
  SELECT phone, max(line) AS line,
    (array_agg(name ORDER BY line DESC) FILTER (WHERE name <> ''))[1] AS name,
    (array_agg(target_status ORDER BY line DESC) FILTER (WHERE target_status IS NOT NULL))[1] AS target_status,
    (array_agg(journey ORDER BY line DESC) FILTER (WHERE journey <> ''))[1] AS journey,
    (array_agg(time_zone ORDER BY line DESC) FILTER (WHERE time_zone IS NOT NULL))[1] AS time_zone,
    max(consent::lead_consent)::text AS consent
  FROM taken GROUP BY phone),
united AS (
  SELECT phone, array_agg(DISTINCT n COLLATE "C" ORDER BY n COLLATE "C") AS niches
  FROM taken, unnest(niches) AS n GROUP BY phone),
merged AS (
  SELECT phone, jsonb_object_agg(key, value ORDER BY line)::text AS attributes
  FROM taken, jsonb_each(attributes::jsonb) GROUP BY phone)
INSERT INTO lead_staging (line, phone, name, niches, target_status, journey, time_zone, consent, attributes)
SELECT f.line, f.phone, coalesce(f.name, ''), coalesce(u.niches, '{}'), f.target_status, coalesce(f.journey, ''),
  f.time_zone, f.consent, coalesce(m.attributes, '{}')
FROM folded f LEFT JOIN united u USING (phone) LEFT JOIN merged m USING (phone)"""

_INCOMING = """(SELECT phone, name, niches, target_status::lead_status, journey, time_zone, consent::lead_consent,
  attributes::jsonb FROM lead_staging)"""

# What a stored lead `l` becomes; {new} is the row that comes in. `lead_consent` is ordered unknown < given < refused.
_BECOMES = {
    "name": "CASE WHEN {new}.name <> '' THEN {new}.name ELSE l.name END",
    "niches": """CASE WHEN l.niches @> {new}.niches THEN l.niches ELSE
      ARRAY(SELECT DISTINCT n COLLATE "C" FROM unnest(l.niches || {new}.niches) AS n ORDER BY 1) END""",
    "journey": "CASE WHEN {new}.journey <> '' THEN {new}.journey ELSE l.journey END",
    "time_zone": "coalesce({new}.time_zone, l.time_zone)",
    "consent": "greatest(l.consent, {new}.consent)",
    "attributes": "l.attributes || {new}.attributes",
}
_STATUS_BECOMES = {"target_status": "coalesce({new}.target_status, l.target_status)"}


def _changes(becomes: dict[str, str], new: str) -> str:
    """SQL: whether the merge would leave another lead than the stored one."""
    stored = ", ".join(f"l.{column}" for column in becomes)
    return f"({stored}) IS DISTINCT FROM ({', '.join(e.format(new=new) for e in becomes.values())})"


def _merge(*, status_said: bool) -> str:
    """One of the two statements of a merge: an insert cannot say "not said" for a column that is never NULL, so rows
    with a target status and rows without go separately. $1 workspace, $2 device, $3 source of a consent.
    """
    becomes = _BECOMES | (_STATUS_BECOMES if status_said else {})
    status, which = ("s.target_status", "IS NOT NULL") if status_said else ("'prospect'", "IS NULL")
    return f"""
WITH clock AS MATERIALIZED (SELECT fleetcast_now() AS now),
written AS (
  INSERT INTO leads AS l (workspace_id, device_id, created_at, updated_at, phone, name, niches, target_status, journey,
    time_zone, consent, consent_at, consent_source, attributes)
  SELECT $1, $2, c.now, c.now, s.phone, s.name, s.niches, {status}, s.journey, s.time_zone, s.consent,
    CASE WHEN s.consent <> 'unknown' THEN c.now END, CASE WHEN s.consent <> 'unknown' THEN $3::text END, s.attributes
  FROM {_INCOMING} s, clock c WHERE s.target_status {which}
  ON CONFLICT (device_id, phone) DO UPDATE SET
    {", ".join(f"{column} = {e.format(new='excluded')}" for column, e in becomes.items())},
    consent_at = CASE WHEN excluded.consent > l.consent THEN excluded.consent_at ELSE l.consent_at END,
    consent_source = CASE WHEN excluded.consent > l.consent THEN excluded.consent_source ELSE l.consent_source END,
    updated_at = excluded.updated_at, deleted_at = NULL,
    created_at = CASE WHEN l.deleted_at IS NULL THEN l.created_at ELSE excluded.created_at END
  WHERE l.workspace_id = $1 AND (l.deleted_at IS NOT NULL OR {_changes(becomes, "excluded")})
  RETURNING l.created_at = l.updated_at AS added)
SELECT count(*) FILTER (WHERE added) AS added, count(*) FILTER (WHERE NOT added) AS merged FROM written"""


_MERGES = (_merge(status_said=True), _merge(status_said=False))

_FORESEE = f"""
SELECT count(*) FILTER (WHERE l.id IS NULL OR l.deleted_at IS NOT NULL) AS added,
  count(*) FILTER (
    WHERE l.id IS NOT NULL AND l.deleted_at IS NULL AND {_changes(_BECOMES | _STATUS_BECOMES, "s")}) AS merged
FROM {_INCOMING} s LEFT JOIN leads l ON l.workspace_id = $1 AND l.device_id = $2 AND l.phone = s.phone"""

_SHARE = """
WITH twice AS (
  SELECT DISTINCT s.phone FROM lead_staging s
  JOIN leads o ON o.workspace_id = $1 AND o.phone = s.phone AND o.device_id <> $2)
UPDATE leads l SET shared = true FROM twice t WHERE l.workspace_id = $1 AND l.phone = t.phone AND NOT l.shared"""

_ALL_KEYS = 'ARRAY(SELECT DISTINCT k COLLATE "C" FROM unnest(attribute_keys || $2::text[]) AS k ORDER BY 1)'


@dataclass(frozen=True, slots=True)
class Destination:
    """The device that leads go to."""

    name: str
    region: str
    """Two letters: the device's, else its workspace's."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did, or would do, in leads."""

    added: int
    merged: int
    """Stored leads that the file changed; those it left as they were are not counted."""


async def destination(connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId) -> Destination | None:
    """The device and the country its numbers are read with; None unless it is a device of this workspace."""
    row = await connection.fetchrow(
        """SELECT d.name, coalesce(d.region, w.region) AS region
        FROM devices d JOIN workspaces w ON w.id = d.workspace_id
        WHERE d.workspace_id = $1 AND d.id = $2 AND d.deleted_at IS NULL""",
        workspace_id,
        device_id,
    )
    return Destination(row["name"], row["region"]) if row else None


async def region(connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId | None) -> str | None:
    """The country that numbers are read with: the device's, else the workspace's. None without such a device."""
    if device_id is not None:
        found = await destination(connection, workspace_id, device_id)
        return found.region if found else None
    of_workspace: str | None = await connection.fetchval("SELECT region FROM workspaces WHERE id = $1", workspace_id)
    return of_workspace


@asynccontextmanager
async def importing(db: Database, *, trial: bool = False) -> AsyncIterator[Connection]:
    """A connection of an import's own; with `TRIAL_STAGING`, which goes away with it, for one that is only tried."""
    with reachable(db.name):
        connection = await db.dedicated(application="fleetcast leads import")
        try:
            await connection.execute("SET temp_buffers = '32MB'; SET work_mem = '64MB'")
            if trial:
                await connection.execute(_TRIAL)
            yield connection
        finally:
            await connection.close(timeout=10)


def _on(table: str, statement: str) -> str:
    """The statement on one import's staging table."""
    return statement.replace("lead_staging", table)


async def stage(connection: Connection, table: str, rows: Iterable[StagedRow]) -> None:
    """Copy rows into a staging table."""
    await connection.copy_records_to_table(table, records=rows, columns=STAGED)


async def stage_here(connection: Connection, rows: Iterable[StagedRow]) -> str:
    """Stage a few rows in the caller's transaction, with which their table goes. Returns the table's name."""
    await connection.execute(_HERE)
    await stage(connection, _ONCE, rows)
    return _ONCE


async def fold(connection: Connection, table: str) -> int:
    """Make one row of all rows with the same phone. Returns how many rows are left: one a person. Idempotent."""
    await connection.execute(_on(table, _FOLD))
    await connection.execute(f"ANALYZE {table}")
    left: int = await connection.fetchval(_on(table, "SELECT count(*) FROM lead_staging"))
    return left


async def refusing(connection: Connection, table: str, after: str, limit: int) -> list[Phone]:
    """People of whom staged rows say that they refused: at most `limit` by number, those after the number `after`."""
    rows = await connection.fetch(
        _on(
            table,
            "SELECT phone FROM lead_staging WHERE consent = 'refused' AND phone > $1 ORDER BY phone LIMIT $2",
        ),
        after,
        limit,
    )
    return [Phone(row["phone"]) for row in rows]


async def one_at_a_time(connection: Connection, workspace_id: WorkspaceId) -> None:
    """Wait until no other import into this workspace is merging; holds until the transaction ends.

    Two imports into two devices would each miss that the other brings the same person.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(7215303, $1::int)", workspace_id)


async def foresee(connection: Connection, table: str, workspace_id: WorkspaceId, device_id: DeviceId) -> Merged:
    """What `merge` would do now; writes nothing."""
    row = await connection.fetchrow(_on(table, _FORESEE), workspace_id, device_id)
    assert row is not None
    return Merged(row["added"], row["merged"])


async def merge(
    connection: Connection, table: str, workspace_id: WorkspaceId, device_id: DeviceId, *, consent_source: str
) -> Merged:
    """Merge the staged rows, folded before, into the device's leads, and mark who is a lead of several devices.

    `consent_source` is stored with every consent that this merge changes.
    """
    added = merged = 0
    for statement in _MERGES:
        row = await connection.fetchrow(_on(table, statement), workspace_id, device_id, consent_source)
        assert row is not None
        added, merged = added + row["added"], merged + row["merged"]
    await connection.execute(_on(table, _SHARE), workspace_id, device_id)
    return Merged(added, merged)


async def attributes_with(connection: Connection, workspace_id: WorkspaceId, keys: Sequence[str]) -> int:
    """How many attributes the workspace would have with these."""
    found: int = await connection.fetchval(
        f"SELECT cardinality({_ALL_KEYS}) FROM workspaces WHERE id = $1",
        workspace_id,
        list(keys),
    )
    return found


async def add_attributes(connection: Connection, workspace_id: WorkspaceId, keys: Sequence[str]) -> None:
    """Let texts name these attributes from now on."""
    await connection.execute(
        f"UPDATE workspaces SET attribute_keys = {_ALL_KEYS} WHERE id = $1 AND NOT attribute_keys @> $2::text[]",
        workspace_id,
        list(keys),
    )


async def bump_version(connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId) -> bool:
    """Note that the device's leads changed. False when the device was removed meanwhile.

    Locks the device's row, which senders write to: the last statement before the commit.
    """
    found: int | None = await connection.fetchval(
        """UPDATE devices SET leads_version = leads_version + 1
        WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING 1""",
        workspace_id,
        device_id,
    )
    return found is not None
