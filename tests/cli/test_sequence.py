"""`fleetcast sequence` and `fleetcast enrolment` on real servers."""

import asyncio
import json
from pathlib import Path

import asyncpg

from tests.cli.conftest import Command


def _leads(database_url: str) -> None:
    async def write() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "INSERT INTO leads (workspace_id, device_id, phone, name, niches) "
            "SELECT 1, 1, '+6012000000' || i, 'Aisha', '{fitness}' FROM generate_series(1, 5) i"
        )
        await connection.close()

    asyncio.run(write())


def test_a_sequence_from_its_first_step_to_its_end(command: Command, database_url: str, tmp_path: Path) -> None:
    command("workspace", "create", "Shop", "--time-zone", "Asia/Kuala_Lumpur")
    assert "no sequence yet" in command("sequence", "list").out
    command("device", "add", "Counter 1")
    _leads(database_url)
    made = command("sequence", "create", "Welcome", "--niche", "fitness", "--auto", "--late-by", "6h", "--json")
    assert made.code == 0, made
    assert json.loads(made.out)["auto_enrol"] is True
    text = tmp_path / "text.txt"
    text.write_text("\ufeffHow did it go?", encoding="utf-8")
    assert command("sequence", "activate", "Welcome", "--even-offline").code == 2
    assert "Step 1 comes at once" in command("sequence", "add-step", "Welcome", "--after", "0m", "--body", "Hi").out
    step = ("sequence", "add-step", "Welcome", "--day", "1")
    assert command(*step, "--time", "09:00", "--body-file", str(text)).code == 0
    refused = command(*step, "--time", "08:00", "--body", "Too early", "--json")
    assert refused.code == 2
    assert json.loads(refused.out)["error"]["field"] == "steps[2]"
    assert "How did it go?" in command("sequence", "preview", "Welcome").out
    assert command("sequence", "edit-step", "Welcome", "2", "--time", "09:30").code == 0
    assert command("sequence", "edit-step", "Welcome", "2").code == 2
    assert "day 1 at 09:30" in command("sequence", "show", "Welcome").out

    active = command("sequence", "activate", "Welcome", "--existing", "--even-offline", "--yes")
    assert "5 people are being enrolled" in active.out, active
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("phone;name\n+60120000001;Aisha\n+60120000002;Ben\n+60129999999;Nobody\n", encoding="utf-8")
    done = command("enrolment", "add", "Welcome", "--file", str(numbers), "--json")
    assert json.loads(done.out) == {"enrolled": 2, "active": 0, "before": 0, "unwritable": 0, "unknown": 1}
    assert command("enrolment", "add", "Welcome").code == 2
    listed = json.loads(command("enrolment", "list", "Welcome", "--state", "active", "--json").out)
    assert [e["phone"] for e in listed] == ["+60120000002", "+60120000001"]
    assert "+60120000001" in command("enrolment", "list", "Welcome").out
    assert "is active in sequence" in command("enrolment", "show", str(listed[1]["id"])).out
    assert "1 of 1 were in it" in command("enrolment", "stop", "Welcome", str(listed[1]["id"])).out

    assert command("sequence", "edit", "Welcome", "--late-by", "12h", "--no-stop-on-reply").code == 0
    assert command("sequence", "edit", "Welcome").code == 2
    assert command("sequence", "edit", "Welcome", "--no-niche").code == 2
    assert "is paused" in command("sequence", "pause", "Welcome", "--reason", "prices").out
    assert "is active again" in command("sequence", "resume", "Welcome").out
    assert "by_person" in command("enrolment", "list", "Welcome").out
    report = json.loads(command("sequence", "report", "Welcome", "--json").out)
    assert report["whole"]["people"]["stopped"] == 1
    assert "Counter 1" in command("sequence", "report", "Welcome").out
    assert "1 people go on" in command("sequence", "delete-step", "Welcome", "1", "--yes").out
    assert "is archived" in command("sequence", "archive", "Welcome", "--yes").out
    assert "is a draft" in command("sequence", "clone", "Welcome").out
    rows = json.loads(command("sequence", "list", "--json").out)
    assert [r["sequence"]["name"] for r in rows] == ["Welcome (copy)", "Welcome"]
    assert "Welcome (copy)" in command("sequence", "list").out
    assert command("sequence", "show", "Nothing").code == 3
