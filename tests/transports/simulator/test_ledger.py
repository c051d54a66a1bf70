"""The judge itself: what the ledger keeps, refuses and tells."""

import hashlib
import os
from pathlib import Path

import pytest

from fleetcast.domain.identifiers import Reference
from fleetcast.errors import ConfigurationError
from fleetcast.transports.simulator.ledger import (
    Ledger,
    LedgerSummary,
    Record,
    RecordKind,
    accepted_more_than_once,
    content_sha256,
    provider_id_of,
)


def accepted(reference: str, recipient: str = "+60123456789") -> Record:
    return Record(
        RecordKind.ACCEPTED,
        reference,
        1_700_000_000.25,
        device=7,
        recipient=recipient,
        provider_id=provider_id_of(reference),
        sha256=content_sha256("Hello", None),
    )


def sealed(reference: str) -> Record:
    return Record(RecordKind.SEALED, reference, 1_700_000_001.5)


def write(path: Path, *records: Record) -> None:
    with Ledger(path) as ledger:
        ledger.write([record.line() for record in records])


def test_what_is_written_is_read_back_unchanged(tmp_path: Path) -> None:
    records = [accepted("a-1-1"), sealed("a-2-1"), accepted("ü-“3”-1\n")]
    write(tmp_path / "ledger", *records)
    assert list(Ledger.read(tmp_path / "ledger")) == records


def test_a_restart_knows_references_and_seals(tmp_path: Path) -> None:
    write(tmp_path / "ledger", accepted("a-1-1"), sealed("a-2-1"))
    with Ledger(tmp_path / "ledger") as ledger:
        assert (ledger.accepted, ledger.sealed, ledger.rows) == ({"a-1-1"}, {"a-2-1"}, 2)


@pytest.mark.parametrize("kept", [1, 10, -1])
def test_a_torn_last_line_is_cut_off_and_the_file_goes_on(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "ledger"
    write(path, accepted("a-1-1"))
    with path.open("ab") as file:
        file.write(accepted("a-2-1").line()[:kept])
    assert [r.reference for r in Ledger.read(path)] == ["a-1-1"]
    with Ledger(path) as ledger:
        assert ledger.accepted == {"a-1-1"}
        ledger.write([accepted("a-3-1").line()])
    assert [r.reference for r in Ledger.read(path)] == ["a-1-1", "a-3-1"]


@pytest.mark.parametrize("nonsense", [b"{}\n", b"nonsense\n", b'{"kind": "accepted"}\n', b"[]\n"])
def test_an_unreadable_line_is_never_passed_over(tmp_path: Path, nonsense: bytes) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(accepted("a-1-1").line() + nonsense + accepted("a-2-1").line())
    with pytest.raises(ConfigurationError, match="Line 2 of the ledger"):
        list(Ledger.read(path))
    with pytest.raises(ConfigurationError, match="Line 2 of the ledger"), Ledger(path):
        pass


def test_a_write_returns_only_when_all_of_it_was_forced_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[int] = []
    force = os.fsync

    def watch(fd: int) -> None:
        force(fd)
        forced.append(os.fstat(fd).st_size)

    lines = [accepted("a-1-1").line(), sealed("a-2-1").line()]
    with Ledger(tmp_path / "ledger") as ledger:
        monkeypatch.setattr(os, "fsync", watch)
        ledger.write(lines)
        assert forced == [len(b"".join(lines))]
        assert ledger.rows == 2


def test_a_ledger_has_one_writer(tmp_path: Path) -> None:
    with (
        Ledger(tmp_path / "ledger"),
        pytest.raises(ConfigurationError, match="belongs to another simulator"),
        Ledger(tmp_path / "ledger"),
    ):
        pass


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    write(tmp_path / "ledger")
    assert (tmp_path / "ledger").stat().st_mode & 0o777 == 0o600


def test_the_summary_shows_a_broken_promise() -> None:
    late = Record(RecordKind.LATE, "a-4-1", 1.0)
    records = [accepted("a-1-1"), accepted("a-2-1"), accepted("a-1-1"), sealed("a-3-1"), accepted("a-3-1"), late]
    assert LedgerSummary.of(records) == LedgerSummary(
        accepted=4,
        references=3,
        duplicates={"a-1-1": 2},
        seals=1,
        late_refusals=1,
        accepted_after_seal=("a-3-1",),
    )


def test_two_attempts_of_one_message_are_found_as_one_message_taken_twice() -> None:
    records = [accepted("a-1-1"), accepted("a-1-2"), accepted("a-2-1"), sealed("a-2-2")]
    twice = accepted_more_than_once(records, lambda record: record.reference.rpartition("-")[0])
    assert {message: len(found) for message, found in twice.items()} == {"a-1": 2}


def test_accepted_records_are_found_by_reference(tmp_path: Path) -> None:
    write(tmp_path / "ledger", accepted("a-1-1"), accepted("a-2-1"), sealed("a-3-1"))
    wanted = [Reference("a-2-1"), Reference("a-3-1")]
    assert set(Ledger.find(tmp_path / "ledger", wanted)) == {"a-2-1"}


def test_the_content_hash_can_be_computed_by_anybody() -> None:
    assert content_sha256("Hé", "ab") == hashlib.sha256("Hé".encode() + b"\0ab").hexdigest()
    assert content_sha256("Hé", None) != content_sha256("Hé", "ab")
