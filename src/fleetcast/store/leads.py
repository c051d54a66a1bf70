"""Leads: reading them, and what a text may print of one. Bulk writing is in `lead_merge`."""

from collections.abc import AsyncIterator

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
    async for page in pages(connection, workspace_id, device_id, size=1):
        return page[0]
    return None


async def count_leads(connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId | None = None) -> int:
    """How many leads the workspace has, or one of its devices."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM leads WHERE workspace_id = $1 AND ($2::bigint IS NULL OR device_id = $2)",
        workspace_id,
        device_id,
    )
    return found


async def pages(
    connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId | None = None, *, size: int = PAGE
) -> AsyncIterator[list[StoredLead]]:
    """All leads by id, `size` at a time; none of the pages is empty.

    Each page is a statement of its own, by key: a cursor's transaction would stay open for as long as somebody takes
    to read, and an old open transaction slows the message queue by half. A lead is never repeated; one that is added
    meanwhile may be missing.
    """
    # Two texts instead of an OR: each walks its own index in order.
    which = "l.workspace_id = $1 AND l.id > $2" + ("" if device_id is None else " AND l.device_id = $4")
    statement = f"SELECT {_COLUMNS} FROM leads l WHERE {which} ORDER BY l.id LIMIT $3"
    last = 0
    while rows := await connection.fetch(
        statement, workspace_id, last, size, *([] if device_id is None else [device_id])
    ):
        last = rows[-1]["id"]
        yield [_lead(row) for row in rows]


async def attribute_keys(connection: Connection, workspace_id: WorkspaceId) -> list[str]:
    """Every attribute some lead of the workspace has had, sorted."""
    found: list[str] | None = await connection.fetchval(
        "SELECT attribute_keys FROM workspaces WHERE id = $1", workspace_id
    )
    return found or []
