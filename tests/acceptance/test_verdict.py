"""The judge of the long proofs can find against us."""

import asyncio
from pathlib import Path

import pytest

from acceptance.verdict import judge, whole
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.store import identity
from fleetcast.transports.simulator.ledger import Record, RecordKind
from tests.store.broadcast import Broadcast, make_broadcast


@pytest.fixture
async def cast(runtime: Runtime, workspace: WorkspaceId) -> Broadcast:
    """Four messages of which three are sent and one was left to an opt-out."""
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=1, people=4)
        await made.queue(connection)
        await made.send(connection, *made.messages[:3])
        await connection.execute(
            "UPDATE broadcast_messages SET status = 'skipped', reason = 'opt_out', ended_at = fleetcast_now() "
            "WHERE id = $1",
            made.messages[3],
        )
        await connection.execute("DELETE FROM campaign_tallies")
        await connection.execute(
            "INSERT INTO campaign_tallies (campaign_id, counter, reason, n) "
            "VALUES ($1, 'sent', NULL, 3), ($1, 'skipped', 'opt_out', 1)",
            made.campaign,
        )
    return made


async def ledger_of(runtime: Runtime, path: Path, *messages: int) -> Path:
    """A ledger that accepted these messages."""
    async with runtime.db.connection() as connection:
        install = await identity.install_id(connection)
    lines = (Record(RecordKind.ACCEPTED, f"{install}-{m}-1", 1.0).line() for m in messages)
    await asyncio.to_thread(path.write_bytes, b"".join(lines))
    return path


async def test_what_arrived_once_and_is_sent_is_well(runtime: Runtime, cast: Broadcast, tmp_path: Path) -> None:
    ledger = await ledger_of(runtime, tmp_path / "ledger", *cast.messages[:3])
    verdict = await judge(runtime, ledger, [cast.campaign], excused=["opt_out"])
    assert (verdict.lost, verdict.duplicates, verdict.counts_off, verdict.messages) == (0, 0, 0, 4)
    assert await whole(runtime, ledger) == []


@pytest.mark.parametrize(
    ("accepted", "lost", "twice"),
    [
        ((0, 1), 1, 0),  # sent, and never arrived
        ((0, 1, 2, 2, 2), 0, 2),
        ((0, 1, 2, 3), 1, 0),  # arrived, and the row says that it was skipped
    ],
)
async def test_what_is_lost_or_doubled_or_untrue_is_counted(
    runtime: Runtime, cast: Broadcast, tmp_path: Path, accepted: tuple[int, ...], lost: int, twice: int
) -> None:
    ledger = await ledger_of(runtime, tmp_path / "ledger", *(cast.messages[n] for n in accepted))
    verdict = await judge(runtime, ledger, [cast.campaign], excused=["opt_out"])
    assert (verdict.lost, verdict.duplicates) == (lost, twice)
    assert await whole(runtime, ledger) != []


async def test_a_reason_that_is_not_expected_and_a_person_without_a_row_are_losses(
    runtime: Runtime, cast: Broadcast, tmp_path: Path
) -> None:
    ledger = await ledger_of(runtime, tmp_path / "ledger", *cast.messages[:3])
    assert (await judge(runtime, ledger, [cast.campaign])).lost == 1
    async with runtime.db.connection() as connection:
        await connection.execute(
            "INSERT INTO leads (workspace_id, device_id, phone) VALUES ($1, $2, '+60129999999')",
            cast.workspace,
            cast.devices[0],
        )
        await connection.execute("UPDATE campaign_tallies SET n = n + 1 WHERE counter = 'sent'")
    verdict = await judge(runtime, ledger, [cast.campaign], excused=["opt_out"])
    assert (verdict.lost, verdict.counts_off) == (1, 1)
