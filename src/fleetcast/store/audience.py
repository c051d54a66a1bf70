"""Who a campaign reaches: one predicate, asked by the preview and by the planner, so that both always agree.

Separate from planning because counting must never drift from planning: neither spells a condition of its own.

One person who is several leads (`leads.shared`) gets one copy: from the device that last wrote to that person, else
the lead with the lowest id. The choice is made by person, not by lead, so a choice that changes between two chunks
can neither drop a person nor add a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from fleetcast.domain.campaign import NicheMatch, TargetStatus
from fleetcast.domain.identifiers import DeviceId, LeadId, WorkspaceId
from fleetcast.errors import Unavailable
from fleetcast.store.connection import HOT_SESSION, Connection
from fleetcast.store.leads import LEAD_VARIABLE_SQL, LEAD_VARIABLES_SQL

SHARE_SUPPRESSIONS = "SELECT pg_advisory_xact_lock_shared(7215302, $1::int)"
"""$1 workspace. Held by whoever plans; a stop word takes the same lock exclusively (`pg_advisory_xact_lock`), so it
meets every row that was planned before it and none is planned behind its back."""

KEYED = "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in HOT_SESSION.items())
"""For a transaction that counts or plans: a lead's device and suppression by their keys, whatever ANALYZE has seen."""
BY_KEY = f"{KEYED}; SET LOCAL enable_sort = on"
"""For a transaction that locks rows in the order of their ids: everything by its key. Some thousand rows are sorted in
no time; where that is forbidden, a plan rather walks over a whole table in the order that is wanted."""
LONGEST_COUNT_SECONDS = 30
"""A count that takes longer is given up: an old open snapshot slows the whole queue."""


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom a campaign is for. Consent and suppression are not part of it: they always hold."""

    niches: tuple[str, ...] = ()
    """Whole names; none: everybody."""
    niche_match: NicheMatch = NicheMatch.ANY
    target_status: TargetStatus = TargetStatus.ALL
    device_ids: tuple[DeviceId, ...] | None = None
    """None: all devices of the workspace."""
    newest_device_id: int | None = None
    """Devices with a higher id came after the start and are not part of it."""

    def arguments(self) -> tuple[object, ...]:
        """The parameters $2 to $6 of the predicate."""
        return (
            list(self.niches),
            self.niche_match is NicheMatch.ALL,
            None if self.target_status is TargetStatus.ALL else self.target_status.value,
            None if self.device_ids is None else list(self.device_ids),
            self.newest_device_id,
        )


# `l` is leads, `d` its device, of the same workspace by the foreign key: to say so again would have the planner of a
# fresh database walk all devices of the workspace for each lead.
# $1 workspace, $2 niches, $3 all of them, $4 target status, $5 devices, $6 newest device.
ADDRESSED = """l.workspace_id = $1 AND l.deleted_at IS NULL AND d.id = l.device_id AND d.deleted_at IS NULL
    AND ($5::bigint[] IS NULL OR l.device_id = ANY ($5::bigint[]))
    AND ($6::bigint IS NULL OR l.device_id <= $6::bigint)
    AND (cardinality($2::text[]) = 0
      OR CASE WHEN $3::boolean THEN l.niches @> $2::text[] ELSE l.niches && $2::text[] END)
    AND ($4::lead_status IS NULL OR l.target_status = $4::lead_status)"""
"""Those the campaign is meant for."""

SUPPRESSED = "EXISTS (SELECT 1 FROM suppressions x WHERE x.workspace_id = l.workspace_id AND x.recipient = l.phone)"
WRITABLE = f"l.consent <> 'refused' AND NOT {SUPPRESSED}"
"""Those who may be written to."""

# Best first among the leads of one person.
PREFERENCE = (
    """(SELECT max(m.sent_at) FROM broadcast_messages m WHERE m.lead_id = l.id AND m.shared) DESC NULLS LAST, l.id"""
)


# The blanks that `str.strip` takes away, spelt out: PostgreSQL's own idea of a blank depends on its locale.
_BLANKS = "E'" + "".join(f"\\u{code:04x}" for code in range(1, 0x3001) if chr(code).isspace()) + "'"


def missing(variables: str, required: str) -> str:
    """SQL for `fleetcast.domain.content.is_missing`: whether one of the `required` (text[]) is absent, null or blank
    in `variables` (jsonb).
    """
    value = f"coalesce({variables} ->> k.name, '')"
    return f"EXISTS (SELECT 1 FROM unnest({required}) AS k (name) WHERE btrim({value}, {_BLANKS}) = '')"


def lacks(required: str) -> str:
    """The same of the lead `l` as it stands, whose variables need not be put together for it."""
    value = f"coalesce({LEAD_VARIABLE_SQL}, '')"
    return f"EXISTS (SELECT 1 FROM unnest({required}) AS k (name) WHERE btrim({value}, {_BLANKS}) = '')"


CHOSEN = f"""
addressed AS MATERIALIZED (
  SELECT l.id, l.device_id, l.phone, l.shared, l.consent = 'refused' AS refused, {SUPPRESSED} AS suppressed,
    CASE WHEN cardinality($7::text[]) > 0 THEN {lacks("$7::text[]")} ELSE false END AS lacking
  FROM leads l, devices d WHERE {ADDRESSED}),
chosen AS MATERIALIZED (
  SELECT l.id, l.device_id, l.phone, l.lacking FROM addressed l WHERE NOT (l.refused OR l.suppressed OR l.shared)
  UNION ALL
  (SELECT DISTINCT ON (l.phone) l.id, l.device_id, l.phone, l.lacking FROM addressed l
   WHERE l.shared AND NOT (l.refused OR l.suppressed) ORDER BY l.phone, {PREFERENCE}))"""

_COUNT = f"""
WITH {CHOSEN},
of_device AS (
  SELECT device_id, count(*) AS n, count(*) FILTER (WHERE lacking) AS lacking FROM chosen GROUP BY device_id)
SELECT coalesce((SELECT sum(n) FROM of_device), 0)::bigint AS recipients,
  (SELECT count(*) FROM addressed) AS leads,
  coalesce((SELECT sum(lacking) FROM of_device), 0)::bigint AS lacking,
  (SELECT count(DISTINCT phone) FROM addressed WHERE suppressed) AS suppressed,
  (SELECT count(DISTINCT a.phone) FROM addressed a
   WHERE a.refused AND NOT a.suppressed AND NOT EXISTS (SELECT 1 FROM chosen c WHERE c.phone = a.phone)) AS refused,
  (SELECT min(id) FROM chosen WHERE NOT lacking) AS sample,
  coalesce((SELECT array_agg(device_id ORDER BY device_id) FROM of_device), '{{}}') AS devices,
  coalesce((SELECT array_agg(n ORDER BY device_id) FROM of_device), '{{}}') AS counts"""

_ANYBODY = f"""SELECT EXISTS (SELECT 1 FROM leads l, devices d WHERE {ADDRESSED} AND {WRITABLE})"""


@dataclass(frozen=True, slots=True)
class Headcount:
    """An audience in numbers. Everything counts people, not leads."""

    recipients: int
    """How many rows planning makes."""
    leads: int
    """The one figure that counts leads and not people: those that match."""
    lacking: int
    """Of the recipients: those who lack a variable of the text and will be skipped."""
    suppressed: int
    """Left out because they are on the workspace's suppression list."""
    refused: int
    """Left out because they refused consent."""
    by_device: dict[DeviceId, int]
    sample: LeadId | None
    """The first lead whose text can be shown."""


async def count(
    connection: Connection, workspace_id: WorkspaceId, audience: Audience, required: Sequence[str]
) -> Headcount:
    """Count an audience exactly as planning would choose it now. `required`: variables the text cannot do without.

    Looks at every lead of the workspace once. Needs a transaction, whose statements it bounds. Raises Unavailable.
    """
    await connection.execute(f"{KEYED}; SET LOCAL statement_timeout = '{LONGEST_COUNT_SECONDS}s'")
    try:
        return await _counted(connection, workspace_id, audience, required)
    except asyncpg.QueryCanceledError:
        raise Unavailable(
            f"Counting the audience took more than {LONGEST_COUNT_SECONDS} seconds: try again when there is less to do."
        ) from None


async def count_few(
    connection: Connection, workspace_id: WorkspaceId, audience: Audience, required: Sequence[str]
) -> Headcount | None:
    """The same count by whatever plan and within whatever time the caller's transaction has chosen: for an audience
    that is known to be small, which an index of niches or devices finds without a look at all others. None when that
    time was not enough.
    """
    try:
        async with connection.transaction():
            return await _counted(connection, workspace_id, audience, required)
    except asyncpg.QueryCanceledError:
        return None


async def _counted(
    connection: Connection, workspace_id: WorkspaceId, audience: Audience, required: Sequence[str]
) -> Headcount:
    row = await connection.fetchrow(_COUNT, workspace_id, *audience.arguments(), list(required))
    assert row is not None
    return Headcount(
        recipients=row["recipients"],
        leads=row["leads"],
        lacking=row["lacking"],
        suppressed=row["suppressed"],
        refused=row["refused"],
        by_device={DeviceId(d): n for d, n in zip(row["devices"], row["counts"], strict=True)},
        sample=None if row["sample"] is None else LeadId(row["sample"]),
    )


async def is_anybody(connection: Connection, workspace_id: WorkspaceId, audience: Audience) -> bool:
    """Whether the audience has at least one person who may be written to."""
    found: bool = await connection.fetchval(_ANYBODY, workspace_id, *audience.arguments())
    return found


async def variables_of(connection: Connection, workspace_id: WorkspaceId, lead_id: LeadId) -> dict[str, object]:
    """The variables a lead would be planned with."""
    found: dict[str, object] | None = await connection.fetchval(
        f"SELECT {LEAD_VARIABLES_SQL} FROM leads l WHERE l.workspace_id = $1 AND l.id = $2",
        workspace_id,
        lead_id,
    )
    return found or {}
