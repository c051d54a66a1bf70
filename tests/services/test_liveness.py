"""The rule by which a process is told to be in trouble."""

from datetime import UTC, datetime

from fleetcast.services.liveness import SILENT_SECONDS, missing, troubles
from fleetcast.store.processes import Process

GONE = SILENT_SECONDS + 5


def process(name: str, kind: str = "sender", *, silent: float = 1.0, **stuck: float) -> Process:
    ages = {f"age:{loop}": seconds for loop, seconds in stuck.items()}
    return Process(name, kind, "node", datetime(2026, 1, 1, tzinfo=UTC), tuple(stuck), ages, silent)


def told(*known: Process) -> list[tuple[str, str]]:
    return [(t.process, str(t)) for t in troubles(known)]


def test_processes_that_move_are_no_trouble() -> None:
    assert told(process("a"), process("b", "scheduler"), process("c", "web")) == []


def test_a_loop_that_stands_still_is_told_with_its_process_and_seconds() -> None:
    assert told(process("a"), process("b", claims=41.2, results=35.0)) == [
        ("b", "Loops of the sender stand still: claims for 41 seconds, results for 35 seconds.")
    ]


def test_the_last_of_its_kind_is_missed() -> None:
    assert told(process("a", silent=GONE), process("b", "scheduler")) == [
        ("a", "The sender was not heard of for 20 seconds, and there is no other.")
    ]


def test_a_process_that_was_killed_and_replaced_is_nobodys_trouble() -> None:
    assert told(process("a", silent=GONE), process("b")) == []


def test_what_a_lost_process_said_last_is_not_repeated() -> None:
    assert told(process("a", silent=GONE, claims=41.0), process("b")) == []


def test_of_many_that_are_gone_the_last_is_told() -> None:
    assert [name for name, _ in told(*(process(f"p{n}", silent=GONE + n) for n in (3, 1, 2)))] == ["p1"]


def test_what_signed_off_or_never_was_there_is_nobodys_trouble() -> None:
    assert told() == []
    assert told(process("c", "web")) == []


def test_kinds_that_campaigns_need_are_missed_however_they_ended_and_told_once() -> None:
    assert missing([process("c", "web")]) == ["scheduler", "sender"]
    assert missing([process("a"), process("b", "scheduler")]) == []
    assert missing([process("a", silent=GONE), process("b", "scheduler")]) == [], "that is told as trouble"
