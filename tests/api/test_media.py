"""Media over the API: bytes decide, names are labels, and nothing that was uploaded runs anywhere."""

import base64
import io
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from PIL import Image

from fleetcast.domain.access import Role, Scope
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device
from fleetcast.services.workspaces import create_workspace
from tests import recordings
from tests.api import tenants

Api = httpx2.AsyncClient
PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"


def png(colour: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 2), (colour, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


async def count(runtime: Runtime) -> int:
    async with runtime.db.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM media"))


async def test_a_picture_is_stored_once_shown_and_downloaded(api: Api, runtime: Runtime) -> None:
    answer = await api.post("media", content=png(), params={"filename": "offer.png"})
    assert answer.status_code == 201, answer.text
    stored = answer.json()
    assert (stored["mime"], stored["filename"], stored["size"]) == ("image/png", "offer.png", len(png()))
    assert (stored["width"], stored["height"]) == (4, 2)
    path = f"media/{stored['sha256']}"
    assert answer.headers["Location"] == f"/api/v1/{path}"
    assert (await api.get(path)).json() == stored
    again = await api.post("media/from", json={"data_url": data_url(png())})
    assert (again.status_code, again.json()) == (201, stored)
    document = await api.post("media", content=PDF, headers={"Content-Type": "text/html"})
    assert (document.json()["mime"], document.json()["filename"]) == ("application/pdf", "document.pdf")
    assert await count(runtime) == 2
    async with runtime.db.connection() as connection:
        rows = await connection.fetch("SELECT subject, actor FROM audit WHERE action = 'media.add' ORDER BY id")
    assert [r["subject"] for r in rows] == [stored["sha256"], document.json()["sha256"]]
    assert all(r["actor"].startswith("key:") for r in rows)


async def test_videos_and_audio_tell_how_long_they_last(api: Api) -> None:
    video = (await api.post("media", content=recordings.video(), params={"filename": "offer.mp4"})).json()
    assert (video["mime"], video["filename"]) == ("video/mp4", "offer.mp4")
    assert (video["width"], video["height"], video["duration_ms"]) == (64, 48, 1022)
    song = (await api.post("media/from", json={"data_url": data_url(recordings.mp3(), "audio/mpeg")})).json()
    assert (song["mime"], song["width"], song["duration_ms"]) == ("audio/mpeg", None, 1071)
    picture = (await api.post("media", content=png())).json()
    assert picture["duration_ms"] is None
    listed = (await api.get("media")).json()["items"]
    assert [each["duration_ms"] for each in listed] == [None, 1071, 1022]
    content = await api.get(f"media/{video['sha256']}/content")
    assert (content.content, content.headers["content-type"]) == (recordings.video(), "video/mp4")
    assert content.headers["content-disposition"].startswith("attachment")
    assert content.headers["x-content-type-options"] == "nosniff"


async def test_a_video_that_is_not_played_is_refused_with_what_to_do(api: Api, runtime: Runtime) -> None:
    for content, words in (
        (recordings.video("libx265"), "The video is HEVC (H.265); WhatsApp plays H.264 with AAC: convert it"),
        (recordings.video()[:-40], "The video is damaged: it cannot be read to its end"),
        (recordings.opus("stereo"), "The audio is Opus with 2 channels; WhatsApp plays it with one"),
    ):
        answer = await api.post("media", content=content)
        assert answer.status_code == 422
        [problem] = answer.json()["errors"]
        assert problem["detail"].startswith(words)
    assert await count(runtime) == 0


async def test_audio_with_a_text_is_refused_naming_the_text(api: Api, runtime: Runtime, workspace: WorkspaceId) -> None:
    song = (await api.post("media", content=recordings.mp3())).json()["sha256"]
    device = await add_device(runtime, workspace, "Counter")
    for path, content, field in (
        ("campaigns", {"title": "Song", "body": "Listen", "media": song}, "body"),
        ("messages", {"device_id": device.id, "to": "+60123456789", "text": "Listen", "media": song}, "text"),
    ):
        answer = await api.post(path, json=content)
        assert answer.status_code == 422, answer.text
        [problem] = answer.json()["errors"]
        assert (problem["field"], problem["detail"]) == (
            field,
            "WhatsApp shows no text with audio: empty it, or send it as a message of its own",
        )
        assert (await api.post(path, json=content | {field: ""})).status_code in (201, 202)


async def test_a_list_has_the_newest_first_and_goes_on_where_it_ended(api: Api, runtime: Runtime) -> None:
    made = [(await api.post("media", content=png(n))).json()["sha256"] for n in range(5)]
    async with runtime.db.connection() as connection:  # two came in the same instant
        await connection.execute(
            "UPDATE media SET created_at = (SELECT created_at FROM media WHERE sha256 = $1) WHERE sha256 = $2",
            made[1],
            made[2],
        )
    made[1:3] = sorted(made[1:3])
    seen: list[str] = []
    after = None
    while True:
        page = (await api.get("media", params={"limit": 2} | ({"after": after} if after else {}))).json()
        seen += [each["sha256"] for each in page["items"]]
        if (after := page["next"]) is None:
            break
    assert seen == made[::-1]
    for wrong in ("x", "1", f"{2**62}-{'0' * 64}", "9" * 17 + "-" + "0" * 64, "1-" + "g" * 64):
        assert (await api.get("media", params={"after": wrong})).status_code == 422


async def test_s18_what_was_uploaded_is_a_download_that_runs_nowhere(api: Api) -> None:
    name = 'of"fer; a=b ünï.png'
    stored = (await api.post("media", content=png(), params={"filename": name})).json()
    answer = await api.get(f"media/{stored['sha256']}/content")
    assert (answer.status_code, answer.content) == (200, png())
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''of_fer")
    assert '"' not in answer.headers["Content-Disposition"]
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_every_other_answer_keeps_the_policy_of_the_dashboard(api: Api) -> None:
    assert "script-src" not in (policy := (await api.get("media")).headers["Content-Security-Policy"])
    assert policy.startswith("default-src 'self'")


async def test_s18_media_of_another_workspace_do_not_exist(app: FastAPI, api: Api, runtime: Runtime) -> None:
    ours = (await api.post("media", content=png(), params={"filename": "secret.png"})).json()["sha256"]
    strangers = await create_workspace(runtime, "Strangers")
    async with tenants.client(app, key=await tenants.key(runtime, strangers.id)) as asking:
        asking.base_url = api.base_url
        for path in (f"media/{ours}", f"media/{ours}/content"):
            refused, missing = await asking.get(path), await asking.get(path.replace(ours, "0" * 64))
            assert refused.status_code == missing.status_code == 404
            assert refused.json() == missing.json()
        assert (await asking.get("media")).json()["items"] == []
        theirs = (await asking.post("media", content=png(), params={"filename": "own.png"})).json()
        assert (theirs["sha256"], theirs["filename"]) == (ours, "own.png")


@pytest.mark.parametrize(
    "path",
    ["media/../config", "media/%2e%2e/config", "media/..%2f..%2fetc%2fpasswd/content", "media/x", "media/x/content"],
)
async def test_s18_a_guessed_name_leads_nowhere(api: Api, path: str) -> None:
    assert (await api.get(path)).status_code == 404


@pytest.mark.parametrize("content", [b"", b"hello", SVG, HTML, b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(30), png()[:40]])
async def test_s16_bytes_decide_and_not_what_is_said_of_them(api: Api, runtime: Runtime, content: bytes) -> None:
    said = {"Content-Type": "image/png"}
    direct = await api.post("media", content=content, params={"filename": "a.png"}, headers=said)
    encoded = await api.post("media/from", json={"data_url": data_url(content)})
    for answer in (direct, encoded):
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "media"), answer.text
    assert await count(runtime) == 0


@pytest.mark.parametrize(
    "source",
    [
        {"data_url": data_url(HTML, "text/html")},
        {"data_url": data_url(SVG, "image/svg+xml")},
        {"data_url": data_url(PDF, "image/png")},
        {"data_url": "data:image/png;base64,%%%"},
        {"data_url": "data:image/png,abc"},
        {"data_url": "image/png;base64,AAAA"},
        {"data_url": ""},
        {},
        {"url": "https://example.com/a.png", "data_url": data_url(png())},
        {"url": "http://example.com/a.png"},
        {"url": "https://127.0.0.1/a.png"},
        {"url": "https://[::1]/a.png"},
        {"url": "https://169.254.169.254/latest"},
        {"url": "https://2130706433/"},
        {"url": "file:///etc/passwd"},
        {"url": "https://user@example.com/"},
        {"url": "x" * 2_001},
        {"path": "/etc/passwd"},
    ],
)
async def test_s11_s16_a_source_that_may_not_be_is_refused(api: Api, runtime: Runtime, source: dict[str, Any]) -> None:
    answer = await api.post("media/from", json=source)
    assert answer.status_code == 422, answer.text
    assert await count(runtime) == 0


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("../../etc/cron.d/x", "x.png"),
        ("..%2f..%2fx", "x.png"),
        ("a\0.png", "a.png"),
        ("/abs/olute.jpg", "olute.jpg.png"),
        ("CON", "_CON.png"),
        ("x" * 900, "x" * 251 + ".png"),
        ("", "picture.png"),
    ],
)
async def test_s17_a_name_is_a_label(api: Api, name: str, label: str) -> None:
    assert (await api.post("media", content=png(), params={"filename": name})).json()["filename"] == label


async def test_f22_who_may_not_is_refused(app: FastAPI, api: Api, runtime: Runtime, workspace: WorkspaceId) -> None:
    sha256 = (await api.post("media", content=png())).json()["sha256"]
    viewer = await tenants.person(runtime, workspace, Role.VIEWER)
    device = await add_device(runtime, workspace, "Anna")
    of_device = await tenants.key(runtime, workspace, {Scope.READ, Scope.SEND}, device.id)
    everybody: list[tuple[dict[str, Any], int, int]] = [
        ({}, 401, 401),
        ({"session": viewer.token}, 200, 403),
        ({"key": of_device}, 403, 403),
    ]
    for who, reading, changing in everybody:
        async with tenants.client(app, **who) as asking:
            for path in ("media", f"media/{sha256}", f"media/{sha256}/content"):
                assert (await asking.get(f"/api/v1/{path}")).status_code == reading
            assert (await asking.post("/api/v1/media", content=png(1))).status_code == changing
            assert (await asking.post("/api/v1/media/from", json={"data_url": "x"})).status_code == changing
    assert await count(runtime) == 1
