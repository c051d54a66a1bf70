"""Leads: reading them, and what a text may print of one. Bulk writing is in `lead_merge`."""

from fleetcast.domain.identifiers import DeviceId, LeadId, Phone, WorkspaceId
from fleetcast.domain.lead import Consent, Lead, LeadStatus, StoredLead
from fleetcast.store.connection import Connection, Row

LEAD_VARIABLES_SQL = """(l.attributes || jsonb_build_object('name', l.name, 'phone', l.phone,
  'niche', array_to_string(l.niches, ', '), 'journey', l.journey, 'target_status', l.target_status))"""
"""What a text may print of the lead `l`, as jsonb: the same as `fleetcast.domain.lead.lead_variables`."""

PAGE = 2_000
"""Leads read at a time when all are walked."""

_COLUMNS = """l.id, l.device_id, l.phone, l.name, l.niches, l.target_status::text, l.journey, l.time_zone,
  l.consent::text, l.consent_source, l.shared, l.attributes"""


def _lead(row: Row) -> StoredLead:
    lead = Lead(
        phone=Phone(row["phone"]),
        name=row["name"],
        niches=tuple(row["niches"]),
        target_status=LeadStatus(row["target_status"]),
        journey=row["journey"],
        time_zone=row["time_zone"],
        consent=Consent(row["consent"]),
        attributes=row["attributes"],
    )
    return StoredLead(LeadId(row["id"]), DeviceId(row["device_id"]), lead, row["shared"], row["consent_source"])


async def get_lead(
    connection: Connection, workspace_id: WorkspaceId, phone: Phone, *, device_id: DeviceId | None = None
) -> StoredLead | None:
    """The lead with that phone: of one device, or of whichever device has had it longest."""
    row = await connection.fetchrow(
        f"""SELECT {_COLUMNS} FROM leads l
        WHERE l.workspace_id = $1 AND l.phone = $2 AND ($3::bigint IS NULL OR l.device_id = $3)
        ORDER BY l.id LIMIT 1""",
        workspace_id,
        phone,
        device_id,
    )
    return _lead(row) if row else None


async def sample_lead(
    connection: Connection, workspace_id: WorkspaceId, *, device_id: DeviceId | None = None
) -> StoredLead | None:
    """The first lead of the workspace or of one of its devices: what a preview shows when nobody chose one."""
    found = await page_after(connection, workspace_id, device_id, after=LeadId(0), size=1)
    return found[0] if found else None


async def count_leads(connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId | None = None) -> int:
    """How many leads the workspace has, or one of its devices."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM leads WHERE workspace_id = $1 AND ($2::bigint IS NULL OR device_id = $2)",
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
        f"SELECT {_COLUMNS} FROM leads l WHERE l.workspace_id = $1 AND l.id > $2 {which} ORDER BY l.id LIMIT $3",
        workspace_id,
        after,
        size,
        *(() if device_id is None else (device_id,)),
    )
    return [_lead(row) for row in rows]


async def attribute_keys(connection: Connection, workspace_id: WorkspaceId) -> list[str]:
    """Every attribute some lead of the workspace has had, sorted."""
    found: list[str] | None = await connection.fetchval(
        "SELECT attribute_keys FROM workspaces WHERE id = $1", workspace_id
    )
    return found or []
