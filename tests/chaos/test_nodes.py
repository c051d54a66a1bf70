"""Three nodes on one PostgreSQL and one Valkey, each with a data directory of its own: real commands, killed and
stopped in turn while they send. The judge is the simulator's ledger.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetcast.domain.identifiers import CampaignId
from fleetcast.embedded.data_directory import node_id
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import create_campaign
from fleetcast.services.workspaces import create_workspace
from fleetcast.store.invariants import broken_invariants
from fleetcast.transports.simulator.launch import SimulatorProcess
from tests.running import Fleet, until

DEVICES, LEADS = 9, 60


class Node:
    """One machine: a data directory and the parts of Fleetcast that run there."""

    def __init__(self, runtime: Runtime, data: Path) -> None:
        self._runtime = runtime
        self.data = data
        (data / "run").mkdir(parents=True)
        self.parts: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def id(self) -> str:
        """As other nodes know it."""
        return node_id(self.data)

    def start(self, *parts: str) -> None:
        """Start `fleetcast PART` for each."""
        settings = self._runtime.settings
        assert settings.database_url and settings.redis_url  # noqa: PT018
        ours = {
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "REDIS_URL": settings.redis_url.get_secret_value(),
            "FLEETCAST_REDIS_PREFIX": settings.redis_prefix,
            "FLEETCAST_DATA": str(self.data),
            "FLEETCAST_SIMULATOR_SOCKET": str(self._runtime.simulator_socket),
            "FLEETCAST_LEASE_SECONDS": "2",
        }
        for part in parts:
            command = [sys.executable, "-m", "fleetcast", part, "--with-parent"]
            with (self.data / f"{part}.log").open("ab") as log:
                self.parts[part] = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=os.environ | ours
                )

    async def end(self, part: str, number: signal.Signals) -> int:
        """Send a signal to a part and wait for its end; its exit code."""
        child = self.parts.pop(part)
        child.send_signal(number)
        async with asyncio.timeout(30):
            code = await asyncio.to_thread(child.wait)
        if child.stdin is not None:
            child.stdin.close()
        return code

    async def lose(self) -> None:
        """The whole machine is gone from one moment to the next."""
        for part in list(self.parts):
            await self.end(part, signal.SIGKILL)


class Nodes:
    """The three of them, and what a person sees of them."""

    def __init__(self, fleet: Fleet, nodes: list[Node]) -> None:
        self.fleet = fleet
        self.nodes = nodes

    async def senders(self, many: int) -> None:
        """Wait until so many senders share all shards."""

        async def so() -> bool:
            async with self.fleet.runtime.db.connection() as connection:
                row = await connection.fetchrow(
                    "SELECT count(DISTINCT owner), count(*) FROM shards "
                    "WHERE owner IS NOT NULL AND expires_at > fleetcast_now()"
                )
            return row is not None and tuple(row) == (many, 64)

        await until(so)

    async def launch(self) -> CampaignId:
        """A campaign to everybody."""
        runtime, workspace = self.fleet.runtime, self.fleet.workspace.id
        for number in range(DEVICES):
            device = await self.fleet.device(f"Shop {number}", delay=0.1)
            rows = "".join(f"+6012{number:02}{n:05}\n" for n in range(LEADS))
            await self.fleet.leads(device, f"phone\n{rows}")
        campaign = await create_campaign(
            runtime, workspace, {"title": "Greetings", "body": "Hello", "schedule": "now"}, actor="test"
        )
        await launch_campaign(runtime, workspace, campaign.id, actor="test")
        return campaign.id

    async def sent(self, campaign: CampaignId, many: int) -> None:
        """Wait until so many were sent."""

        async def so() -> bool:
            return await self.fleet.count(campaign, "sent") >= many

        await until(so)

    async def everybody_got_it_once(self, campaign: CampaignId) -> None:
        """To the end: all promises hold."""
        await until(lambda: self.fleet.has_finished(campaign))
        assert await self.fleet.count(campaign, "sent") == DEVICES * LEADS
        verdict = await self.fleet.judge()
        assert verdict.holds
        assert verdict.accepted == DEVICES * LEADS
        async with self.fleet.runtime.db.connection() as connection:
            assert await broken_invariants(connection) == []


@pytest.fixture
async def three(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Nodes]:
    workspace = await create_workspace(runtime, "My shop", time_zone="Asia/Kuala_Lumpur", region="MY")
    ledger = tmp_path / "ledger.jsonl"
    nodes = [Node(runtime, tmp_path / name) for name in ("north", "south", "east")]
    async with SimulatorProcess(runtime.simulator_socket, ledger, latency_ms=(1, 5)):
        try:
            for node in nodes:
                node.start("sender", *(["scheduler"] if node is not nodes[2] else []))
            running = Nodes(Fleet(runtime, workspace, tmp_path, ledger), nodes)
            await running.senders(3)
            yield running
        finally:
            for node in nodes:
                await node.lose()


async def test_f03_three_nodes_of_which_one_is_lost_in_mid_campaign_send_everything_once(three: Nodes) -> None:
    campaign = await three.launch()
    await three.sent(campaign, 100)
    await three.nodes[0].lose()
    await three.senders(2)
    await three.everybody_got_it_once(campaign)
    async with three.fleet.runtime.db.connection() as connection:
        known = {row["id"] for row in await connection.fetch("SELECT id FROM nodes")}
    assert known >= {node.id for node in three.nodes}, "a node is known by its data directory, also when it is gone"


async def test_c15_a_rolling_restart_of_every_part_leaves_nothing_in_doubt(three: Nodes) -> None:
    campaign = await three.launch()
    for number, node in enumerate(three.nodes, start=1):
        await three.sent(campaign, 60 * number)
        for part in list(node.parts):
            assert await node.end(part, signal.SIGTERM) == 0
            node.start(part)
        await three.senders(3)
    await three.everybody_got_it_once(campaign)
    async with three.fleet.runtime.db.connection() as connection:
        doubted = await connection.fetchval("SELECT count(*) FROM message_attempts WHERE outcome = 'unknown'")
    assert doubted == 0
