"""The record: nothing is ever taken out of it, and what came twice is seen."""

from dataclasses import replace
from pathlib import Path

from testbed.whatsapp_web.content import read, text_message
from testbed.whatsapp_web.record import Arrival, Record

HELLO = Arrival(
    number="5511988887777",
    sender="5511900000001:1",
    id="A1",
    kind="text",
    text="hello",
    file_sha256="",
    file_name="",
    mime="",
    seen=read(text_message("hello")).seen(""),
    plain="",
    at=1.0,
)


def test_it_is_read_again_after_a_restart_and_goes_on(tmp_path: Path) -> None:
    first = Record(tmp_path / "record.jsonl")
    first.append(HELLO)
    first.close()
    second = Record(tmp_path / "record.jsonl")
    second.append(replace(HELLO, id="A2", at=2.0))
    second.close()
    third = Record(tmp_path / "record.jsonl")
    assert [each.id for each in third.at(HELLO.number)] == ["A1", "A2"]
    assert third.copies(HELLO.number, HELLO.sender, "A1") == 1
    assert third.total == 2
    third.close()


def doubles(tmp_path: Path, *arrivals: Arrival) -> list[tuple[str, int, tuple[str, ...]]]:
    record = Record(tmp_path / "record.jsonl")
    for arrival in arrivals:
        record.append(arrival)
    record.close()
    return [(each.by, each.times, each.ids) for each in record.doubles()]


def test_one_of_each_is_no_double(tmp_path: Path) -> None:
    others = replace(HELLO, number="5511977776666"), replace(HELLO, sender="5511900000002:1")
    assert doubles(tmp_path, HELLO, *others, replace(HELLO, id="A2", seen="else")) == []


def test_the_same_id_again_is_a_double_by_id_only(tmp_path: Path) -> None:
    assert doubles(tmp_path, HELLO, replace(HELLO, copy=2), replace(HELLO, copy=3)) == [("id", 3, ("A1",))]


def test_the_same_content_under_another_id_is_a_double_by_content(tmp_path: Path) -> None:
    assert doubles(tmp_path, HELLO, replace(HELLO, id="A2")) == [("content", 2, ("A1", "A2"))]


def test_the_same_content_from_another_companion_of_the_account_is_one_too(tmp_path: Path) -> None:
    again = replace(HELLO, id="A2", sender="5511900000001:2")
    assert doubles(tmp_path, HELLO, again) == [("content", 2, ("A1", "A2"))]


def test_copies_for_ones_own_phone_are_none(tmp_path: Path) -> None:
    copy = replace(HELLO, number="5511900000001", copied_to="99123@lid")
    assert doubles(tmp_path, copy, replace(copy, id="A2")) == []
