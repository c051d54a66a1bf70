"""`fleetcast leads` on real servers."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.workbook import write_workbook


@pytest.fixture
def shop(command: Command) -> Command:
    command("workspace", "create", "Shop", "--region", "MY")
    command("device", "add", "Counter")
    return command


def test_leads_go_in_and_come_out_again(shop: Command, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("name,phone,city\nAnna,0123456789,Ipoh\n=cmd,0123456780,\nBen,12,\n")
    dry = shop("leads", "import", str(file), "--device", "counter", "--dry-run")
    assert (dry.code, dry.err) == (0, "")
    assert "Nothing was written" in dry.out
    assert "'12' is not a phone number in Malaysia (MY)" in dry.out
    done = shop("leads", "import", str(file), "--device", "Counter", "--json", "--consent", "form at the counter")
    report = json.loads(done.out)
    assert (report["added"], report["rejected"], report["dry_run"]) == (2, 1, False)
    assert report["problems"] == [
        {"line": 4, "column": "phone", "reason": "'12' is not a phone number in Malaysia (MY): it is too short"}
    ]
    out = shop("leads", "export")
    assert out.out.splitlines() == [
        "name,phone,niche,target_status,journey,time_zone,consent,city",
        "Anna,'+60123456789,,prospect,,,yes,Ipoh",
        "'=cmd,'+60123456780,,prospect,,,yes,",
    ]
    copy = tmp_path / "copy.csv"
    said = shop("leads", "export", "--output", str(copy), "--device", "Counter")
    assert "2 leads" in said.out
    again = json.loads(shop("leads", "import", str(copy), "--device", "Counter", "--json").out)
    assert (again["unchanged"], again["rows"]) == (2, 2)


def test_a_sheet_of_a_workbook_goes_in(shop: Command, tmp_path: Path) -> None:
    file = write_workbook(tmp_path / "people.xlsx", {"Notes": [["x"]], "People": [["phone"], [60123456789]]})
    ended = shop("leads", "import", str(file), "--device", "Counter", "--sheet", "People")
    assert ended.code == 0, ended.err
    assert "Excel workbook, the sheet 'People'" in ended.out
    assert "+60123456789" in shop("leads", "export").out


def test_columns_are_mapped_previewed_and_a_bad_row_stops_all(shop: Command, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("Fon,Who,Internal\n012-345 6789,Anna,1\n12,Ben,2\n")
    options = (str(file), "--device", "Counter", "--map", "phone=Fon", "--map", "name=Who", "--map", "-=Internal")
    seen = shop("leads", "preview", *options)
    assert seen.code == 0, seen.err
    assert "utf-8-sig, separated by comma" in seen.out
    assert "(left out)" in seen.out
    assert "+60123456789" in seen.out
    assert "is too short" in seen.out.replace("\n", " ")
    found = json.loads(shop("leads", "preview", *options, "--rows", "1", "--json").out)
    assert (found["more"], found["rows"][0]["lead"]["name"]) == (True, "Anna")
    stopped = shop("leads", "import", *options, "--all-or-nothing")
    assert stopped.code == 2
    assert "Nothing was written, because rows were rejected" in stopped.out
    assert "+60123456789" not in shop("leads", "export").out
    assert shop("leads", "import", *options).code == 0
    assert "Anna" in shop("leads", "export").out
    for wrong, words in (
        ("phone", "is not like phone="),
        ("name=Nobody", "no heading 'Nobody'"),
        ("x=Fon", "is used twice"),
    ):
        ended = shop("leads", "import", *options, "--map", wrong)
        assert ended.code == 2
        assert words in ended.err.replace("\n", " ")


def test_imports_are_listed_and_an_ended_one_is_not_gone_on_with(shop: Command, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("phone\n012-345 6789\n12\n")
    done = json.loads(shop("leads", "import", str(file), "--device", "Counter", "--json").out)
    listed = shop("leads", "imports")
    assert "people.csv" in listed.out
    assert "100 %" in listed.out
    (found,) = json.loads(shop("leads", "imports", "--json").out)
    assert (found["id"], found["status"], found["percent"]) == (done["import_id"], "done", 100)
    assert found["report"]["added"] == 1
    number = str(done["import_id"])
    for arguments, code, words in (
        (("import", str(file), "--resume", number), 4, "has ended (done)"),
        (("import", str(file), "--resume", "99"), 3, "no import 99"),
        (("import", str(file), "--resume", number, "--map", "phone=phone"), 2, "keeps what it was started with"),
        (("import", str(file)), 2, "say which device"),
        (("imports", "--discard", number), 4, "has ended (done)"),
    ):
        ended = shop("leads", *arguments)
        assert ended.code == code, arguments
        assert words in ended.err.replace("\n", " "), ended.err


def test_a_file_without_one_usable_row_ends_with_exit_code_two(shop: Command, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("phone\nx\ny\n")
    rejected = tmp_path / "rejected.csv"
    ended = shop("leads", "import", str(file), "--device", "Counter", "--rejected", str(rejected))
    assert ended.code == 2
    assert str(rejected) in ended.out.replace("\n", "")
    assert len(rejected.read_text("utf-8-sig").splitlines()) == 3


def test_every_refusal_is_one_sentence_with_its_exit_code(shop: Command, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("name,mail\nAnna,a@example.org\n")
    for arguments, code, words in (
        (("import", str(file), "--device", "Counter"), 2, "columns found: 'name', 'mail'"),
        (("import", str(tmp_path / "none.csv"), "--device", "Counter"), 2, "does not exist"),
        (("import", str(tmp_path), "--device", "Counter"), 2, "is a folder"),
        (("import", str(file), "--device", "Nobody"), 3, "no device called 'Nobody'"),
        (("import", str(file), "--device", "Counter", "--workspace", "Elsewhere"), 3, "no workspace called"),
        (("export", "--device", "Nobody"), 3, "no device called 'Nobody'"),
        (("export", "--output", str(tmp_path)), 2, "is a folder"),
        (("export", "--output", str(tmp_path / "no" / "file.csv")), 2, "cannot be written"),
        (("export", "--json"), 2, "--output FILE"),
    ):
        ended = shop("leads", *arguments)
        assert ended.code == code, arguments
        assert words in (ended.err + ended.out).replace("\n", ""), arguments
