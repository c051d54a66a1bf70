"""The forms of times, numbers and errors that every command shares."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetcast.cli.output import complain, emit_json, error_facts, local_time, number, say, seconds, table
from fleetcast.domain.message import MessageStatus
from fleetcast.errors import InvalidInput, InvalidInputs, NotFound


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (0, "0 s"),
        (0.5, "0.5 s"),
        (10.0, "10 s"),
        (1.234, "1.2 s"),
        (59.97, "60.0 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (12_000, "3 h 20 min"),
        (86_400, "1 d"),
        (352_800, "4 d 2 h"),
    ],
)
def test_a_length_of_time_reads_like_speech(value: float, form: str) -> None:
    assert seconds(value) == form


def test_numbers_have_separators() -> None:
    assert (number(1_234_567), number(0), number(1234.56)) == ("1,234,567", "0", "1,234.6")


def test_an_instant_is_shown_by_the_workspaces_clock_across_a_change_of_summer_time() -> None:
    winter, summer = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert local_time(winter, "Europe/Berlin") == "2026-01-01 13:00:00 CET"
    assert local_time(summer, "Europe/Berlin") == "2026-07-01 14:00:00 CEST"
    assert local_time(None, "UTC") == "-"


def test_json_has_a_form_for_everything_that_commands_show(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True)
    class Thing:
        at: datetime
        took: timedelta
        status: MessageStatus
        where: Path
        sha: bytes
        name: str

    emit_json([Thing(datetime(2026, 1, 1, tzinfo=UTC), timedelta(1), MessageStatus.SENT, Path("/x"), b"\x01", "Ünï")])
    out = capsys.readouterr().out
    assert "Ünï" in out
    assert json.loads(out) == [
        {
            "at": "2026-01-01T00:00:00+00:00",
            "took": 86400.0,
            "status": "sent",
            "where": "/x",
            "sha": "01",
            "name": "Ünï",
        }
    ]


def test_what_people_wrote_is_never_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table(("name", "note"), [("[red]x[/red]", "[bold]"), (None, 3)])
    say("[link=x]y[/link]")
    complain("[/nothing]")
    captured = capsys.readouterr()
    for text in ("[red]x[/red]", "[bold]", "[link=x]y[/link]"):
        assert text in captured.out
    assert captured.err == "Error: [/nothing]\n"


def test_a_row_in_a_pipe_is_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    table(("a", "b"), [("x" * 90, "y" * 90)])
    assert "x" * 90 + "  " + "y" * 90 in capsys.readouterr().out


def test_an_error_for_machines_names_field_line_and_column() -> None:
    assert error_facts(NotFound("no such thing")) == {"type": "NotFound", "message": "no such thing"}
    both = InvalidInputs(
        [InvalidInput("body", "an unknown tag", line=2, column=5), InvalidInput("title", "is missing")]
    )
    facts = error_facts(both)
    assert (facts["field"], facts["line"], facts["column"]) == ("body", 2, 5)
    assert [p["field"] for p in facts["problems"]] == ["body", "title"]
