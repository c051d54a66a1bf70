"""Whether a request has changed a row: a digest of every table, one for each workspace.

Tables are found in the database, so that a new one is watched without being named; one whose rows belong to a
workspace through something else says so in `THROUGH`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store.connection import Connection, Database


@dataclass(frozen=True, slots=True)
class Digest:
    """What stands in all tables at one time."""

    rows: Mapping[tuple[str, int | None], str]
    """(table, workspace or None) → a sum over its rows."""
    writers: str
    """How many transactions of the whole server had written when it was taken."""


THROUGH = {
    "workspaces": "t.id",
    "message_attempts": "(SELECT m.workspace_id FROM broadcast_messages m WHERE m.id = t.message_id)",
    "campaign_tallies": "(SELECT c.workspace_id FROM campaigns c WHERE c.id = t.campaign_id)",
    "history_marks": "(SELECT c.workspace_id FROM campaigns c WHERE c.id = t.campaign_id)",
    "bulk_edit_changes": "(SELECT e.workspace_id FROM bulk_edits e WHERE e.id = t.edit_id)",
    "campaign_newcomers": "(SELECT c.workspace_id FROM campaigns c WHERE c.id = t.campaign_id)",
}
QUIET = {"sessions": {"seen_at"}, "api_keys": {"used_at"}}
"""Columns that merely asking changes."""
LEFT_OUT = frozenset({"sign_in_failures", "processes"})
"""Counts of tries, and processes that tell of themselves."""

_COLUMNS = """
SELECT c.table_name, array_agg(c.column_name::text ORDER BY c.ordinal_position) AS columns
FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' GROUP BY 1 ORDER BY 1"""


async def digest(db: Database, last: Digest | None = None) -> Digest:
    """What stands in all tables now; `last` again if no transaction has written since, which is quickly asked."""
    async with db.connection() as connection:
        # Only what writes has a number, and this is the one after the highest that has ended.
        writers = await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
        if last is not None and last.writers == writers:
            return last
        if db.dsn not in _statements:
            _statements[db.dsn] = await _statement(connection)
        rows = await connection.fetch(_statements[db.dsn])
    return Digest({(row["name"], row["workspace"]): row["told"] for row in rows}, writers)


def differences(before: Digest, after: Digest, *, besides: WorkspaceId | None = None) -> list[str]:
    """Tables of which something differs; not those of the workspace `besides`, where the asker may do what they do."""
    was, now = before.rows, after.rows
    keys = {key for key in was.keys() | now.keys() if besides is None or key[1] != besides}
    return sorted(
        {f"{table} of {place}" for table, place in keys if was.get((table, place)) != now.get((table, place))}
    )


_statements: dict[str, str] = {}
"""By database: the schema stays as it is, and a statement that is the same again is planned once."""


async def _statement(connection: Connection) -> str:
    parts = []
    for table, columns in await connection.fetch(_COLUMNS):
        if table in LEFT_OUT:
            continue
        place = THROUGH.get(table, "t.workspace_id" if "workspace_id" in columns else "NULL::bigint")
        told = ", ".join(f't."{c}"' for c in columns if c not in QUIET.get(table, ()))
        parts.append(
            f"SELECT '{table}' AS name, place AS workspace, md5(string_agg(one, '' ORDER BY one)) AS told "
            f'FROM (SELECT {place} AS place, md5(ROW({told})::text) AS one FROM "{table}" t) AS r GROUP BY place'
        )
    return " UNION ALL ".join(parts)
