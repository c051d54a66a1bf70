"""How busy the senders of all machines are, and how many are wanted."""

from fleetcast.domain.scaling import wanted_senders
from fleetcast.runtime import Runtime
from fleetcast.store import processes

HEARD_WITHIN = 10.0
"""Seconds within which a sender has said how busy it is."""


async def senders_wanted(runtime: Runtime) -> int:
    """Senders that the whole fleet wants now, by the shares of a core that its senders use. Raises Unavailable."""
    async with runtime.db.connection() as connection:
        alive = await processes.alive(connection, HEARD_WITHIN)
    return wanted_senders(p.figures.get("busy", 0.0) for p in alive if p.kind == "sender")
