"""Leads by what they have in common: a page of them in a stable order, a count, and a walk over all.

No statement here looks further than `LOOK` leads at a time. What an index leads to (a device, the beginning of a
number or a name) comes at once; for what has to be looked at lead by lead (a niche, an attribute) a page may come back
with fewer than it has room for, and says how far it has looked. Separate from `leads`, which knows them one by one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from fleetcast.domain.identifiers import DeviceId, LeadId, WorkspaceId
from fleetcast.domain.lead import StoredLead
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.store.connection import Connection, Row
from fleetcast.store.leads import COLUMNS, lead

LOOK = 20_000
"""Leads that one page looks at."""
_NAME = 'lower(l.name) COLLATE "C"'
_LAST_SIGN = "\U0010ffff"
"""Sorts behind everything that a name goes on with."""

_ORDERS = {"id": ("l.id",), "phone": ("l.phone", "l.id"), "name": (_NAME, "l.id"), "device": ("l.device_id", "l.id")}
"""Each ends in the id, so that a place in it is one lead's."""


class Found(NamedTuple):
    """A page of leads."""

    leads: list[StoredLead]
    reached: LeadId | None
    """The last lead that was looked at; None: there are no more."""


class Walked(NamedTuple):
    """The next leads of a walk by device."""

    leads: list[tuple[DeviceId, LeadId]]
    reached: tuple[DeviceId, LeadId] | None
    """How far it has looked; None: to the end."""


def _after_number(beginning: str) -> str | None:
    """The number that sorts behind every number with this beginning; None where there is none."""
    digits = beginning.rstrip("9")
    return digits[:-1] + str(int(digits[-1]) + 1) if len(digits) > 1 else None


def _conditions(workspace_id: WorkspaceId, wanted: LeadFilter, arguments: list[object]) -> str:
    """SQL of the filter; its values go behind `arguments`."""

    def place(value: object) -> str:
        arguments.append(value)
        return f"${len(arguments)}"

    said = [f"l.workspace_id = {place(workspace_id)} AND l.deleted_at IS NULL"]
    if wanted.device_id is not None:
        said.append(f"l.device_id = {place(wanted.device_id)}")
    if wanted.ids:
        said.append(f"l.id = ANY ({place(list(wanted.ids))}::bigint[])")
    if wanted.phone is not None:
        said.append(f"l.phone = {place(wanted.phone)}")
    if wanted.numbers:
        spans = []
        for beginning in wanted.numbers:
            end = _after_number(beginning)
            span = f"l.phone >= {place(beginning)}" + (f" AND l.phone < {place(end)}" if end else "")
            spans.append(f"({span})")
        said.append(f"({' OR '.join(spans)})")
    if wanted.name:
        at = place(wanted.name)
        said.append(f"l.name <> '' AND {_NAME} >= lower({at}) AND {_NAME} < lower({at}) || {place(_LAST_SIGN)}")
    if wanted.niche is not None:
        said.append(f"l.niches @> ARRAY[{place(wanted.niche)}::text]")
    if wanted.target_status is not None:
        said.append(f"l.target_status = {place(wanted.target_status.value)}::text::lead_status")
    if wanted.consent is not None:
        said.append(f"l.consent = {place(wanted.consent.value)}::text::lead_consent")
    if wanted.opted_out is not None:
        listed = "EXISTS (SELECT FROM suppressions x WHERE x.workspace_id = l.workspace_id AND x.recipient = l.phone)"
        said.append(listed if wanted.opted_out else f"NOT {listed}")
    if wanted.attribute is not None:
        said.append(f"lower(l.attributes ->> {place(wanted.attribute)}::text) = lower({place(wanted.value)}::text)")
    return " AND ".join(said)


async def _place(connection: Connection, workspace_id: WorkspaceId, order: str, lead_id: int) -> tuple[Any, ...]:
    """Where a lead stands in an order; the beginning where there is no such lead."""
    keys = ", ".join(_ORDERS[order])
    row = await connection.fetchrow(
        f"SELECT {keys} FROM leads l WHERE l.workspace_id = $1 AND l.id = $2", workspace_id, lead_id
    )
    return tuple(row) if row else {"phone": ("", 0), "name": ("", 0), "device": (0, 0)}.get(order, (lead_id,))


def _order(wanted: LeadFilter) -> str:
    return "phone" if wanted.numbers else "name" if wanted.name else "id"


async def page(
    connection: Connection, workspace_id: WorkspaceId, wanted: LeadFilter, *, after: int, limit: int
) -> Found:
    """Leads behind the lead `after` (0: from the beginning): by number or by name where that is what is looked for,
    else by id.
    """
    order = _order(wanted)
    start = (after,) if order == "id" else await _place(connection, workspace_id, order, after)
    rows, reached = await _look(connection, workspace_id, wanted, order, start, COLUMNS, limit + 1)
    found = [lead(row) for row in rows]
    if len(found) > limit:
        return Found(found[:limit], found[limit - 1].id)
    return Found(found, None if reached is None else LeadId(reached[-1]))


async def walk(
    connection: Connection,
    workspace_id: WorkspaceId,
    wanted: LeadFilter,
    *,
    after: tuple[int, int],
    upto: LeadId,
    limit: int,
) -> Walked:
    """The ids of leads, device by device, behind the place `after`; none with an id above `upto`."""
    columns = "l.device_id, l.id"
    rows, reached = await _look(
        connection, workspace_id, wanted, "device", after, columns, limit, upto=upto, always=not wanted.ids
    )
    found = [(DeviceId(row["device_id"]), LeadId(row["id"])) for row in rows]
    if len(found) == limit:
        return Walked(found, found[-1])
    end = None if reached is None else (DeviceId(reached[0]), LeadId(reached[1]))
    return Walked(found, end)


async def _look(
    connection: Connection,
    workspace_id: WorkspaceId,
    wanted: LeadFilter,
    order: str,
    start: Sequence[Any],
    columns: str,
    limit: int,
    *,
    upto: LeadId | None = None,
    always: bool = False,
) -> tuple[list[Row], tuple[Any, ...] | None]:
    """Rows behind a place in an order, and the place up to which was looked; None: to the end."""
    keys = _ORDERS[order]
    own = f"({', '.join(keys)})"
    bound: tuple[Any, ...] | None = None
    if always or wanted.needs_a_look:
        # The bound is found among all leads that the index of the order leads to, whatever else is wanted of them.
        arguments: list[object] = [*start]
        plain = LeadFilter(wanted.device_id, numbers=wanted.numbers, name=wanted.name)
        which = _conditions(workspace_id, plain, arguments).replace(" AND l.deleted_at IS NULL", "")
        behind = f"({', '.join(f'${n + 1}' for n in range(len(start)))})"
        row = await connection.fetchrow(
            f"SELECT {', '.join(keys)} FROM leads l WHERE {which} AND {own} > {behind} "
            f"ORDER BY {', '.join(keys)} OFFSET {LOOK - 1} LIMIT 1",
            *arguments,
        )
        bound = tuple(row) if row else None
    arguments = [*start]
    which = _conditions(workspace_id, wanted, arguments)
    behind = f"({', '.join(f'${n + 1}' for n in range(len(start)))})"
    which += f" AND {own} > {behind}"
    if bound is not None:
        first = len(arguments)
        arguments += bound
        which += f" AND {own} <= ({', '.join(f'${first + n + 1}' for n in range(len(bound)))})"
    if upto is not None:
        arguments.append(upto)
        which += f" AND l.id <= ${len(arguments)}"
    rows = await connection.fetch(
        f"SELECT {columns} FROM leads l WHERE {which} ORDER BY {', '.join(keys)} LIMIT {int(limit)}", *arguments
    )
    return rows, bound


async def count(connection: Connection, workspace_id: WorkspaceId, wanted: LeadFilter, most: int | None = None) -> int:
    """How many leads are meant; counted no further than `most` where it is given."""
    arguments: list[object] = []
    which = _conditions(workspace_id, wanted, arguments)
    arguments.append(most)
    found: int = await connection.fetchval(
        f"SELECT count(*) FROM (SELECT FROM leads l WHERE {which} LIMIT ${len(arguments)}) counted", *arguments
    )
    return found


async def last(connection: Connection, workspace_id: WorkspaceId) -> LeadId:
    """The highest id that a lead of the workspace has; 0 without any."""
    found: int = await connection.fetchval(
        "SELECT coalesce(max(id), 0) FROM leads WHERE workspace_id = $1", workspace_id
    )
    return LeadId(found)
