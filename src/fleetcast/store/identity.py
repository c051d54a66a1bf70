"""Who this installation is: the id that its references carry."""

from fleetcast.store.connection import Connection


async def install_id(connection: Connection) -> str:
    """Eight characters, drawn when the database was made."""
    value: str = await connection.fetchval("SELECT install_id FROM installation")
    return value
