"""WhatsApp has no place for a text below audio: neither is one taken with it, nor is one asked for."""

from typing import Any

import pytest

from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.errors import InvalidInput, InvalidInputs
from fleetcast.runtime import Runtime
from fleetcast.services import media
from fleetcast.services.audience_look import LeadCounts
from fleetcast.services.campaigns import create_campaign, edit_campaign, show_campaign
from fleetcast.services.drafting import look_at_draft
from fleetcast.services.sequence_looks import look_at_step
from fleetcast.services.sequence_steps import add_step, edit_step
from fleetcast.services.sequences import create_sequence
from fleetcast.services.single_sends import SingleSend, send_message
from fleetcast.services.trials import send_test
from tests import recordings
from tests.campaign_scene import ACTOR, Scene
from tests.security.seeding import picture

NO_TEXT = "WhatsApp shows no text with audio: empty it, or send it as a message of its own"
NEEDED = "a text is needed; only audio goes without one"


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> Scene:
    made = Scene(runtime, workspace)
    device = await made.add_device("Counter")
    await made.add_lead(device, "+60120000001", name="Aminah")
    return made


@pytest.fixture
async def audio(scene: Scene) -> str:
    return (await media.from_bytes(scene.runtime, scene.workspace, recordings.mp3(), "song.mp3")).sha256


@pytest.fixture
async def image(scene: Scene) -> str:
    return (await media.from_bytes(scene.runtime, scene.workspace, picture(1), "offer.png")).sha256


async def create(scene: Scene, **fields: Any) -> CampaignId:
    made = await create_campaign(scene.runtime, scene.workspace, {"title": "Song", **fields}, actor=ACTOR)  # type: ignore[typeddict-item]
    return made.id


async def edit(scene: Scene, campaign: CampaignId, **fields: Any) -> None:
    await edit_campaign(scene.runtime, scene.workspace, campaign, fields, actor=ACTOR)  # type: ignore[arg-type]


async def says(scene: Scene, campaign: CampaignId) -> tuple[str, str | None]:
    content = (await show_campaign(scene.runtime, scene.workspace, campaign)).content
    return content.body, content.media_sha256


async def test_a_campaign_with_audio_has_no_text(scene: Scene, audio: str, image: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await create(scene, body="Listen", media=audio)
    assert (refused.value.field, refused.value.problem) == ("body", NO_TEXT)
    campaign = await create(scene, body=" ", media=audio)
    assert (await says(scene, campaign))[1] == audio
    assert (await says(scene, await create(scene, media=audio))) == ("", audio), "it may be left out"
    for without in ({"body": ""}, {"body": "", "media": None}, {}):
        with pytest.raises(InvalidInput, match="a text is needed"):
            await create(scene, **without)
    with pytest.raises(InvalidInput, match=NEEDED) as refused:
        await create(scene, body="", media=image)
    assert refused.value.field == "body"
    with pytest.raises(InvalidInputs) as several:
        await create(scene, title="", body="")
    assert {p.field for p in several.value.problems} == {"title", "body"}, "what is wrong is still told at once"


async def test_an_edit_leaves_text_and_medium_fitting(scene: Scene, audio: str, image: str) -> None:
    campaign = await create(scene, body="Look", media=image)
    with pytest.raises(InvalidInput) as refused:
        await edit(scene, campaign, media=audio)
    assert (refused.value.field, refused.value.problem) == ("body", NO_TEXT)
    assert await says(scene, campaign) == ("Look", image)
    await edit(scene, campaign, media=audio, body="")
    assert await says(scene, campaign) == ("", audio)
    await edit(scene, campaign, title="A song")
    with pytest.raises(InvalidInput, match=NO_TEXT):
        await edit(scene, campaign, body="Listen")
    with pytest.raises(InvalidInput, match="a text is needed") as refused:
        await edit(scene, campaign, media=None)
    assert refused.value.field == "body"
    await edit(scene, campaign, media=image, body="Look again")
    assert await says(scene, campaign) == ("Look again", image)


async def test_a_step_of_a_sequence_with_audio_has_no_text(scene: Scene, audio: str, image: str) -> None:
    r, w = scene.runtime, scene.workspace
    sequence = (await create_sequence(r, w, {"name": "Welcome"}, actor=ACTOR)).id
    with pytest.raises(InvalidInput) as refused:
        await add_step(r, w, sequence, {"after": "0m", "body": "Listen", "media": audio}, actor=ACTOR)
    assert (refused.value.field, refused.value.problem) == ("body", NO_TEXT)
    with pytest.raises(InvalidInput, match=NEEDED):
        await add_step(r, w, sequence, {"after": "0m", "body": "", "media": image}, actor=ACTOR)
    with pytest.raises(InvalidInput, match="a step needs a text"):
        await add_step(r, w, sequence, {"after": "0m"}, actor=ACTOR)
    step = await add_step(r, w, sequence, {"after": "0m", "media": audio}, actor=ACTOR)
    assert (step.content.body, step.content.media_sha256) == ("", audio)
    with pytest.raises(InvalidInput, match=NO_TEXT):
        await edit_step(r, w, sequence, step.id, {"body": "Listen"}, actor=ACTOR)
    with pytest.raises(InvalidInput, match="a text is needed"):
        await edit_step(r, w, sequence, step.id, {"media": None}, actor=ACTOR)
    changed = await edit_step(r, w, sequence, step.id, {"media": image, "body": "Look"}, actor=ACTOR)
    assert (changed.content.body, changed.content.media_sha256) == ("Look", image)


async def test_a_message_to_one_person_with_audio_has_no_text(scene: Scene, audio: str) -> None:
    device = scene.devices[0]
    with pytest.raises(InvalidInput) as refused:
        await send_message(
            scene.runtime, scene.workspace, SingleSend(device, "+60120000009", "Listen", audio), actor=ACTOR
        )
    assert (refused.value.field, refused.value.problem) == ("text", NO_TEXT)
    assert await scene.value("SELECT count(*) FROM broadcast_messages") == 0
    sent = await send_message(
        scene.runtime, scene.workspace, SingleSend(device, "+60120000009", "", audio), actor=ACTOR
    )
    assert sent.status == "pending"


async def test_a_test_of_a_campaign_with_audio_sends_the_audio(scene: Scene, audio: str) -> None:
    campaign = await create(scene, media=audio)
    sent = await send_test(
        scene.runtime, scene.workspace, campaign, to="+60120000009", device_id=scene.devices[0], actor=ACTOR
    )
    [row] = await scene.fetch(
        "SELECT c.body, c.media_sha256 FROM broadcast_messages m JOIN contents c ON c.id = m.content_id "
        "WHERE m.id = $1",
        sent.id,
    )
    assert (row["body"], row["media_sha256"]) == ("", audio)


async def test_it_is_said_while_somebody_writes(scene: Scene, audio: str) -> None:
    r, w = scene.runtime, scene.workspace
    look = await look_at_draft(r, w, {"body": "Listen"}, LeadCounts(), medium=audio)
    assert [(p.field, p.problem) for p in look.of("body")] == [("body", NO_TEXT)]
    assert (await look_at_draft(r, w, {"body": ""}, LeadCounts(), medium=audio)).of("body") == []
    sequence = (await create_sequence(r, w, {"name": "Welcome"}, actor=ACTOR)).id
    step = await look_at_step(r, w, sequence, {"after": "0m", "body": "Listen", "media": audio})
    assert [(p.field, p.problem) for p in step.of("body")] == [("body", NO_TEXT)]
    assert (await look_at_step(r, w, sequence, {"after": "0m", "body": "", "media": audio})).of("body") == []


async def test_a_campaign_of_audio_is_planned_and_sent_to_everybody(scene: Scene, audio: str) -> None:
    campaign = await create(scene, media=audio)
    await scene.launch(campaign)
    await scene.plan()
    rows = await scene.fetch("SELECT status::text FROM broadcast_messages WHERE campaign_id = $1", campaign)
    assert [r["status"] for r in rows] == ["pending"]
