"""The judge of linked devices: what it calls lost, twice and astray, and what it does not."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from acceptance.phones import Row, arrivals, judge
from fleetcast.domain.identifiers import DeviceId
from testbed.whatsapp_web.record import UNREADABLE, Arrival

OURS = DeviceId(1)
NUMBERS = {OURS: "60190000001"}


def row(status: str = "sent", reason: str = "", *, recipient: str = "+60110000001") -> Row:
    return Row(1, recipient, OURS, status, reason)


def arrival(mark: str = "A1", *, sender: str = "60190000001:1", kind: str = "text", copy: int = 1) -> Arrival:
    return Arrival("60110000001", sender, mark, kind, "Hello", "", "", "", "seen", "", 1.0, copy)


def test_a_message_that_was_sent_and_read_once_is_well() -> None:
    found = judge([row()], [arrival()], NUMBERS)
    assert (found.messages, found.read, found.duplicates, found.lost, found.astray) == (1, 1, 0, 0, 0)


def test_sent_and_at_no_phone_is_lost() -> None:
    assert judge([row()], [], NUMBERS).lost == 1
    assert judge([row()], [arrival(kind=UNREADABLE)], NUMBERS).lost == 1


@pytest.mark.parametrize(("status", "reason"), [("pending", ""), ("failed", "not_on_whatsapp"), ("skipped", "opt_out")])
def test_at_a_phone_and_not_listed_is_lost(status: str, reason: str) -> None:
    assert judge([row(status, reason)], [arrival()], NUMBERS).lost == 1
    assert judge([row(status, reason)], [], NUMBERS).lost == 0


@pytest.mark.parametrize(("status", "reason"), [("in_doubt", "no_answer"), ("failed", "unconfirmed")])
def test_what_is_listed_as_unknown_may_have_arrived_or_not(status: str, reason: str) -> None:
    assert [judge([row(status, reason)], came, NUMBERS).lost for came in ([], [arrival()])] == [0, 0]
    assert judge([row(status, reason)], [arrival()], NUMBERS).arrived_unconfirmed == 1


def test_another_message_with_the_same_words_is_twice_and_the_very_same_again_is_not() -> None:
    assert judge([row()], [arrival("A1"), arrival("A2")], NUMBERS).duplicates == 1
    again = judge([row()], [arrival("A1"), arrival("A1", copy=2)], NUMBERS)
    assert (again.duplicates, again.repeated) == (0, 1), "a phone shows it once"


def test_from_another_number_or_to_nobodys_row_is_astray() -> None:
    assert judge([row()], [arrival(sender="60190000002:1")], NUMBERS).astray == 1
    assert judge([row(recipient="+60110000009")], [arrival()], NUMBERS).astray == 1


def test_copies_for_the_senders_own_phone_are_no_arrivals(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    own = asdict(arrival()) | {"copied_to": "60110000001"}
    path.write_text(json.dumps(asdict(arrival())) + "\n" + json.dumps(own) + "\n", encoding="utf-8")
    assert [a.id for a in arrivals(path)] == ["A1"]
