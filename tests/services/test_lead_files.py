"""Lead files as spreadsheets, CRMs and accidents leave them."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleetcast.errors import InvalidInput
from fleetcast.services import lead_files
from fleetcast.services.lead_files import open_lead_file
from fleetcast.services.lead_rows import BadRow, Row


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "leads.csv"


@contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    """Root may read everything: for a moment it is nobody."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def _rows(path: Path) -> list[tuple[int, list[str] | str]]:
    with open_lead_file(path) as opened:
        return [(r.line, r.cells) if isinstance(r, Row) else (r.problem.line, r.cells[0]) for r in opened.rows()]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_encoding_delimiter_and_line_ends_are_found(file: Path, encoding: str, delimiter: str, line_end: str) -> None:
    text = line_end.join((delimiter.join(('"name, or; so"', "Téléphone")), delimiter.join(("José", '"01;2,3"')), ""))
    file.write_bytes(text.encode(encoding))
    with open_lead_file(file) as opened:
        assert opened.delimiter == delimiter
        assert [h.text for h in opened.headings.columns] == ["name, or; so", "Téléphone"]
        assert list(opened.rows()) == [Row(2, ["José", "01;2,3"])]
        assert opened.bytes_read == opened.size


def test_a_letter_beyond_ascii_at_the_very_end_still_decides_the_encoding(file: Path) -> None:
    file.write_bytes(b"phone,name\n" + b"1,a\n" * 600_000 + "1,é".encode("cp1252"))
    with open_lead_file(file) as opened:
        assert opened.encoding == "cp1252"
        *_, last = opened.rows()
    assert last == Row(600_002, ["1", "é"])


def test_excels_own_note_of_the_delimiter_is_obeyed(file: Path) -> None:
    file.write_text("sep=|\r\nname|phone\r\na|1\r\n")
    assert _rows(file) == [(3, ["a", "1"])]
    file.write_text("\ufeffsep=\t\nname\tphone\na\t1\n")
    assert _rows(file) == [(3, ["a", "1"])]


def test_one_column_is_enough(file: Path) -> None:
    file.write_text("phone\n1\n")
    assert _rows(file) == [(2, ["1"])]


def test_rows_carry_the_line_they_start_on(file: Path) -> None:
    file.write_text('\n\nname,phone\n"two\nlines",1\n\n"a ""b"", c",2\nd,3')
    assert _rows(file) == [(4, ["two\nlines", "1"]), (7, ['a "b", c', "2"]), (8, ["d", "3"])]


def test_headings_may_hold_quotes_and_line_breaks(file: Path) -> None:
    file.write_text('"phone\nnumber","a;b;c;d"\n1,2\n')
    assert _rows(file) == [(3, ["1", "2"])]
    file.write_text('5" pipe,phone\n1,2\n')
    assert _rows(file) == [(2, ["1", "2"])]


def test_a_quote_that_is_never_closed_costs_one_row_and_not_the_rest(file: Path) -> None:
    many = "".join(f"n{i},{i}\n" for i in range(5_000))
    file.write_text(f'name,phone\na,1\n"open,2\n{many}z,"3"\n"last,4\nend,5')
    rows = _rows(file)
    assert rows[:3] == [(2, ["a", "1"]), (3, '"open,2'), (4, ["n0", "0"])]
    assert rows[-3:] == [(5_004, ["z", "3"]), (5_005, '"last,4'), (5_006, ["end", "5"])]
    assert len(rows) == 5_005


def test_text_after_a_closing_quote_is_refused_and_not_guessed(file: Path) -> None:
    file.write_text('name,phone\n"a"b,1\nc,2\n')
    with open_lead_file(file) as opened:
        bad, good = opened.rows()
    assert isinstance(bad, BadRow)
    assert (bad.problem.line, bad.problem.column) == (2, "")
    assert "not followed by the delimiter" in bad.problem.reason
    assert good == Row(3, ["c", "2"])


def test_memory_stays_flat_whatever_a_row_holds(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lead_files, "MAX_LINE_CHARS", 2_000)
    file.write_text("name,phone\nok,1\n" + "x" * 3_000 + ",2\n")
    with open_lead_file(file) as opened, pytest.raises(InvalidInput, match=r"more than 2,000 characters \(line 3\)"):
        list(opened.rows())
    file.write_text('name,phone\n"' + ("y" * 1_500 + "\n") * 200 + '",2\nend,3\n')
    rows = _rows(file)
    assert rows[0][0] == 2
    assert rows[-1] == (203, ["end", "3"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf\n \n", "the file is empty"),
        (b"PK\x03\x04rest of a workbook", "the workbook is damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "an Excel workbook of the old kind"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\x1f\x8b\x08", "a compressed file"),
        ("name,phone\n".encode("utf-16-le"), "UTF-16 without its mark"),
        (b"na\0me,phone\n1,2\n", "not a text file"),
        (b"name,phone\n\xe9\x81,1\n", "neither UTF-8 nor Windows-1252"),
        (b"\xff\xfen", "encoding is mixed"),
        (b'"name,phone\n1,2\n', "a quote that is not closed"),
    ],
)
def test_s23_what_is_no_csv_file_is_refused_with_what_to_do(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=words) as caught:
        open_lead_file(file)
    assert caught.value.field == "file"


def test_a_file_without_a_phone_column_names_the_columns_it_has(file: Path) -> None:
    file.write_text("name;mail\nAnna;a@example.org\n")
    with pytest.raises(InvalidInput, match="columns found: 'name', 'mail'"):
        open_lead_file(file)


def test_only_headings_is_a_file_without_rows(file: Path) -> None:
    file.write_text("name,phone")
    assert _rows(file) == []


def test_paths_that_cannot_be_read_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        open_lead_file(tmp_path / "none.csv")
    with pytest.raises(InvalidInput, match="is a folder"):
        open_lead_file(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="not an ordinary file"):
        open_lead_file(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="cannot be opened"):
        open_lead_file(tmp_path / ("x" * 300))
    with pytest.raises(InvalidInput, match="cannot be opened"):
        open_lead_file(Path("a\0b"))


def test_a_file_of_somebody_else_is_refused_in_a_sentence(short_directory: Path) -> None:
    file = short_directory / "theirs.csv"
    file.write_text("phone\n1\n")
    file.chmod(0)
    with as_an_ordinary_user(), pytest.raises(InvalidInput, match="may not be read"):
        open_lead_file(file)
