"""Whether Fleetcast can do its work now: both servers answer, the schema is the one the code was written for, and no
process stands still.

Separate from the page that reports it because load balancers, the doctor and the dashboard ask the same question.
"""

import asyncio

from fleetcast.errors import FleetcastError
from fleetcast.queue import client as queue
from fleetcast.runtime import Runtime
from fleetcast.services.liveness import troubles
from fleetcast.store import health, processes, schema

ANSWER_WITHIN = 5.0
"""Seconds a server has to answer."""


async def _database(runtime: Runtime) -> str | None:
    async with runtime.db.connection() as connection:
        version = await health.schema_version(connection)
    if version == schema.head():
        return None
    return f"The database has schema {version or 'none'}, this version of Fleetcast needs {schema.head()}."


async def _redis(runtime: Runtime) -> str | None:
    if runtime.settings.redis_url is not None:
        await queue.check_server(runtime.settings.redis_url.get_secret_value())
    return None


async def _processes(runtime: Runtime) -> dict[str, str]:
    async with runtime.db.connection() as connection:
        return {trouble.process: str(trouble) for trouble in troubles(await processes.known(connection))}


async def problems(runtime: Runtime) -> dict[str, str]:
    """What stands in the way, by server (`postgresql`, `redis`) or by name of a process, as sentences without secrets.
    Empty: ready. By which rule a process is named is said in `liveness`.
    """
    found: dict[str, str] = {}
    for name, ask in (("postgresql", _database), ("redis", _redis)):
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                trouble = await ask(runtime)
        except FleetcastError as error:
            trouble = str(error)
        except TimeoutError:
            trouble = f"No answer within {ANSWER_WITHIN:.0f} seconds."
        if trouble:
            found[name] = trouble
    if "postgresql" not in found:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                found |= await _processes(runtime)
        except (FleetcastError, TimeoutError):
            found["postgresql"] = "The server does not say which processes run."
    return found
