"""Row 48: one workspace with a great deal to send delays nobody else's first message.

Judged by the database's clock: from when a message was due (its campaign began at once) to when it was claimed.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleetcast.domain.identifiers import CampaignId
from fleetcast.engine.dispatcher import ROWS_PER_STATEMENT, Turns
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import CampaignFields, create_campaign
from fleetcast.services.workspaces import create_workspace
from tests.campaign_scene import Scene
from tests.running import Fleet, running_fleet, until

DEVICES, LEADS_OF_EACH = 200, 1_000
SOON = 5.0
"""Seconds from the start of the small campaign to its first message."""


@pytest.fixture
async def fleet(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with running_fleet(runtime, tmp_path) as running:
        yield running


async def launched(fleet: Fleet, title: str) -> CampaignId:
    given: CampaignFields = {"title": title, "body": "Hello {{ name }}", "schedule": "now"}
    made = await create_campaign(fleet.runtime, fleet.workspace.id, given, actor="test")
    await launch_campaign(fleet.runtime, fleet.workspace.id, made.id, actor="test")
    return made.id


async def first_message_after(fleet: Fleet, campaign: CampaignId) -> float:
    """Seconds from the launch to the first claim."""

    async def began() -> bool:
        return await fleet.count(campaign, "sending", "sent") > 0

    await until(began)
    async with fleet.runtime.db.connection() as connection:
        seconds: float = await connection.fetchval(
            "SELECT extract(epoch FROM min(b.claimed_at) - min(c.launched_at))::float8 "
            "FROM broadcast_messages b JOIN campaigns c ON c.id = b.campaign_id WHERE c.id = $1",
            campaign,
        )
    return seconds


def test_s48_a_workspace_with_one_device_has_its_turn_in_the_next_statement() -> None:
    turns = Turns()
    for device in range(3_000):
        turns.want(1, device, room=50)
    turns.want(2, 5_000, room=10)
    turns.want(3, 6_000, room=10)
    devices, rooms = turns.take()
    assert {5_000, 6_000} <= set(devices)
    assert sum(rooms) <= ROWS_PER_STATEMENT + 50
    for later in range(20):  # whoever has had a turn waits behind those who have not
        turns.want(2, 7_000 + later, room=10)
        assert 7_000 + later in turns.take()[0]


async def test_s48_two_hundred_thousand_messages_of_one_delay_nobody_elses_ten(fleet: Fleet) -> None:
    large = Scene(fleet.runtime, fleet.workspace.id)
    for n in range(DEVICES):
        device = await fleet.device(f"Large {n}")
        await large.add_leads(device.id, LEADS_OF_EACH, first=n * LEADS_OF_EACH)
    small = replace(fleet, workspace=await create_workspace(fleet.runtime, "Small shop"))
    await small.leads(await small.device("Small"), "name,phone\n" + "".join(f"P,+6013000000{n}\n" for n in range(10)))

    flood = await launched(fleet, "Flood")

    async def flows() -> bool:
        return await fleet.count(flood, "sent") > 0

    await until(flows)
    while_planning = await launched(small, "While the other is planned")
    assert await first_message_after(small, while_planning) < SOON
    await until(lambda: small.has_finished(while_planning))

    async def planned() -> bool:
        return (await fleet.show(flood)).campaign.planned_at is not None

    await until(planned)
    while_sending = await launched(small, "While the other is sent")
    assert await first_message_after(small, while_sending) < SOON
    await until(lambda: small.has_finished(while_sending))

    counts = (await fleet.show(flood)).counts
    assert counts.planned == DEVICES * LEADS_OF_EACH
    assert counts.by_status["pending"] > counts.planned // 2, "the flood was still there"
