"""A test of a campaign is a message by itself: to one's own number, as one of its people reads it, counted nowhere."""

import pytest

from fleetcast.domain.message import MessageStatus
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import media
from fleetcast.services.campaigns import show_campaign
from fleetcast.services.trials import send_test
from fleetcast.services.workspaces import create_workspace
from fleetcast.store.messages import MessageRow
from tests.campaign_scene import Scene
from tests.security.seeding import picture

OWN = "012-999 9999"


@pytest.fixture
async def scene(runtime: Runtime) -> Scene:
    made = Scene(runtime, (await create_workspace(runtime, "Shop", region="MY")).id)
    device = await made.add_device("Counter")
    await made.execute("UPDATE devices SET region = 'MY'")
    await made.add_lead(device, "+60120000001", name="Aminah")
    await made.add_lead(device, "+60120000002", name="Ben")
    return made


async def send(scene: Scene, campaign: int, **given: object) -> MessageRow:
    asked: dict[str, object] = {"to": OWN, "device_id": scene.devices[0], **given}
    return await send_test(scene.runtime, scene.workspace, campaign, actor="user:ann", **asked)  # type: ignore[arg-type]


async def text(scene: Scene, message: MessageRow) -> tuple[str, str | None]:
    [row] = await scene.fetch(
        "SELECT c.body, c.media_sha256 FROM broadcast_messages m JOIN contents c ON c.id = m.content_id "
        "WHERE m.id = $1",
        message.id,
    )
    return row["body"], row["media_sha256"]


async def test_it_says_what_the_first_of_the_audience_reads_with_the_picture(scene: Scene) -> None:
    stored = await media.from_bytes(scene.runtime, scene.workspace, picture(1), "offer.png")
    campaign = await scene.draft(body="Hello {{ name }}", media=stored.sha256)
    sent = await send(scene, campaign)
    assert (sent.recipient, sent.device, sent.campaign_id, sent.status) == (
        "+60129999999",
        "Counter",
        None,
        MessageStatus.PENDING,
    )
    assert await text(scene, sent) == ("Hello Aminah", stored.sha256)
    assert (await show_campaign(scene.runtime, scene.workspace, campaign)).counts.planned == 0
    rows = await scene.fetch("SELECT subject, after FROM audit WHERE action = 'campaign.test'")
    assert [(r["subject"], r["after"]) for r in rows] == [(f"campaign {campaign}", {"message": sent.id})]


async def test_somebody_else_may_be_the_reader(scene: Scene) -> None:
    sent = await send(scene, await scene.draft(body="Hello {{ name }}"), reader="+60 12-000 0002")
    assert (await text(scene, sent))[0] == "Hello Ben"


async def test_what_is_asked_for_twice_is_sent_once(scene: Scene) -> None:
    campaign = await scene.draft()
    first, second = [await send(scene, campaign, once="page 1") for _ in range(2)]
    assert first.id == second.id
    assert (await send(scene, campaign, once="page 2")).id != first.id


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"to": "abc"}, "to"),
        ({"device_id": 0}, "device_id"),
        ({"device_id": 987}, "device_id"),
        ({"reader": "012-000 0009"}, "reader"),
        ({"reader": "x"}, "reader"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_field(scene: Scene, given: dict[str, object], field: str) -> None:
    campaign = await scene.draft()
    with pytest.raises(InvalidInput) as refused:
        await send(scene, campaign, **given)
    assert refused.value.field == field
    assert await scene.fetch("SELECT 1 FROM broadcast_messages") == []


async def test_a_device_that_cannot_send_is_named(scene: Scene) -> None:
    off = await scene.add_device("Cellar", state="offline")
    with pytest.raises(InvalidInput, match="'Cellar' is offline and cannot send now"):
        await send(scene, await scene.draft(), device_id=off)


async def test_a_reader_who_lacks_what_the_text_needs_is_told(scene: Scene) -> None:
    await scene.execute("UPDATE workspaces SET attribute_keys = '{city}' WHERE id = $1", scene.workspace)
    with pytest.raises(InvalidInput, match='"city"'):
        await send(scene, await scene.draft(body="Hello {{ city }}"))


async def test_a_number_that_opted_out_gets_no_test_either(scene: Scene) -> None:
    await scene.suppress("+60129999999")
    sent = await send(scene, await scene.draft())
    assert (sent.status, sent.reason) == (MessageStatus.SKIPPED, "opt_out")


async def test_a_campaign_of_others_is_not_there(scene: Scene, runtime: Runtime) -> None:
    other = Scene(runtime, (await create_workspace(runtime, "Other", region="MY")).id)
    device = await other.add_device("Theirs")
    campaign = await scene.draft()
    with pytest.raises(NotFound):
        await send_test(runtime, other.workspace, campaign, to=OWN, device_id=device, actor="user:ann")
    with pytest.raises(InvalidInput):
        await send(scene, campaign, device_id=device)
