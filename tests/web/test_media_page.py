"""What somebody uploaded on the pages: players get the parts that they ask for, and each kind is shown as it is."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.media import StoredMedia
from fleetcast.runtime import Runtime
from fleetcast.services.media import from_bytes
from fleetcast.web.words import clip
from tests import recordings
from tests.api.tenants import Person
from tests.web import visitors
from tests.web.looking import Page
from tests.web.test_builder_page import FORM

WHOLE = recordings.video()


@pytest.fixture
async def browser(app: FastAPI, person: Person) -> AsyncIterator[httpx2.AsyncClient]:
    async with visitors.browser(app, person) as opened:
        yield opened


@pytest.fixture
async def video(runtime: Runtime, workspace: WorkspaceId) -> StoredMedia:
    return await from_bytes(runtime, workspace, WHOLE, "offer.mp4")


@pytest.fixture
async def audio(runtime: Runtime, workspace: WorkspaceId) -> StoredMedia:
    return await from_bytes(runtime, workspace, recordings.mp3(), "song.mp3")


async def ask(browser: httpx2.AsyncClient, medium: StoredMedia, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await browser.get(f"/campaigns/media/{medium.sha256}", headers=named)


async def test_a_player_gets_the_parts_that_it_asks_for(browser: httpx2.AsyncClient, video: StoredMedia) -> None:
    whole = await ask(browser, video)
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, WHOLE, "video/mp4")
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["content-security-policy"] == "default-src 'none'; sandbox"
    size = len(WHOLE)
    for asked, first, last in (
        ("bytes=0-", 0, size - 1),
        ("bytes=0-0", 0, 0),
        ("bytes=100-199", 100, 199),
        (f"bytes=100-{size * 9}", 100, size - 1),
        ("bytes=-7", size - 7, size - 1),
        (f"bytes=-{size * 9}", 0, size - 1),
    ):
        part = await ask(browser, video, Range=asked)
        assert (part.status_code, part.content) == (206, WHOLE[first : last + 1]), asked
        assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert part.headers["content-length"] == str(last - first + 1)
        assert part.headers["content-type"] == "video/mp4"


@pytest.mark.parametrize("asked", ["bytes=999999-", "bytes=-0"])
async def test_a_part_that_is_not_there_is_refused_with_the_size(
    browser: httpx2.AsyncClient, video: StoredMedia, asked: str
) -> None:
    answer = await ask(browser, video, Range=asked)
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{len(WHOLE)}"


@pytest.mark.parametrize(
    "asked", ["bytes=5-3", "bytes=-", "bytes=0-1,5-9", "items=0-1", "bytes=a-b", "bytes", f"bytes={'9' * 40}-", ""]
)
async def test_what_is_no_single_part_gets_the_whole(
    browser: httpx2.AsyncClient, video: StoredMedia, asked: str
) -> None:
    answer = await ask(browser, video, Range=asked)
    assert (answer.status_code, len(answer.content)) == (200, len(WHOLE))


async def test_a_part_of_another_file_is_the_whole_of_this_one(browser: httpx2.AsyncClient, video: StoredMedia) -> None:
    tag = (await ask(browser, video)).headers["etag"]
    assert (await ask(browser, video, Range="bytes=0-1", If_Range=tag)).status_code == 206
    assert (await ask(browser, video, Range="bytes=0-1", If_Range='"another"')).status_code == 200


async def test_a_video_and_an_audio_can_be_played_beside_the_text(
    browser: httpx2.AsyncClient, video: StoredMedia, audio: StoredMedia
) -> None:
    page = Page((await browser.post("/campaigns/look", data=FORM | {"media": video.sha256})).text)
    [player] = page.attributes("video")
    assert (player["aria-label"], player["preload"], player["width"], player["height"]) == (
        "offer.mp4",
        "metadata",
        "64",
        "48",
    )
    assert "controls" in player
    assert (await browser.get(player["src"] or "")).status_code == 200
    page = Page((await browser.post("/campaigns/look", data=FORM | {"media": audio.sha256, "body": ""})).text)
    [player] = page.attributes("audio")
    assert player["aria-label"] == "song.mp3"
    assert "The text appears here" not in page.words


async def test_a_text_with_audio_is_told_off_where_it_is_written(
    browser: httpx2.AsyncClient, audio: StoredMedia
) -> None:
    answer = await browser.post("/campaigns/look", data=FORM | {"media": audio.sha256, "body": "Listen to this"})
    assert "Listen to this" not in Page(answer.text).words, "nobody would read it"
    assert "WhatsApp shows no text with audio: empty it" in answer.text.partition("#wrong-body")[2]
    refused = await browser.post("/campaigns/new", data=FORM | {"media": audio.sha256})
    assert refused.status_code == 422
    page = Page(refused.text)
    assert "WhatsApp shows no text with audio" in page.words
    [written] = page.attributes("textarea", name="body")
    assert written["aria-invalid"] == "true"
    assert "required" not in written
    made = await browser.post("/campaigns/new", data=FORM | {"media": audio.sha256, "body": ""})
    assert made.status_code == 303
    kept = Page((await browser.get(made.headers["Location"].split("?")[0] + "/edit")).text)
    assert "song.mp3" in kept.words
    assert "0:01, 8.8 kB" in kept.words
    assert kept.attributes("audio")


async def test_what_may_be_chosen_is_what_may_be_stored(browser: httpx2.AsyncClient, workspace: WorkspaceId) -> None:
    page = Page((await browser.get("/campaigns/new")).text)
    [chooser] = page.attributes("input", id="f-file")
    accepted = (chooser["accept"] or "").split(",")
    assert {"video/mp4", "audio/mpeg", "image/png", "application/pdf", ".m4a", ".3gp", ".amr"} <= set(accepted)
    assert "a picture, video, audio or document: drop it here, or paste it" in page.words


def test_how_long_something_plays_is_written_as_players_do() -> None:
    assert [clip(s) for s in (0.2, 7.4, 65, 3_723)] == ["0:01", "0:07", "1:05", "1:02:03"]
