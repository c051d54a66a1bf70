"""Leads: reading, changing and removing single ones, and what a text may print of one. Bulk writing is in `lead_merge`.

A lead that was removed keeps its row, which messages name, and a refusal; nothing here shows it.
"""

from collections.abc import Sequence

from fleetcast.domain.identifiers import DeviceId, LeadId, Phone, WorkspaceId
from fleetcast.domain.lead import Consent, Lead, LeadStatus, StoredLead
from fleetcast.store.connection import Connection, Row

LEAD_VARIABLES_SQL = """(l.attributes || jsonb_build_object('name', l.name, 'phone', l.phone,
  'niche', array_to_string(l.niches, ', '), 'journey', l.journey, 'target_status', l.target_status))"""
"""What a text may print of the lead `l`, as jsonb: the same as `fleetcast.domain.lead.lead_variables`."""

LEAD_VARIABLE_SQL = """CASE k.name WHEN 'name' THEN l.name WHEN 'phone' THEN l.phone
  WHEN 'niche' THEN array_to_string(l.niches, ', ') WHEN 'journey' THEN l.journey
  WHEN 'target_status' THEN l.target_status::text ELSE l.attributes ->> k.name END"""
"""One of them, called `k.name`, as text."""

PAGE = 2_000
"""Leads read at a time when all are walked."""

# Of the alias `l`.
COLUMNS = """l.id, l.device_id, l.phone, l.name, l.niches, l.target_status::text, l.journey, l.time_zone,
  l.consent::text, l.consent_source, l.consent_at, l.shared, l.attributes, l.created_at, l.updated_at"""


def lead(row: Row) -> StoredLead:
    """A row of `COLUMNS`."""
    said = Lead(
        phone=Phone(row["phone"]),
        name=row["name"],
        niches=tuple(row["niches"]),
        target_status=LeadStatus(row["target_status"]),
        journey=row["journey"],
        time_zone=row["time_zone"],
        consent=Consent(row["consent"]),
        attributes=row["attributes"],
    )
    return StoredLead(
        id=LeadId(row["id"]),
        device_id=DeviceId(row["device_id"]),
        lead=said,
        shared=row["shared"],
        consent_source=row["consent_source"],
        consent_at=row["consent_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


async def get_lead(
    connection: Connection, workspace_id: WorkspaceId, phone: Phone, *, device_id: DeviceId | None = None
) -> StoredLead | None:
    """The lead with that phone: of one device, or of whichever device has had it longest."""
    row = await connection.fetchrow(
        f"""SELECT {COLUMNS} FROM leads l
        WHERE l.workspace_id = $1 AND l.phone = $2 AND l.deleted_at IS NULL
          AND ($3::bigint IS NULL OR l.device_id = $3)
        ORDER BY l.id LIMIT 1""",
        workspace_id,
        phone,
        device_id,
    )
    return lead(row) if row else None


async def sample_lead(
    connection: Connection, workspace_id: WorkspaceId, *, device_id: DeviceId | None = None
) -> StoredLead | None:
    """The first lead of the workspace or of one of its devices: what a preview shows when nobody chose one."""
    found = await page_after(connection, workspace_id, device_id, after=LeadId(0), size=1)
    return found[0] if found else None


async def count_leads(connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId | None = None) -> int:
    """How many leads the workspace has, or one of its devices."""
    found: int = await connection.fetchval(
        """SELECT count(*) FROM leads
        WHERE workspace_id = $1 AND deleted_at IS NULL AND ($2::bigint IS NULL OR device_id = $2)""",
        workspace_id,
        device_id,
    )
    return found


async def page_after(
    connection: Connection,
    workspace_id: WorkspaceId,
    device_id: DeviceId | None,
    *,
    after: LeadId,
    size: int = PAGE,
) -> list[StoredLead]:
    """The next leads by id, `size` at most; none when `after` was the last. `device_id` None: of every device.

    Walking by key instead of a cursor: a cursor's transaction stays open for as long as somebody takes to read, and
    an old open transaction slows the message queue by half. No lead comes twice; one added meanwhile may be missing.
    """
    # Two texts instead of an OR: each walks its own index in order.
    which = "" if device_id is None else "AND l.device_id = $4"
    rows = await connection.fetch(
        f"""SELECT {COLUMNS} FROM leads l
        WHERE l.workspace_id = $1 AND l.id > $2 AND l.deleted_at IS NULL {which} ORDER BY l.id LIMIT $3""",
        workspace_id,
        after,
        size,
        *(() if device_id is None else (device_id,)),
    )
    return [lead(row) for row in rows]


_ONE = f"SELECT {COLUMNS} FROM leads l WHERE l.workspace_id = $1 AND l.id = $2 AND l.deleted_at IS NULL"


async def by_id(
    connection: Connection, workspace_id: WorkspaceId, lead_id: LeadId, *, lock: bool = False
) -> StoredLead | None:
    """The lead with that id; with `lock` what is read is what is changed, until the transaction ends."""
    row = await connection.fetchrow(f"{_ONE}{' FOR NO KEY UPDATE' if lock else ''}", workspace_id, lead_id)
    return lead(row) if row else None


async def existing(connection: Connection, workspace_id: WorkspaceId, ids: Sequence[LeadId]) -> set[LeadId]:
    """Those of these leads that are there."""
    rows = await connection.fetch(
        "SELECT id FROM leads WHERE workspace_id = $1 AND id = ANY ($2::bigint[]) AND deleted_at IS NULL",
        workspace_id,
        ids,
    )
    return {LeadId(r["id"]) for r in rows}


async def write(connection: Connection, workspace_id: WorkspaceId, lead_id: LeadId, now: Lead) -> None:
    """Write what a lead is now. Its phone never changes, its consent only by `write_consent`."""
    await connection.execute(
        """UPDATE leads SET name = $3, niches = $4, target_status = $5::text::lead_status, journey = $6,
          time_zone = $7, attributes = $8, updated_at = fleetcast_now()
        WHERE workspace_id = $1 AND id = $2""",
        workspace_id,
        lead_id,
        now.name,
        list(now.niches),
        (now.target_status or LeadStatus.PROSPECT).value,
        now.journey,
        now.time_zone,
        dict(now.attributes),
    )


async def write_consent(
    connection: Connection, workspace_id: WorkspaceId, lead_id: LeadId, consent: Consent, source: str
) -> None:
    """Write that a person agreed or refused, now; `source`: where, in words."""
    await connection.execute(
        """UPDATE leads SET consent = $3::text::lead_consent, consent_source = $4, consent_at = fleetcast_now(),
          updated_at = fleetcast_now()
        WHERE workspace_id = $1 AND id = $2""",
        workspace_id,
        lead_id,
        consent.value,
        source,
    )


async def remove(connection: Connection, workspace_id: WorkspaceId, lead_ids: Sequence[LeadId]) -> None:
    """Forget what is known of leads, all but their numbers and refusals, and show them no more."""
    await connection.execute(
        """UPDATE leads SET deleted_at = fleetcast_now(), updated_at = fleetcast_now(), name = '', niches = '{}',
          target_status = 'prospect', journey = '', time_zone = NULL, attributes = '{}',
          consent = CASE WHEN consent = 'refused' THEN consent ELSE 'unknown' END,
          consent_at = CASE WHEN consent = 'refused' THEN consent_at END,
          consent_source = CASE WHEN consent = 'refused' THEN consent_source END
        WHERE workspace_id = $1 AND id = ANY ($2::bigint[])""",
        workspace_id,
        list(lead_ids),
    )


async def attribute_keys(connection: Connection, workspace_id: WorkspaceId) -> list[str]:
    """Every attribute some lead of the workspace has had, sorted."""
    found: list[str] | None = await connection.fetchval(
        "SELECT attribute_keys FROM workspaces WHERE id = $1", workspace_id
    )
    return found or []
