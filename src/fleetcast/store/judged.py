"""What the table says of the messages of simulated devices, for the comparison with the ledger."""

from fleetcast.store.connection import Connection

OUTCOMES = """
SELECT b.id, b.sent_at IS NOT NULL AS sent FROM broadcast_messages b JOIN devices d ON d.id = b.device_id
WHERE d.transport = 'simulator' AND (b.sent_at IS NOT NULL
  OR b.status IN ('skipped', 'cancelled') OR (b.status = 'failed' AND b.reason <> 'unconfirmed'))"""


async def outcomes(connection: Connection) -> tuple[set[int], set[int]]:
    """(messages that were sent, messages that certainly were not)."""
    sent: set[int] = set()
    never: set[int] = set()
    for row in await connection.fetch(OUTCOMES):
        (sent if row["sent"] else never).add(row["id"])
    return sent, never
