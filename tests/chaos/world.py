"""A fleet whose servers belong to the test and stand behind a network that can be bad."""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import asyncpg

from acceptance.proxy import Proxy
from fleetcast.domain.identifiers import CampaignId
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.queue.client import connect
from fleetcast.runtime import open_runtime
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import create_campaign
from fleetcast.settings import Settings
from fleetcast.store.invariants import broken_invariants
from fleetcast.store.schema import migrate
from fleetcast.transports.simulator.ledger import Ledger, LedgerSummary, RecordKind
from tests.process_tree import eventually
from tests.running import Fleet, running_fleet

DEVICES, EACH, DELAY = 5, 20, 0.15
LEASE_SECONDS = 4.0
PATIENCE = 3.0
"""Seconds that a statement may take here, in place of eight."""
POSTGRES = {"shared_buffers": "64MB", "fsync": "off", "autovacuum_naptime": "60s"}
"""The machine stays up in these tests, so what was written survives the servers."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything running; `postgres` and `redis` are the ways to the servers."""

    servers: EmbeddedServers
    fleet: Fleet
    postgres: Proxy
    redis: Proxy
    dsn: str
    """Past the network."""

    def accepted(self) -> int:
        """How many messages the ledger has accepted."""
        return self.fleet.ledger.read_bytes().count(b'"kind": "accepted"')

    async def campaign(self) -> CampaignId:
        """A campaign that has just begun to go out."""
        for n in range(DEVICES):
            device = await self.fleet.device(f"Shop {n}", delay=DELAY)
            people = "".join(f"Person {i},+6012{n:03}{i:04}\n" for i in range(EACH))
            await self.fleet.leads(device, f"name,phone\n{people}")
        runtime, workspace = self.fleet.runtime, self.fleet.workspace.id
        made = await create_campaign(
            runtime, workspace, {"title": "Sale", "body": "Hello {{ name }}", "schedule": "now"}, actor="test"
        )
        await launch_campaign(runtime, workspace, made.id, actor="test")
        await eventually(lambda: self.accepted() >= 2 * DEVICES, "it has begun")
        return made.id

    async def goes_on(self, within: float, by: int = 2 * DEVICES) -> None:
        """More is accepted from now on."""
        before = self.accepted()
        await eventually(lambda: self.accepted() >= before + by, "sending goes on", within)

    async def ends_well(self, campaign: CampaignId) -> None:
        """Everybody was written to once, no device faster than its pace, and every promise holds."""
        await eventually(lambda: self.fleet.has_finished(campaign), "the campaign finishes", 90)
        assert await self.fleet.count(campaign, "sent") == DEVICES * EACH
        assert (await self.fleet.judge()).holds
        records = list(Ledger.read(self.fleet.ledger))
        summary = LedgerSummary.of(records)
        assert (summary.duplicates, summary.accepted_after_seal) == ({}, ())
        accepted = [record for record in records if record.kind is RecordKind.ACCEPTED]
        assert len({record.recipient for record in accepted}) == len(accepted) == DEVICES * EACH
        of_device = defaultdict(list)
        for record in accepted:
            of_device[record.device].append(record.at)
        gaps = [after - before for times in of_device.values() for before, after in pairwise(times)]
        assert min(gaps) >= DELAY - 0.005, min(gaps)
        async with self.fleet.runtime.db.connection() as connection:
            broken = await broken_invariants(connection)
        assert not broken, broken

    async def kill(self, name: str, number: signal.Signals) -> None:
        """End a server by a signal and wait until it is gone."""
        pid = self.servers.postgres_pid if name == "PostgreSQL" else self.servers.valkey_pid
        assert pid is not None
        os.kill(pid, number)
        await eventually(lambda: name in self.servers.check(), f"{name} is gone")

    async def revive(self) -> None:
        """Start the server again that was killed."""
        assert await asyncio.to_thread(self.servers.restart_dead)

    async def empty_redis(self) -> None:
        """FLUSHALL."""
        client = connect(self.servers.redis_url)
        await client.flushall()
        await client.aclose()


async def make_template(servers: EmbeddedServers) -> None:
    """The schema, once for all worlds on these servers."""
    await migrate(servers.database_url)


@asynccontextmanager
async def new_world(servers: EmbeddedServers, short: Path, folder: Path) -> AsyncIterator[World]:
    """A fresh database behind a network, and a fleet on it."""
    own = uuid4().hex[:8]
    postgres = parse_qs(urlsplit(servers.database_url).query)["host"][0]
    dsn = servers.database_url.replace("/fleetcast?", f"/world_{own}?", 1)
    boss = await asyncpg.connect(servers.database_url.replace("/fleetcast?", "/postgres?", 1))
    await boss.execute(f"CREATE DATABASE world_{own} TEMPLATE fleetcast STRATEGY FILE_COPY")
    await boss.close()
    socket = short / own
    (socket / "run").mkdir(parents=True)
    name = ".s.PGSQL.5432"
    async with AsyncExitStack() as stack:
        way = await stack.enter_async_context(Proxy(socket / name, Path(postgres) / name))
        other = await stack.enter_async_context(Proxy(socket / "redis.sock", Path(urlsplit(servers.redis_url).path)))
        settings = Settings(
            database_url=dsn.replace(dsn.partition("host=")[2], str(socket)),
            redis_url=f"unix://{socket}/redis.sock",
            redis_prefix=own,
            data=socket,
            lease_seconds=LEASE_SECONDS,
        )
        runtime = await stack.enter_async_context(open_runtime(settings, patience=PATIENCE))
        fleet = await stack.enter_async_context(running_fleet(runtime, folder))
        yield World(servers, fleet, way, other, dsn)
