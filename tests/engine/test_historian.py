"""What was sent over time: the sum of all slots is what the tallies say, whoever looks, and wherever it was cut."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.engine import historian
from fleetcast.engine.historian import Historian
from fleetcast.engine.retention import Retention
from fleetcast.engine.sweeper import Sweeper
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import retry_campaign
from fleetcast.services.history import Counts, Step, history
from fleetcast.services.single_sends import SingleSend, send_message
from fleetcast.services.suppressions import add_suppression
from fleetcast.services.workspaces import get_workspace
from fleetcast.store import history as store
from fleetcast.store import inbox, sweeping
from fleetcast.store.connection import Connection
from fleetcast.transports.simulator.control import SimulatorControl
from tests.engine.test_sending import launched, people
from tests.running import Fleet, until
from tests.store.broadcast import Broadcast, make_broadcast, move_time

STATUSES = ("sent", "failed", "skipped", "cancelled")


@pytest.fixture
async def connection(runtime: Runtime) -> AsyncIterator[Connection]:
    async with runtime.db.connection() as connection:
        yield connection


@pytest.fixture
async def cast(connection: Connection, workspace: WorkspaceId) -> Broadcast:
    made = await make_broadcast(connection, workspace)
    await made.queue(connection)
    return made


async def whole(connection: Connection, workspace: WorkspaceId) -> Counts:
    """All slots together."""
    row = await connection.fetchrow(
        f"SELECT {', '.join(f'coalesce(sum({name}), 0)::bigint AS {name}' for name in store.NAMES)} "
        "FROM workspace_history WHERE workspace_id = $1",
        workspace,
    )
    assert row is not None
    return Counts(*row)


async def rows_say(connection: Connection, workspace: WorkspaceId) -> Counts:
    """What the messages themselves say, those of campaigns and single ones."""
    counted = await connection.fetchrow(
        f"SELECT {', '.join(f'''count(*) FILTER (WHERE status = '{s}') AS {s}''' for s in STATUSES)}, "
        "count(*) FILTER (WHERE delivery <> 'none') AS delivered, count(*) FILTER (WHERE delivery = 'read') AS read "
        "FROM broadcast_messages WHERE workspace_id = $1",
        workspace,
    )
    assert counted is not None
    return Counts(**dict(counted))


async def slots(connection: Connection) -> dict[datetime, int]:
    """Slot → messages sent in it."""
    rows = await connection.fetch("SELECT slot, sum(sent)::int AS n FROM workspace_history GROUP BY slot ORDER BY slot")
    return {row["slot"]: row["n"] for row in rows}


async def test_each_look_adds_what_is_new_and_nothing_else(
    connection: Connection, runtime: Runtime, cast: Broadcast
) -> None:
    keeper = Historian(runtime)
    for message in cast.messages[:3]:
        await cast.send(connection, message)
        await keeper.run_once()
        await keeper.run_once()
    await cast.end(connection, cast.messages[3], MessageStatus.FAILED, Reason.NOT_ON_WHATSAPP, Outcome.REFUSED)
    await Historian(runtime).run_once()  # as after a restart
    assert await whole(connection, cast.workspace) == Counts(sent=3, failed=1)


async def test_ten_schedulers_that_look_at_once_count_everything_once(
    connection: Connection, runtime: Runtime, cast: Broadcast
) -> None:
    keepers = [Historian(runtime) for _ in range(10)]
    for message in cast.messages[:5]:
        await cast.send(connection, message)
        await asyncio.gather(*(keeper.run_once() for keeper in keepers))
    await keepers[0].run_once()
    assert await whole(connection, cast.workspace) == Counts(sent=5)


@pytest.mark.parametrize("seed", range(5))
async def test_wherever_a_look_is_cut_short_the_sum_stays_right(
    connection: Connection, runtime: Runtime, cast: Broadcast, seed: int
) -> None:
    random = Random(seed)
    for message in cast.messages:
        await cast.send(connection, message)
        look = asyncio.create_task(Historian(runtime).run_once())
        for _ in range(random.randrange(12)):
            await asyncio.sleep(0)
        look.cancel()
        await asyncio.gather(look, return_exceptions=True)
    await until(lambda: _looked(runtime))
    assert await whole(connection, cast.workspace) == Counts(sent=6)


async def _looked(runtime: Runtime) -> bool:
    keeper = Historian(runtime)  # a look that was cut short may hold the row for a moment
    await keeper.run_once()
    return keeper.looks == 1


async def test_folding_the_tallies_changes_nothing(connection: Connection, runtime: Runtime, cast: Broadcast) -> None:
    keeper = Historian(runtime)
    await cast.send(connection, *cast.messages[:2])
    await keeper.run_once()
    await sweeping.fold_tallies(connection, 0)
    await keeper.run_once()
    await cast.send(connection, cast.messages[2])
    await sweeping.fold_tallies(connection, 0)
    await keeper.run_once()
    assert await whole(connection, cast.workspace) == Counts(sent=3)


async def test_what_failed_and_is_tried_again_is_taken_back_where_it_is_tried_again(
    connection: Connection, runtime: Runtime, cast: Broadcast
) -> None:
    for message in cast.messages:
        await cast.end(connection, message, MessageStatus.FAILED, Reason.RECIPIENT_REFUSED, Outcome.REFUSED)
    await Historian(runtime).run_once()
    await Sweeper(runtime, {}).run_once()
    await move_time(connection, timedelta(hours=2))
    assert await retry_campaign(runtime, cast.workspace, cast.campaign, actor="test") == 6
    await cast.queue(connection)
    await cast.send(connection, *cast.messages)
    await Historian(runtime).run_once()
    rows = await connection.fetch("SELECT failed, sent FROM workspace_history ORDER BY slot")
    assert [tuple(row) for row in rows] == [(6, 0), (-6, 6)]
    assert await whole(connection, cast.workspace) == await rows_say(connection, cast.workspace) == Counts(sent=6)


async def test_what_happens_between_two_looks_belongs_to_the_quarter_in_which_it_began(
    connection: Connection, runtime: Runtime, cast: Broadcast
) -> None:
    now: datetime = await connection.fetchval("SELECT fleetcast_now()")
    end = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    await move_time(connection, end - now - timedelta(seconds=15))
    keeper = Historian(runtime)
    assert await keeper.run_once() == pytest.approx(15, abs=5), "the next look is due when the hour is full"
    await cast.send(connection, cast.messages[0])
    await move_time(connection, timedelta(seconds=25))
    await keeper.run_once()
    await cast.send(connection, cast.messages[1])
    await move_time(connection, timedelta(seconds=25))
    await keeper.run_once()
    assert await slots(connection) == {end - timedelta(minutes=15): 1, end: 1}


async def test_what_nobody_saw_for_long_belongs_to_when_it_is_seen(
    connection: Connection, runtime: Runtime, cast: Broadcast
) -> None:
    keeper = Historian(runtime)
    await cast.send(connection, cast.messages[0])
    await keeper.run_once()
    await cast.send(connection, cast.messages[1])
    await move_time(connection, timedelta(hours=3))
    await keeper.run_once()
    first, second = await slots(connection)
    assert second - first >= timedelta(hours=2, minutes=45)


async def test_a_campaign_of_before_there_was_a_history_stands_where_it_ended(
    connection: Connection, runtime: Runtime, cast: Broadcast
) -> None:
    await cast.send(connection, *cast.messages)
    await Sweeper(runtime, {}).run_once()
    ended = datetime(2026, 3, 1, 9, 50, tzinfo=UTC)
    await connection.execute("UPDATE campaigns SET ended_at = $1", ended)
    await Historian(runtime).run_once()
    assert await slots(connection) == {datetime(2026, 3, 1, 9, 45, tzinfo=UTC): 6}


async def test_a_late_receipt_of_a_campaign_long_over_waits_for_its_turn(
    connection: Connection, runtime: Runtime, cast: Broadcast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(historian, "TURN", 1)
    await cast.send(connection, *cast.messages)
    await Sweeper(runtime, {}).run_once()
    later = [await make_broadcast(connection, cast.workspace, people=1) for _ in range(3)]
    keeper = Historian(runtime)
    for _ in range(5):
        await keeper.run_once()
    await connection.execute(
        "UPDATE campaigns SET ended_at = ended_at - interval '10 days' WHERE id = $1", cast.campaign
    )
    device, provider = cast.devices[0], f"provider-{cast.messages[0]}"
    await inbox.apply_receipts(connection, [(device, provider, "read", datetime.now(UTC))])
    for _ in range(2 * len(later)):
        await keeper.run_once()
    assert await whole(connection, cast.workspace) == Counts(sent=6, delivered=1, read=1)


async def test_single_messages_replies_and_people_who_stop_are_counted_too(fleet: Fleet) -> None:
    device = await fleet.device()
    async with SimulatorControl(fleet.runtime.simulator_socket) as control:
        await control.behave(delivered=1.0, read=1.0, delivered_after=[0.0, 0.05], read_after=[0.0, 0.05])
    for n in range(3):
        asked = SingleSend(device.id, f"+60123000{n:03d}", "Hello")
        await send_message(fleet.runtime, fleet.workspace.id, asked, actor="test")
    workspace = await get_workspace(fleet.runtime, fleet.workspace.id)
    await add_suppression(fleet.runtime, workspace, "+60123999999", actor="test")
    asked = SingleSend(device.id, "+60123999999", "Hello")
    await send_message(fleet.runtime, fleet.workspace.id, asked, actor="test")
    keeper = Historian(fleet.runtime)

    async def all_read() -> bool:
        await keeper.run_once()
        async with fleet.runtime.db.connection() as connection:
            return (await whole(connection, fleet.workspace.id)).read == 3

    await until(all_read)
    async with fleet.runtime.db.connection() as connection:
        told = await whole(connection, fleet.workspace.id)
        assert told == await rows_say(connection, fleet.workspace.id) + Counts(opted_out=1)
        assert told == Counts(sent=3, delivered=3, read=3, skipped=1, opted_out=1)


async def test_a_whole_campaign_with_schedulers_that_come_and_go_adds_up(fleet: Fleet) -> None:
    for n in range(3):
        await fleet.leads(await fleet.device(f"Shop {n}"), people(40, first=n * 40))
    async with SimulatorControl(fleet.runtime.simulator_socket) as control:
        await control.behave(delivered=1.0, read=0.5, delivered_after=[0.0, 0.1], read_after=[0.0, 0.1])
    campaign = await launched(fleet)

    async def over() -> bool:
        await asyncio.gather(*(Historian(fleet.runtime).run_once() for _ in range(3)))
        async with fleet.runtime.db.connection() as connection:
            told = await rows_say(connection, fleet.workspace.id)
        return await fleet.has_finished(campaign) and told.delivered == told.sent

    await until(over)

    async def adds_up() -> bool:  # a receipt may come between the two questions
        await Historian(fleet.runtime).run_once()
        async with fleet.runtime.db.transaction() as connection:
            return await whole(connection, fleet.workspace.id) == await rows_say(connection, fleet.workspace.id)

    await until(adds_up)


async def test_retention_takes_nothing_from_the_history(
    connection: Connection, runtime: Runtime, cast: Broadcast
) -> None:
    await cast.send(connection, *cast.messages)
    await Sweeper(runtime, {}).run_once()
    await Historian(runtime).run_once()
    await move_time(connection, timedelta(days=400))
    await Retention(runtime).run_once(asyncio.Event())
    assert await connection.fetchval("SELECT count(*) FROM broadcast_messages") == 0
    await Historian(runtime).run_once()
    assert await whole(connection, cast.workspace) == Counts(sent=6)


async def test_days_are_those_of_the_workspaces_clock(
    connection: Connection, runtime: Runtime, workspace: WorkspaceId
) -> None:
    await connection.execute("UPDATE workspaces SET time_zone = 'Asia/Kolkata' WHERE id = $1", workspace)
    for slot, n in (("2026-03-01 18:15+00", 1), ("2026-03-01 18:30+00", 10), ("2026-03-02 18:15+00", 100)):
        await connection.execute(
            "INSERT INTO workspace_history (workspace_id, slot, sent) VALUES ($1, $2::text::timestamptz, $3)",
            workspace,
            slot,
            n,
        )
    told = await history(runtime, workspace, date(2026, 3, 1), date(2026, 3, 2), Step.DAY)
    assert [p.counts.sent for p in told.periods] == [1, 110], "in India the day begins at half past six in the evening"
    assert told.total == Counts(sent=111)
    hours = await history(runtime, workspace, date(2026, 3, 2), date(2026, 3, 2), Step.HOUR)
    assert [p.counts.sent for p in hours.periods] == [10, *[0] * 22, 100]


async def test_another_workspaces_history_is_not_ones_own(
    connection: Connection, runtime: Runtime, cast: Broadcast
) -> None:
    await cast.send(connection, *cast.messages)
    await Historian(runtime).run_once()
    other = await connection.fetchval("INSERT INTO workspaces (name) VALUES ('Elsewhere') RETURNING id")
    today = (await connection.fetchval("SELECT fleetcast_now()")).date()
    told = await history(runtime, WorkspaceId(other), today - timedelta(days=1), today)
    assert told.total == Counts()
    assert (await history(runtime, cast.workspace, today - timedelta(days=1), today)).total == Counts(sent=6)


async def test_more_than_can_be_shown_is_refused_and_said_what_can(runtime: Runtime, workspace: WorkspaceId) -> None:
    day = date(2026, 3, 1)
    for last, step, said in (
        (day - timedelta(days=1), None, "before the first"),
        (day + timedelta(days=60), Step.HOUR, "at most 40"),
        (date(2099, 3, 1), None, "at most 1000"),
        (date(2101, 1, 1), None, "give a year"),
    ):
        with pytest.raises(InvalidInput, match=said):
            await history(runtime, workspace, day, last, step)
