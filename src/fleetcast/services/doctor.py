"""The check-up: what is installed and where, whether the parts answer, and whether every promise holds.

It changes nothing and may run at any time beside a running Fleetcast.
"""

import platform
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from fleetcast.embedded.data_directory import node_id
from fleetcast.queue import client as redis_client
from fleetcast.runtime import Runtime
from fleetcast.services.liveness import troubles
from fleetcast.settings import Mode
from fleetcast.store import health, invariants, linked_sessions, processes, schema
from fleetcast.store.connection import server_name
from fleetcast.store.invariants import Violation

__all__ = ["About", "Checkup", "Concern", "Promise", "Versions", "Violation", "about", "examine"]

LITTLE_DISK = 1024**3
"""Bytes free below which PostgreSQL is in danger soon."""
CLOCKS_APART = timedelta(seconds=5)
EVENTS_LATE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Versions:
    """What is installed."""

    fleetcast: str
    python: str
    postgresql: str
    redis: str
    schema: str
    schema_expected: str


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are, and how much room there is. Servers by address, never with a password."""

    data: Path
    postgresql: str
    redis: str
    simulator_socket: Path
    disk_free_bytes: int | None
    """None: the data directory does not exist on this machine."""
    database_bytes: int


@dataclass(frozen=True, slots=True)
class Promise:
    """One invariant of the life cycle and whether it holds now."""

    invariant: int
    name: str
    violations: list[Violation]

    @property
    def holds(self) -> bool:
        """Whether nothing breaks it."""
        return not self.violations


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that works against people soon, in one sentence with what to do."""

    about: str
    sentence: str


@dataclass(frozen=True, slots=True)
class About:
    """What is installed, where, and how it does: a check-up without the promises, which costs little."""

    versions: Versions
    places: Places
    health: health.Health
    clock_difference: timedelta
    """This machine's clock minus the database's."""
    concerns: list[Concern]
    node: str | None
    """Id of this machine's data directory."""


@dataclass(frozen=True, slots=True)
class Checkup:
    """The result of one examination."""

    versions: Versions
    places: Places
    health: health.Health
    clock_difference: timedelta
    """This machine's clock minus the database's."""
    promises: list[Promise]
    concerns: list[Concern]

    @property
    def holds(self) -> bool:
        """Whether every promise holds; concerns do not count."""
        return all(p.holds for p in self.promises)


def _free_bytes(path: Path) -> int | None:
    try:  # with servers elsewhere the folder may not be made yet
        there = next(p for p in (path, *path.parents) if p.exists())
        return shutil.disk_usage(there).free
    except OSError:
        return None


async def about(runtime: Runtime) -> About:
    """Look at what is cheap to see. Raises Unavailable when PostgreSQL or Redis does not answer."""
    settings = runtime.settings
    assert settings.redis_url is not None  # open_runtime asked for both
    redis_version = await redis_client.check_server(settings.redis_url.get_secret_value())
    async with runtime.db.connection() as connection:
        here = runtime.clock.now() - runtime.clock.offset
        state = await health.look(connection)
        troubled = troubles(await processes.known(connection))
        away = [
            node
            for node in await linked_sessions.nodes(connection, 2 * settings.lease_seconds)
            if node.sessions and not node.is_there
        ]
    versions = Versions(
        fleetcast=version("fleetcast"),
        python=platform.python_version(),
        postgresql=state.postgres_version,
        redis=redis_version,
        schema=state.schema,
        schema_expected=schema.head(),
    )
    places = Places(
        data=settings.data,
        postgresql=server_name(runtime.db.dsn),
        redis=redis_client.server_name(settings.redis_url.get_secret_value()),
        simulator_socket=runtime.simulator_socket,
        disk_free_bytes=_free_bytes(settings.data),
        database_bytes=state.database_bytes,
    )
    difference = here - state.now
    concerns = list_concerns(versions, places, state, difference, production=settings.mode is Mode.PRODUCTION, now=here)
    concerns += [Concern("machines", _away(node)) for node in away]
    concerns += [Concern("processes", f"{trouble} Its log says more.") for trouble in troubled]
    node = node_id(settings.data) if settings.data.is_dir() else None  # looking makes nothing
    return About(versions, places, state, difference, concerns, node)


def _away(node: linked_sessions.Node) -> str:
    """A machine without a sender that has sessions of linked devices."""
    devices = "1 linked device" if node.sessions == 1 else f"{node.sessions:,} linked devices"
    return (
        f"{devices} can send only from {node.name}, where no sender is at work: start Fleetcast there. If it is lost "
        f"for good, `fleetcast node lost {node.name}` lets others take over; `fleetcast node list` says more."
    )


async def examine(runtime: Runtime) -> Checkup:
    """Look at everything once. Raises Unavailable when PostgreSQL or Redis does not answer."""
    found = await about(runtime)
    async with runtime.db.connection() as connection:
        promises = [
            Promise(check.invariant, check.name, await invariants.broken(connection, check))
            for check in invariants.CHECKS
        ]
    return Checkup(found.versions, found.places, found.health, found.clock_difference, promises, found.concerns)


def list_concerns(
    versions: Versions,
    places: Places,
    state: health.Health,
    difference: timedelta,
    *,
    production: bool,
    now: datetime,
) -> list[Concern]:
    """What a careful operator would want to hear, from facts already gathered."""
    found = []
    if versions.schema != versions.schema_expected:
        found.append(
            Concern(
                "schema", f"The schema is {versions.schema or 'empty'}: `fleetcast db migrate` brings it up to date."
            )
        )
    if places.disk_free_bytes is not None and places.disk_free_bytes < LITTLE_DISK:
        megabytes = places.disk_free_bytes // 1024**2
        found.append(Concern("disk", f"Only {megabytes:,} MB are free at {places.data}: make room before it is full."))
    if abs(difference) > CLOCKS_APART:
        apart = abs(difference).total_seconds()
        found.append(
            Concern("clock", f"This machine's clock and the database's are {apart:,.0f} s apart: synchronise them.")
        )
    if state.clock_offset:
        grave = "; production mode refuses to send with it" if production else ""
        found.append(
            Concern("clock", f"The database's time is moved by {state.clock_offset}, which only tests may do{grave}.")
        )
    if state.campaigns_running and not state.shards_leased:
        found.append(Concern("senders", "Campaigns are running but no sender is: start one with `fleetcast up`."))
    elif state.shards_leased and state.shards_leased < state.shards:
        without = state.shards - state.shards_leased
        found.append(Concern("senders", f"{without} of {state.shards} shards have no sender at this moment."))
    if state.oldest_waiting is not None and now - (state.oldest_waiting - state.clock_offset) > EVENTS_LATE:
        found.append(
            Concern("inbox", f"{state.inbox_waiting:,} inbound events wait, the oldest for more than 5 minutes.")
        )
    return found
