"""Use cases of senders: have one rest, so that it gives its shards back and takes none, and have it work again.

What is wished stands in SQL; the sender obeys at its next turn, which a nudge makes come at once. Nothing can be lost
by it: it claims nothing more, waits for the answers that are on their way, and only then gives each shard back, as it
does when senders come and go. For who runs the installation, never for a member.
"""

from typing import Protocol

from fleetcast.errors import NotFound
from fleetcast.runtime import Runtime
from fleetcast.store import audit, processes
from fleetcast.store.processes import Process

__all__ = ["Decision", "drain_sender", "resume_sender"]


class Decision(Protocol):
    """What can be decided about a sender."""

    async def __call__(self, runtime: Runtime, name: str, *, actor: str) -> Process:
        """Decide it. Raises NotFound."""


async def drain_sender(runtime: Runtime, name: str, *, actor: str) -> Process:
    """Have a sender rest until somebody resumes it, or it ends. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        if await processes.drain(connection, name, actor):
            await audit.record(connection, None, actor, "sender.drain", name)
        found = await processes.sender(connection, name)
    return await _told(runtime, found, name)


async def resume_sender(runtime: Runtime, name: str, *, actor: str) -> Process:
    """Have a sender take its share of the shards again. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        if await processes.resume(connection, name):
            await audit.record(connection, None, actor, "sender.resume", name)
        found = await processes.sender(connection, name)
    return await _told(runtime, found, name)


async def _told(runtime: Runtime, found: Process | None, name: str) -> Process:
    if found is None:
        raise NotFound(
            f"There is no sender '{name}'. It may have ended; `fleetcast process list` shows those that run."
        )
    await runtime.nudges.shares()
    return found
