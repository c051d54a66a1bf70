"""`fleetcast campaign` on real servers."""

import asyncio
import json
from pathlib import Path

import asyncpg

from tests import recordings
from tests.cli.conftest import Command


def _leads(database_url: str) -> None:
    async def write() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "INSERT INTO leads (workspace_id, device_id, phone, name, niches) "
            "SELECT 1, 1, '+6012000000' || i, 'Aisha', '{fitness}' FROM generate_series(1, 3) i"
        )
        await connection.close()

    asyncio.run(write())


def test_a_campaign_from_draft_to_running_and_back(command: Command, database_url: str, tmp_path: Path) -> None:
    command("workspace", "create", "Shop", "--time-zone", "Asia/Kuala_Lumpur")
    assert command("campaign", "list").code == 0
    command("device", "add", "Counter 1")
    _leads(database_url)
    text = tmp_path / "text.txt"
    text.write_text("\ufeffHello {{ name }}", encoding="utf-8")
    made = command("campaign", "create", "Sale", "--body-file", str(text), "--niche", "fitness", "--json")
    assert made.code == 0, made
    assert json.loads(made.out)["status"] == "draft"

    seen = json.loads(command("campaign", "preview", "sale", "--json").out)
    assert (seen["recipients"], seen["by_device"], seen["sample"]) == (3, {"Counter 1": 3}, "Hello Aisha")
    assert "Hello Aisha" in command("campaign", "preview", "Sale").out

    assert command("campaign", "edit", "Sale", "--min-delay", "1", "--max-delay", "2").code == 0
    assert command("campaign", "edit", "Sale").code == 2
    assert "is running" in command("campaign", "launch", "Sale").out
    again = command("campaign", "launch", "1", "--json")
    assert again.code == 4
    assert "already running" in json.loads(again.out)["error"]["message"]
    assert command("campaign", "edit", "Sale", "--everybody").code == 4
    assert command("campaign", "pause", "Sale", "--reason", "price").code == 0
    anew = command("campaign", "edit", "Sale", "--everybody", "--no-media", "--own-pace")
    assert "planned anew" in anew.out
    assert command("campaign", "resume", "Sale").code == 4

    shown = command("campaign", "show", "Sale")
    assert shown.code == 0
    assert "paused (price)" in shown.out
    assert "everybody" in shown.out
    report = json.loads(command("campaign", "show", "Sale", "--json").out)
    assert report["campaign"]["replan"] is True
    assert report["planned"] == 0
    assert json.loads(command("campaign", "clone", "Sale", "--json").out)["title"] == "Sale (copy)"
    assert "cancelled" in command("campaign", "cancel", "1").out
    assert command("campaign", "retry", "1").code == 4
    assert "Sale (copy)" in command("campaign", "list").out


def test_a_campaign_may_be_audio_alone(command: Command, database_url: str, tmp_path: Path) -> None:
    command("workspace", "create", "Shop")
    song = tmp_path / "song.mp3"
    song.write_bytes(recordings.mp3())
    assert command("campaign", "create", "Song", "--media", str(song)).code == 0
    refused = command("campaign", "edit", "Song", "--body", "Listen", "--json")
    assert refused.code == 2
    error = json.loads(refused.out)["error"]
    assert error["field"] == "body"
    assert "WhatsApp shows no text with audio" in error["message"]


def test_a_planned_start_is_shown_in_local_time_and_can_be_taken_back(command: Command, database_url: str) -> None:
    command("workspace", "create", "Shop", "--time-zone", "Asia/Kuala_Lumpur")
    command("device", "add", "Counter 1")
    _leads(database_url)
    command("campaign", "create", "Later", "--body", "Hi", "--schedule", "2090-01-02 09:30")
    assert "2090-01-02 09:30:00 +08" in command("campaign", "launch", "Later").out
    assert "draft again" in command("campaign", "withdraw", "Later").out


def test_wrong_input_names_its_field(command: Command) -> None:
    command("workspace", "create", "Shop")
    for arguments, field in (
        (("create", "Sale"), "body"),
        (("create", "Sale", "--body", "x", "--body-file", "y"), "body"),
        (("create", "Sale", "--body-file", "/nowhere"), "body"),
        (("create", "Sale", "--body", "x", "--media", "/nowhere.png"), "media"),
        (("create", "Sale", "--body", "x", "--schedule", "9999-01-01 00:00"), "schedule"),
        (("create", "Sale", "--body", "{{ x }}"), "body"),
        (("edit", "Sale", "--no-media", "--media", "x.png"), "media"),
    ):
        refused = command("campaign", *arguments, "--json")
        assert refused.code == 2, refused
        assert json.loads(refused.out)["error"]["field"] == field
    assert command("campaign", "show", "Nothing").code == 3
    assert json.loads(command("campaign", "list", "--json").out) == []
