"""What a sender keeps in memory of contents, and what is never sent whatever the text says."""

import base64
import io
from hashlib import sha256

import pytest
from PIL import Image

from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.domain.media import Medium
from fleetcast.engine import attempts
from fleetcast.engine.attempts import Contents
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import CampaignFields, create_campaign
from fleetcast.services.messages import show_message
from fleetcast.store import contents, media
from fleetcast.store.connection import Database
from tests.running import Fleet, until


async def stored(db: Database, workspace: WorkspaceId, body: str, size: int = 0) -> int:
    """A content with a file of `size` bytes, none for 0."""
    async with db.transaction() as connection:
        name = None
        if size:
            data = body.encode().ljust(size, b".")
            name = sha256(data).hexdigest()
            await media.put(connection, workspace, Medium(data, "application/pdf", "list.pdf", name, None, None))
        return await contents.insert(connection, workspace, body, [], name)


async def test_files_in_memory_are_bounded_by_their_bytes(
    db: Database, workspace: WorkspaceId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "CACHED_MEDIA_BYTES", 2_500)
    kept = Contents(db)
    ids = [await stored(db, workspace, f"Text {n}", size=1_000) for n in range(4)]
    for content in (*ids, ids[-1]):
        assert (await kept.get(workspace, content)).media is not None
        assert kept.media_bytes <= 2_500
    assert [kept.known(content) is not None for content in ids] == [False, False, True, True]
    assert (await kept.get(workspace, ids[0])).media is not None  # read again


async def test_texts_in_memory_are_bounded_by_their_number(
    db: Database, workspace: WorkspaceId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "CACHED_CONTENTS", 2)
    kept = Contents(db)
    ids = [await stored(db, workspace, f"Text {n}") for n in range(3)]
    for content in ids:
        await kept.get(workspace, content)
    assert [kept.known(content) is not None for content in ids] == [False, True, True]
    assert kept.media_bytes == 0


def picture() -> str:
    """One white pixel as a data URL."""
    file = io.BytesIO()
    Image.new("RGB", (1, 1), "white").save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


LEADS = "name,phone,city\nAda,+60121234561,Ipoh\nBen,+60121234562,Klang\n"
FOR_SOME = "{% if city == 'Ipoh' %}Dear {{ name }}, we open in Ipoh.{% endif %}\n"


async def launched(fleet: Fleet, **fields: object) -> CampaignId:
    await fleet.leads(await fleet.device(), LEADS)
    given: CampaignFields = {"title": "Opening", "body": FOR_SOME, "schedule": "now"}
    given.update(fields)  # type: ignore[typeddict-item]
    made = await create_campaign(fleet.runtime, fleet.workspace.id, given, actor="test")
    await launch_campaign(fleet.runtime, fleet.workspace.id, made.id, actor="test")
    await until(lambda: fleet.has_finished(made.id))
    return made.id


async def test_a_text_of_which_nothing_is_left_for_a_person_is_not_sent(fleet: Fleet) -> None:
    campaign = await launched(fleet)
    judged = await fleet.judge()
    assert judged.holds
    assert judged.accepted == 1
    assert (await fleet.show(campaign)).counts.by_reason["failed"] == {"content_refused": 1}
    async with fleet.runtime.db.connection() as connection:
        refused = await connection.fetchval("SELECT id FROM broadcast_messages WHERE status = 'failed'")
    story = await show_message(fleet.runtime, fleet.workspace.id, refused)
    assert [attempt.code for attempt in story.attempts] == ["empty"]


async def test_a_picture_goes_out_without_a_word(fleet: Fleet) -> None:
    await launched(fleet, media=picture())
    assert (await fleet.judge()).accepted == 2
