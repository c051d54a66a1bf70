"""Who this installation is: the id that its references carry, and the nodes that belong to it."""

from fleetcast.store.connection import Connection


async def install_id(connection: Connection) -> str:
    """Eight characters, drawn when the database was made."""
    value: str = await connection.fetchval("SELECT install_id FROM installation")
    return value


async def note_node(connection: Connection, node_id: str, name: str) -> None:
    """A process of this node has started; `name` is the machine's, for people."""
    await connection.execute(
        "INSERT INTO nodes (id, name) VALUES ($1, $2) "
        "ON CONFLICT (id) DO UPDATE SET name = excluded.name, seen_at = fleetcast_now()",
        node_id,
        name,
    )
