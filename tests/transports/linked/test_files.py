"""What lies beside a session, and what travels between parent and child: written whole, read back the same."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetcast.domain.identifiers import DeviceId, Phone
from fleetcast.domain.pairing import Code, CodeKind
from fleetcast.transports.base import PairingCode, Receipt, ReceiptKind
from fleetcast.transports.linked.files import DeviceFiles, Held, Notes
from fleetcast.transports.linked.happenings import Marks
from fleetcast.transports.linked.journal import ROOM, Journal
from fleetcast.transports.linked.protocol import BrokenFrame, Confirm, File, Frame, Send, Told, decode, encode

AT = datetime(2026, 11, 27, 4, 0, tzinfo=UTC)
DEVICE = DeviceId(7)


def marks(*ids: str) -> Marks:
    return Marks(ids, False, "60123456789", False, AT)


def session(path: Path, text: str) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE t (x)")
        file.execute("INSERT INTO t VALUES (?)", (text,))
        file.commit()


# frames


@pytest.mark.parametrize(
    "frame",
    [
        Send(
            3,
            DEVICE,
            Phone("+60123456789"),
            "ref",
            "Hello\n“you” 🙂\u2028",
            File("ab", "image/png", "a b.png"),
            False,
            12.5,
        ),
        Send(3, DEVICE, Phone("+60123456789"), "ref", "\ud800 half a character", None, True, 12.5),
        Confirm(DEVICE, ("one", "two")),
        Told(Receipt("e", DEVICE, "3EB0", ReceiptKind.READ, AT, recipient=Phone("+60123456789")), True),
        Told(PairingCode("e", DEVICE, Code(1, CodeKind.QR, "2@secret", 20.0), AT), False),
    ],
)
def test_a_frame_is_one_line_and_comes_out_as_it_went_in(frame: Frame) -> None:
    line = encode(frame)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    read = decode(line)
    assert read == frame
    if isinstance(read, Told) and isinstance(read.event, Receipt):
        assert isinstance(read.event.kind, ReceiptKind)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"$": "os.system"}', b'{"$": "Ping"}', b'{"x": 1}', b"3"])
def test_what_is_no_frame_is_refused(line: bytes) -> None:
    with pytest.raises(BrokenFrame):
        decode(line)


# the journal


def test_what_was_written_is_there_until_all_that_came_of_it_is_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "7.events"
    journal = Journal(path)
    entry = journal.write(marks("A", "B"))
    assert journal.told(entry, ["delivered-A", "delivered-B"]) == ["delivered-A", "delivered-B"]
    journal.confirm(["delivered-A", "another"])
    assert [value for _, value in Journal(path).waiting()] == [marks("A", "B")]
    journal.confirm(["delivered-B"])
    assert Journal(path).waiting() == []
    assert path.stat().st_size == 0
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_comes_twice_is_told_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "7.events")
    first, again = journal.write(marks("A")), journal.write(marks("A"))
    assert journal.told(first, ["delivered-A"]) == ["delivered-A"]
    assert journal.told(again, ["delivered-A"]) == []
    journal.confirm(["delivered-A"])
    assert journal.waiting() == []


def test_a_line_that_was_cut_off_by_a_kill_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "7.events"
    Journal(path).write(marks("A"))
    with path.open("ab") as file:
        file.write(encode(marks("B"))[:-20])
    assert [value for _, value in Journal(path).waiting()] == [marks("A")]


def test_the_file_does_not_grow_with_what_was_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "7.events"
    journal = Journal(path)
    kept = journal.write(marks("kept"))
    journal.told(kept, ["delivered-kept"])
    for n in range(2 * ROOM):
        journal.told(journal.write(marks(str(n))), [f"delivered-{n}"])
        journal.confirm([f"delivered-{n}"])
    assert len(path.read_bytes().splitlines()) <= ROOM + 1
    assert next(value for _, value in Journal(path).waiting()) == marks("kept")


# files


def test_a_copy_brings_session_and_notes_back_on_another_machine(tmp_path: Path) -> None:
    north, south = tmp_path / "north", tmp_path / "south"
    for folder in (north, south):
        folder.mkdir()
    here, there = DeviceFiles(north, DEVICE), DeviceFiles(south, DEVICE)
    session(here.session, "a ratchet")
    here.write_notes(Notes(order=3, phone="+60123456789").restricted(AT, "banned", may_answer=False))
    there.restore(here.copied())
    with closing(sqlite3.connect(there.session)) as file:
        assert file.execute("SELECT x FROM t").fetchall() == [("a ratchet",)]
    assert there.read_notes() == here.read_notes()
    assert there.read_notes().until == AT
    assert {path.stat().st_mode & 0o777 for path in south.iterdir()} == {0o600}


def test_a_session_that_was_just_made_takes_its_name_with_its_notes_and_the_old_one_is_gone(tmp_path: Path) -> None:
    files = DeviceFiles(tmp_path, DEVICE)
    session(files.session, "old")
    files.write_notes(replace(Notes(order=1), locks=2))
    session(files.fresh, "new")
    files.adopt(Notes(order=2))
    with closing(sqlite3.connect(files.session)) as file:
        assert file.execute("SELECT x FROM t").fetchall() == [("new",)]
    assert files.read_notes() == Notes(order=2)
    assert not files.fresh.exists()
    files.forget()
    assert not files.is_paired
    assert files.read_notes() == Notes()


def test_a_session_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    one, other = Held(tmp_path / "7.lock"), Held(tmp_path / "7.lock")
    assert one.take()
    assert one.take()
    assert not other.take()
    one.give_back()
    one.give_back()
    assert other.take()
    other.give_back()


def test_a_code_is_not_shown_where_a_frame_is_printed() -> None:
    told = Told(PairingCode("e", DEVICE, Code(1, CodeKind.QR, "2@secret", 20.0), AT), False)
    assert "2@secret" not in repr(told)
