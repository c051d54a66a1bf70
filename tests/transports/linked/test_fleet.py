"""Linked devices in a running Fleetcast: linked, sending, killed, logged out, handed over; judged by the phones' record."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import CampaignId
from fleetcast.embedded.data_directory import node_id, sessions_folder
from fleetcast.engine.processes import run_scheduler, run_sender
from fleetcast.runtime import Runtime
from fleetcast.services import pairing
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaign_fields import CampaignFields
from fleetcast.services.campaigns import create_campaign, show_campaign
from fleetcast.services.device_proxy import set_proxy
from fleetcast.services.devices import Device, add_device, find_device, set_state
from fleetcast.services.lead_import import import_leads
from fleetcast.services.linked_sessions import SessionAccount
from fleetcast.services.media import Source
from fleetcast.services.workspaces import Workspace, create_workspace
from fleetcast.store import identity
from fleetcast.store.invariants import broken_invariants
from fleetcast.transports.linked.client import LinkedTransport
from testbed.whatsapp_web.control import Control
from testbed.whatsapp_web.launch import Testbed
from testbed.whatsapp_web.session_files import SessionFiles
from tests.running import until
from tests.transports.linked.scene import environment, fresh_number


class LinkedFleet:
    """A scheduler and a sender whose devices are linked ones."""

    def __init__(
        self, runtime: Runtime, workspace: Workspace, testbed: Testbed, control: Control, files: SessionFiles
    ) -> None:
        self.runtime = runtime
        self.workspace = workspace
        self.control = control
        self.files = files
        self.proxy = testbed.reach.proxy
        self._environment = environment(testbed)
        self.transport: LinkedTransport
        self.folder: Path

    @asynccontextmanager
    async def sender(self) -> AsyncIterator[None]:
        """One sender at work."""
        async with self.runtime.db.connection() as connection:
            install = await identity.install_id(connection)
        data = self.runtime.settings.data
        self.folder = sessions_folder(data, install)
        account = SessionAccount(self.runtime, node_id(data))
        self.transport = LinkedTransport(self.folder, keeper=account, environment=self._environment)
        stop = asyncio.Event()
        task = asyncio.create_task(
            run_sender(self.runtime, transports={TransportKind.LINKED: self.transport}, stop=stop), name="sender"
        )
        try:
            yield
        finally:
            stop.set()
            await task

    async def device(self, name: str) -> Device:
        """A linked device that connects through the testbed, not linked yet."""
        made = await add_device(
            self.runtime, self.workspace.id, name, transport="linked", min_delay=0, max_delay=0, actor="a person"
        )
        await set_proxy(self.runtime, self.workspace.id, made.id, self.proxy, actor="a person")
        return made

    async def linked(self, name: str, number: str) -> Device:
        """A device that is linked and online; its session was made without pairing."""
        device = await self.device(name)
        await self.files.make(self.control, number, self.folder / f"{device.id}.db")
        await set_state(self.runtime, device.id, DeviceState.CONNECTING, "")
        return await self.is_now(device, DeviceState.ONLINE)

    async def pair(self, device: Device, number: str) -> Device:
        """Link it to a phone by QR code; it is online."""
        await pairing.start_pairing(self.runtime, self.workspace.id, device.id, actor="a person")

        async def has_code() -> bool:
            found = await pairing.look(self.runtime, self.workspace.id, device.id, with_code=True)
            return found.code is not None

        await until(has_code)
        found = await pairing.look(self.runtime, self.workspace.id, device.id, with_code=True)
        assert found.code is not None
        await self.control.scan(number, found.code.text)
        return await self.is_now(device, DeviceState.ONLINE)

    async def is_now(self, device: Device, state: DeviceState) -> Device:
        """Wait until a device is in this state."""

        async def reached() -> bool:
            return (await find_device(self.runtime, self.workspace.id, device.name)).state is state

        await until(reached)
        return await find_device(self.runtime, self.workspace.id, device.name)

    async def campaign(
        self, text: str, *devices: Device, leads: dict[str, list[str]], media: Source | None = None
    ) -> CampaignId:
        """Start a campaign over devices to these numbers."""
        for device in devices:
            path = self.folder.parent / "leads.csv"
            path.write_text("phone\n" + "".join(f"+{number}\n" for number in leads[device.name]))
            await import_leads(self.runtime, self.workspace.id, device.id, path)
        given: CampaignFields = {
            "title": text,
            "body": text,
            "schedule": "now",
            "device_ids": [d.id for d in devices],
            "media": media,
        }
        made = await create_campaign(self.runtime, self.workspace.id, given, actor="a person")
        await launch_campaign(self.runtime, self.workspace.id, made.id, actor="a person")
        return made.id

    async def finished(self, campaign: CampaignId) -> dict[str, int]:
        """Wait for the end; counts by status."""

        async def over() -> bool:
            found = await show_campaign(self.runtime, self.workspace.id, campaign)
            return found.campaign.status is CampaignStatus.FINISHED

        await until(over)
        found = await show_campaign(self.runtime, self.workspace.id, campaign)
        return {status: n for status, n in found.counts.by_status.items() if n}

    async def texts(self, number: str) -> list[tuple[str, str]]:
        """What came to a phone: from which number, and the text."""
        arrivals = await self.control.arrivals(number)
        return [(each.sender.partition(":")[0], each.text) for each in arrivals]


@pytest.fixture
async def fleet(
    runtime: Runtime, testbed: Testbed, control: Control, session_files: SessionFiles
) -> AsyncIterator[LinkedFleet]:
    workspace = await create_workspace(runtime, "My shop", time_zone="Asia/Kuala_Lumpur", region="MY")
    stop = asyncio.Event()
    made = LinkedFleet(runtime, workspace, testbed, control, session_files)
    idle = LinkedTransport(runtime.settings.data / "nothing")
    scheduler = asyncio.create_task(
        run_scheduler(runtime, transports={TransportKind.LINKED: idle}, stop=stop), name="scheduler"
    )
    yield made
    stop.set()
    await scheduler


async def test_a_device_is_linked_by_qr_code_and_sends_a_campaign(fleet: LinkedFleet) -> None:
    owner, people = fresh_number(), [fresh_number() for _ in range(5)]
    async with fleet.sender():
        device = await fleet.pair(await fleet.device("Shop"), owner)
        assert device.phone == f"+{owner}"
        campaign = await fleet.campaign("Hello from @12345", device, leads={"Shop": people})
        assert await fleet.finished(campaign) == {"sent": 5}

        async def all_read() -> bool:
            found = await show_campaign(fleet.runtime, fleet.workspace.id, campaign)
            return found.counts.read == 5

        await until(all_read)
    for person in people:
        assert await fleet.texts(person) == [(owner, "Hello from @12345")]
    async with fleet.runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []
