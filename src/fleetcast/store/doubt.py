"""Attempts in doubt, with what is needed to ask or to wait: reference, transport, age."""

from dataclasses import dataclass

from fleetcast.store.connection import Connection

IN_DOUBT = """
SELECT b.id, b.attempts, b.crashes, a.reference, d.transport,
  extract(epoch FROM fleetcast_now() - b.in_doubt_since)::float8 AS age
FROM broadcast_messages b JOIN devices d ON d.id = b.device_id
  LEFT JOIN message_attempts a ON a.message_id = b.id AND a.attempt = b.attempts
WHERE b.in_doubt_since IS NOT NULL AND b.status = 'in_doubt' AND b.id > $1 ORDER BY b.id LIMIT $2"""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A message of which nobody knows whether it left. `age` in seconds."""

    id: int
    attempt: int
    crashes: int
    reference: str
    transport: str
    age: float


async def in_doubt(connection: Connection, after: int, limit: int) -> list[Doubt]:
    """Open doubts by id, those after `after`."""
    return [Doubt(*row) for row in await connection.fetch(IN_DOUBT, after, limit)]
