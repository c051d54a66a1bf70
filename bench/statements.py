"""Where PostgreSQL's time goes, by statement: pg_stat_statements, on request, because counting costs a few percent."""

from fleetcast.runtime import Runtime

_TOP = """
SELECT calls, rows, total_exec_time, shared_blks_hit, wal_bytes, regexp_replace(query, '\\s+', ' ', 'g') AS query
FROM pg_stat_statements WHERE calls > 0 ORDER BY total_exec_time DESC LIMIT 12"""


def settings(wanted: bool) -> dict[str, str]:
    """What PostgreSQL must be started with."""
    return {"shared_preload_libraries": "pg_stat_statements"} if wanted else {}


async def reset(runtime: Runtime, wanted: bool) -> None:
    """Count from now on."""
    if wanted:
        async with runtime.db.connection() as connection:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            await connection.execute("SELECT pg_stat_statements_reset()")


async def read(runtime: Runtime, wanted: bool, messages: int) -> list[dict[str, object]]:
    """The dearest statements since `reset`, the dearest first, with what each costs a message."""
    if not wanted:
        return []
    async with runtime.db.connection() as connection:
        rows = await connection.fetch(_TOP)
    return [
        {
            "us_a_message": round(row["total_exec_time"] * 1000 / messages, 2),
            "calls": row["calls"],
            "rows_a_call": round(row["rows"] / row["calls"], 1),
            "ms_a_call": round(row["total_exec_time"] / row["calls"], 2),
            "pages_a_message": round(row["shared_blks_hit"] / messages, 1),
            "wal_bytes_a_message": round(float(row["wal_bytes"]) / messages),
            "statement": row["query"][:160],
        }
        for row in rows
    ]
