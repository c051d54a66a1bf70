"""The page on the life of a message, the enums in the code and the database say the same."""

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import asyncpg
import pytest

from fleetcast.domain.message import TRANSITIONS, Delivery, MessageStatus, Outcome, Reason, Resolution
from fleetcast.store.connection import Connection, Database

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "message-lifecycle.md").read_text(encoding="utf-8")

Edges = dict[tuple[str, str], tuple[str, ...]]
DECLARED: Edges = {(a.value, b.value): names for a, after in TRANSITIONS.items() for b, names in after.items()}
PAIRS = [(a.value, b.value) for a in MessageStatus for b in MessageStatus if a is not b]


def figure(text: str) -> str:
    """The one state diagram of a page."""
    [found] = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", text, re.DOTALL)
    return str(found)


def edges(diagram: str) -> Edges:
    """(from, to) → names, as drawn."""
    drawn = re.findall(r"^\s*(\[\*\]|\w+) --> (\w+)(?:: (.*))?$", diagram, re.MULTILINE)
    return {(before, after): tuple(re.split(r",\s*", names)) for before, after, names in drawn}


def table(heading: str) -> Iterator[list[str]]:
    """Cells of each row of the table below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and not set(line) <= set("|- ") and cells[0] not in {"T", "status", "reason"}:
            yield cells


def test_the_figure_draws_every_transition_and_no_other() -> None:
    drawn = edges(figure(PAGE))
    assert drawn.pop(("[*]", "pending")) == ("T0",)
    assert drawn == DECLARED


def test_the_readmes_short_figure_draws_no_other_transition() -> None:
    drawn = edges(figure((ROOT / "README.md").read_text(encoding="utf-8")))
    assert {pair for pair in drawn if pair[0] != "[*]"} <= set(DECLARED)
    assert {status for pair in drawn for status in pair} - {"[*]"} == set(MessageStatus)


def test_the_table_has_a_row_for_each_name_in_the_figure() -> None:
    names = {name for each in DECLARED.values() for name in each} | {"T0"}
    assert {row[0] for row in table("Transitions")} == names


@pytest.mark.parametrize(
    ("before", "after", "name"), [(*pair, name) for pair, names in DECLARED.items() for name in names]
)
def test_the_table_says_from_where_to_where(before: str, after: str, name: str) -> None:
    [cell] = [row[1] for row in table("Transitions") if row[0] == name]
    steps = [step.split("→") for step in cell.split(";")]
    assert any(before in sources and after in targets for sources, targets in steps), cell


def test_every_crash_point_has_a_test_that_is_named_after_it() -> None:
    numbers = [int(row[0].removeprefix("C")) for row in table("What happens when something dies") if row[0] != "#"]
    assert numbers == list(range(1, 18))
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = {int(n) for n in re.findall(r"^(?:async )?def test_c(\d+)_", tests, re.MULTILINE)}
    assert named == set(numbers)


def test_every_status_is_explained() -> None:
    assert [row[0].strip("`") for row in table("Statuses")] == list(MessageStatus)


def test_every_reason_is_explained() -> None:
    assert {row[0].strip("`") for row in table("Reasons")} == set(Reason)


@pytest.mark.parametrize("words", [Delivery, Outcome, Resolution])
def test_every_other_word_of_the_life_cycle_is_on_the_page(words: type[StrEnum]) -> None:
    assert [word for word in words if f"`{word}`" not in PAGE] == []


@pytest.mark.parametrize(("type_name", "words"), [("message_status", MessageStatus), ("message_delivery", Delivery)])
async def test_the_database_knows_the_same_words_in_the_same_order(
    db: Database, type_name: str, words: type[StrEnum]
) -> None:
    async with db.connection() as connection:
        rows = await connection.fetch(
            "SELECT enumlabel FROM pg_enum WHERE enumtypid = to_regtype($1) ORDER BY enumsortorder", type_name
        )
    assert [row["enumlabel"] for row in rows] == list(words)


async def put_message(connection: Connection) -> int:
    """A message with all that it points at."""
    message: int = await connection.fetchval(
        """
        WITH w AS (INSERT INTO workspaces (name) VALUES ('life cycle') RETURNING id),
        d AS (INSERT INTO devices (workspace_id, shard_id, name, transport) SELECT id, 0, 'one', 'simulator' FROM w
          RETURNING workspace_id, id),
        l AS (INSERT INTO leads (workspace_id, device_id, phone) SELECT workspace_id, id, '+60120001234' FROM d
          RETURNING workspace_id, device_id, id),
        x AS (INSERT INTO contents (workspace_id, body) SELECT id, 'Hello' FROM w RETURNING workspace_id, id),
        c AS (INSERT INTO campaigns (workspace_id, content_id, title) SELECT workspace_id, id, 'one' FROM x
          RETURNING id, content_id)
        INSERT INTO broadcast_messages (workspace_id, device_id, campaign_id, lead_id, content_id, not_before,
          created_at, shard_id, recipient, dedupe_key, variables)
        SELECT l.workspace_id, l.device_id, c.id, l.id, c.content_id, fleetcast_now(),
          fleetcast_now(), 0, '+60120001234', 'c:' || c.id || ':+60120001234', '{}'
        FROM l, c RETURNING id
        """
    )
    return message


async def force(connection: Connection, message: int, status: str) -> None:
    """Put the message into any status, past the guard: replication does not fire triggers."""
    await connection.execute("SET LOCAL session_replication_role = replica")
    await connection.execute("UPDATE broadcast_messages SET status = $2 WHERE id = $1", message, status)
    await connection.execute("SET LOCAL session_replication_role = origin")


async def test_the_database_allows_the_declared_pairs_and_refuses_every_other(db: Database) -> None:
    allowed, refused = set(), set()
    async with db.connection() as connection:
        outer = connection.transaction()
        await outer.start()
        try:
            message = await put_message(connection)
            for before, after in PAIRS:
                await force(connection, message, before)
                try:
                    async with connection.transaction():
                        await connection.execute(
                            "UPDATE broadcast_messages SET status = $2 WHERE id = $1", message, after
                        )
                    allowed.add((before, after))
                except asyncpg.CheckViolationError:
                    refused.add((before, after))
        finally:
            await outer.rollback()
    assert allowed == set(DECLARED)
    assert refused == set(PAIRS) - set(DECLARED)


@pytest.mark.parametrize("status", [status for status in MessageStatus if status is not MessageStatus.PENDING])
async def test_a_message_is_born_pending(db: Database, status: MessageStatus) -> None:
    async with db.connection() as connection:
        outer = connection.transaction()
        await outer.start()
        try:
            message = await put_message(connection)
            with pytest.raises(asyncpg.CheckViolationError, match="born pending"):
                await connection.execute(
                    """
                    INSERT INTO broadcast_messages (workspace_id, device_id, content_id, not_before, created_at,
                      shard_id, recipient, dedupe_key, variables, status)
                    SELECT workspace_id, device_id, content_id, not_before, created_at,
                      shard_id, recipient, 'other', '{}', $2
                    FROM broadcast_messages WHERE id = $1
                    """,
                    message,
                    status,
                )
        finally:
            await outer.rollback()


async def test_delivery_never_falls(db: Database) -> None:
    words = list(Delivery)
    async with db.connection() as connection:
        outer = connection.transaction()
        await outer.start()
        try:
            message = await put_message(connection)
            for before in words:
                for after in words:
                    await connection.execute("SET LOCAL session_replication_role = replica")
                    await connection.execute(
                        "UPDATE broadcast_messages SET delivery = $2 WHERE id = $1", message, before
                    )
                    await connection.execute("SET LOCAL session_replication_role = origin")
                    grows = words.index(after) >= words.index(before)
                    try:
                        async with connection.transaction():
                            await connection.execute(
                                "UPDATE broadcast_messages SET delivery = $2 WHERE id = $1", message, after
                            )
                        assert grows, f"{before} -> {after}"
                    except asyncpg.CheckViolationError:
                        assert not grows, f"{before} -> {after}"
        finally:
            await outer.rollback()
