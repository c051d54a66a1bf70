"""One reading of the whole fleet: what each process says of itself, and what is counted in SQL."""

from dataclasses import dataclass

from fleetcast.runtime import Runtime
from fleetcast.services.liveness import Trouble, troubles
from fleetcast.store import gauges, processes
from fleetcast.store.gauges import Gauges
from fleetcast.store.processes import Process


@dataclass(frozen=True, slots=True)
class Reading:
    """The fleet at one instant."""

    processes: list[Process]
    """Those that live and those that are gone and not forgotten."""
    troubles: list[Trouble]
    gauges: Gauges
    queue_age: float | None
    """Seconds; None when it could not be found out in time."""


async def read(runtime: Runtime) -> Reading:
    """Read everything once. Raises Unavailable when PostgreSQL does not answer."""
    async with runtime.db.connection() as connection:
        known = await processes.known(connection)
        counted = await gauges.look(connection)
    async with runtime.db.transaction() as connection:
        age = await gauges.queue_age(connection)
    return Reading(known, troubles(known), counted, age)
