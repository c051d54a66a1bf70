"""Messages as a table: all that a list shows and no more, page by page, and no cell that a spreadsheet would run."""

import csv
import io

import pytest

from fleetcast.domain.identifiers import CampaignId, Phone
from fleetcast.domain.message import MessageStatus, Reason
from fleetcast.errors import NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import message_export
from fleetcast.services.message_export import WantedMessages, download_messages
from fleetcast.services.workspaces import create_workspace
from tests.campaign_scene import Scene


@pytest.fixture
async def scene(runtime: Runtime) -> Scene:
    made = Scene(runtime, (await create_workspace(runtime, "Shop", time_zone="Asia/Kuala_Lumpur", region="MY")).id)
    await made.add_leads(await made.add_device("=cmd()"), 5)
    return made


async def table(scene: Scene, wanted: WantedMessages) -> list[dict[str, str]]:
    pieces = await download_messages(scene.runtime, scene.workspace, wanted, actor="user:ann")
    text = b"".join([piece async for piece in pieces]).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


async def test_a_campaign_comes_whole_however_many_pages_it_has(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_export, "LARGEST_PAGE", 2)
    campaign = await scene.launched(title="Spring")
    await scene.launched(title="Another")
    await scene.force(campaign, ["+60120000001"], "queued", "sending", "sent")
    rows = await table(scene, WantedMessages(campaign))
    assert [r["number"] for r in rows] == [f"'+6012000000{i}" for i in range(5)]
    assert [r["name"] for r in rows] == [f"Lead {i}" for i in range(5)]
    assert {(r["device"], r["campaign"]) for r in rows} == {("'=cmd()", "Spring")}
    assert [r["status"] for r in rows] == ["pending", "sent", "pending", "pending", "pending"]
    assert rows[1]["sent"].endswith("+08:00")
    assert rows[0]["sent"] == ""


async def test_filters_are_those_of_the_list(scene: Scene) -> None:
    campaign = await scene.launched()
    await scene.launched(title="Another")
    await scene.force(campaign, ["+60120000001"], "queued", "sending", "failed")
    assert len(await table(scene, WantedMessages())) == 10
    [failed] = await table(scene, WantedMessages(campaign, status=MessageStatus.FAILED))
    assert failed["reason"] == "recipient_refused"
    assert len(await table(scene, WantedMessages(campaign, reason=Reason.RECIPIENT_REFUSED))) == 1
    assert await table(scene, WantedMessages(campaign, reason=Reason.EXPIRED)) == []
    assert len(await table(scene, WantedMessages(recipient=Phone("+60120000002")))) == 2
    assert await table(scene, WantedMessages(campaign, status=MessageStatus.IN_DOUBT)) == []


async def test_an_export_is_recorded_before_its_first_line(scene: Scene) -> None:
    campaign = await scene.launched()
    await download_messages(
        scene.runtime, scene.workspace, WantedMessages(campaign, status=MessageStatus.SENT), actor="user:ann"
    )
    rows = await scene.fetch("SELECT actor, subject, after FROM audit WHERE action = 'messages.export'")
    assert [tuple(r) for r in rows] == [("user:ann", f"campaign {campaign}", {"status": "sent"})]


async def test_what_belongs_to_others_is_not_there(scene: Scene, runtime: Runtime) -> None:
    campaign = await scene.launched()
    other = Scene(runtime, (await create_workspace(runtime, "Other")).id)
    assert await table(other, WantedMessages()) == []
    for wanted in (campaign, CampaignId(999_999)):
        with pytest.raises(NotFound):
            await table(other, WantedMessages(wanted))
