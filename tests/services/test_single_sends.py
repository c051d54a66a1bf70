"""Messages to one person as rows: made once, moved by the same statements, kept and deleted like all others."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetcast.domain.content import Template, literal
from fleetcast.domain.identifiers import DeviceId, MessageId, WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.engine.retention import Retention
from fleetcast.engine.sweeper import Sweeper
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services.doubts import Resent, confirm_arrived, give_up, resend
from fleetcast.services.restore import after_restore
from fleetcast.services.single_sends import SingleSend, send_message
from fleetcast.store import retention, shards, transitions
from fleetcast.store.connection import Connection
from fleetcast.store.invariants import broken_invariants
from fleetcast.store.messages import MessageRow
from fleetcast.store.shards import Room
from tests.campaign_scene import Scene
from tests.store.broadcast import Broadcast, make_broadcast, move_time

STOP = asyncio.Event()


@pytest.fixture
async def connection(runtime: Runtime) -> AsyncIterator[Connection]:
    async with runtime.db.connection() as connection:
        yield connection


@pytest.fixture
async def cast(connection: Connection, workspace: WorkspaceId) -> Broadcast:
    """A running campaign of sixty people on one device, under a lease."""
    return await make_broadcast(connection, workspace, devices=1, people=60)


async def send(runtime: Runtime, cast: Broadcast, n: int = 1, **more: str) -> MessageRow:
    once = more.pop("once", None)
    asked = SingleSend(cast.devices[0], f"+6013{n:07}", more.pop("text", "Hello"), **more)
    return await send_message(runtime, cast.workspace, asked, actor="test", once=once)


async def standing(connection: Connection, *messages: MessageRow) -> list[tuple[str, str | None]]:
    rows = await connection.fetch(
        "SELECT status::text, reason FROM broadcast_messages WHERE id = ANY ($1::bigint[]) ORDER BY id",
        [m.id for m in messages],
    )
    return [(r["status"], r["reason"]) for r in rows]


async def room(connection: Connection, cast: Broadcast) -> Room:
    [found] = await shards.room(connection, [cast.devices[0]])
    return found


# --- the text


@given(st.text(alphabet=st.sampled_from("{}%- \n\"'endrawx#|"), max_size=60))
def test_s08_a_text_is_sent_as_it_is_written_whatever_braces_it_has(text: str) -> None:
    assert Template.parse(literal(text)).render({}, 0.0) == text


@pytest.mark.parametrize("text", ["{{ name }}", "{% raw %}{{ x }}{% endraw %}", "{{" * 400, "x{% endraw %}{{ y }}"])
def test_s08_markup_in_a_text_does_nothing(text: str) -> None:
    assert Template.parse(literal(text)).render({"name": "Ada", "x": 1, "y": 2}, 0.0) == text


def test_a_text_that_cannot_be_sent_is_refused_by_the_name_that_is_given() -> None:
    for text in ("\0", "\ud800", "x" * 20_001):
        with pytest.raises(InvalidInput) as refused:
            literal(text, "text")
        assert (refused.value.field, refused.value.line) == ("text", None)


# --- made once


async def test_f08_a_key_holds_for_as_long_as_its_message_is_kept(runtime: Runtime, cast: Broadcast) -> None:
    first = await send(runtime, cast, once="order-17")
    assert (await send(runtime, cast, once="order-17")).id == first.id
    assert (await send(runtime, cast, 2, once="order-17")).id != first.id
    assert (await send(runtime, cast, once="order-18")).id != first.id
    with pytest.raises(InvalidInput, match="another request"):
        await send(runtime, cast, once="order-17", text="Something else")


async def test_consent_that_was_refused_on_any_device_keeps_a_message_back(
    runtime: Runtime, workspace: WorkspaceId, connection: Connection
) -> None:
    scene = Scene(runtime, workspace)
    one, two = await scene.add_device(), await scene.add_device()
    await scene.add_lead(one, "+60131111111", consent="refused")
    await scene.add_lead(one, "+60132222222", consent="given")
    for device, number, expected in (
        (one, "+60131111111", ("skipped", "opt_out")),
        (two, "+60131111111", ("skipped", "opt_out")),
        (one, "+60132222222", ("pending", None)),
        (two, "+60133333333", ("pending", None)),
    ):
        made = await send_message(runtime, workspace, SingleSend(device, number, "Hello"), actor="test")
        assert (made.status, made.reason) == expected
    assert await broken_invariants(connection) == []


async def test_it_counts_as_the_last_word_to_a_person_who_is_several_leads(
    runtime: Runtime, workspace: WorkspaceId, connection: Connection
) -> None:
    scene = Scene(runtime, workspace)
    one, two = await scene.add_device(), await scene.add_device()
    for device in (one, two):
        await scene.add_lead(device, "+60131111111")
    made = await send_message(runtime, workspace, SingleSend(two, "+60131111111", "Hello"), actor="test")
    for status in ("queued", "sending", "sent"):
        await connection.execute(
            "UPDATE broadcast_messages SET status = $2::text::message_status, sent_at = fleetcast_now() WHERE id = $1",
            made.id,
            status,
        )
    campaign = await scene.launched()
    assert [r["device_id"] for r in await scene.rows(campaign)] == [two]


async def test_a_device_that_goes_while_a_message_is_made_is_named(
    runtime: Runtime, cast: Broadcast, connection: Connection
) -> None:
    await connection.execute("UPDATE devices SET deleted_at = fleetcast_now()")
    with pytest.raises(InvalidInput) as refused:
        await send(runtime, cast)
    assert refused.value.field == "device_id"
    assert await connection.fetchval("SELECT count(*) FROM contents WHERE body = 'Hello'") == 1, "the campaign's"


# --- its turn


async def test_it_is_queued_at_once_although_the_window_is_full(
    runtime: Runtime, cast: Broadcast, connection: Connection
) -> None:
    device = cast.devices[0]
    await transitions.top_up(connection, [device], [50])
    assert (await room(connection, cast)).room(50) == 0
    made = [await send(runtime, cast, n) for n in range(3)]
    asked = (await room(connection, cast)).room(50)
    assert asked == 3
    queued = await transitions.top_up(connection, [device], [asked])
    assert [q.id for q in queued] == [m.id for m in made], "and nothing else with it"


async def test_it_goes_first_when_there_is_room(runtime: Runtime, cast: Broadcast, connection: Connection) -> None:
    made = await send(runtime, cast)
    queued = await transitions.top_up(connection, [cast.devices[0]], [10])
    assert made.id in [q.id for q in queued]
    assert len(queued) == 10


@pytest.mark.parametrize(
    ("in_window", "urgent_in_window", "urgent_due", "expected"),
    [
        (0, 0, 0, 10),
        (4, 0, 0, 6),
        (10, 0, 0, 0),
        (10, 0, 3, 3),
        (10, 4, 64, 6),
        (13, 10, 64, 0),
        (20, 0, 5, 0),
        (18, 1, 5, 2),
        (0, 0, 64, 10),
    ],
)
def test_rows_without_a_campaign_have_a_window_of_their_own_and_no_more(
    in_window: int, urgent_in_window: int, urgent_due: int, expected: int
) -> None:
    found = Room(1, 1, 10.0, 30.0, in_window, urgent_in_window, urgent_due, 0, 0)
    assert max(found.room(10), 0) == expected


@pytest.mark.parametrize(
    ("in_window", "answers_in_window", "due", "expected"), [(20, 0, 2, 2), (22, 9, 5, 1), (30, 0, 1, 0)]
)
def test_answers_find_room_where_other_single_sends_fill_theirs(
    in_window: int, answers_in_window: int, due: int, expected: int
) -> None:
    found = Room(1, 1, 10.0, 30.0, in_window, 10 + answers_in_window, due, answers_in_window, due)
    assert max(found.room(10), 0) == expected


async def test_one_that_may_not_leave_any_more_makes_no_room(
    runtime: Runtime, cast: Broadcast, connection: Connection
) -> None:
    await send(runtime, cast, expires_after="1m")
    await move_time(connection, timedelta(minutes=2))
    assert (await room(connection, cast)).urgent_due == 0


# --- its end


async def test_a_stop_ends_it_and_so_it_does_when_it_comes_back_later(
    runtime: Runtime, cast: Broadcast, connection: Connection
) -> None:
    waiting, under_way = await send(runtime, cast, 1), await send(runtime, cast, 2)
    await cast.queue(connection)
    [claimed] = await cast.claim(connection, under_way.id)
    for n in (1, 2):
        await connection.execute(
            "INSERT INTO suppressions (workspace_id, recipient, effective_at, source) "
            "VALUES ($1, $2, fleetcast_now(), 'reply')",
            cast.workspace,
            f"+6013{n:07}",
        )
    assert await cast.claim(connection, waiting.id) == [], "asked again at the claim"
    assert await transitions.skip_people(connection, cast.workspace, ["+60130000001", "+60130000002"]) == 1
    result = transitions.OtherResult(
        claimed.id,
        claimed.attempt,
        claimed.epoch,
        MessageStatus.PENDING,
        Reason.RELEASED,
        Outcome.NOT_SENT,
        "code",
        claimed.now,
    )
    assert await transitions.record_other(connection, [result], []) == 1
    await Sweeper(runtime, {}).run_once()
    assert await standing(connection, waiting, under_way) == [("skipped", "opt_out")] * 2
    assert await broken_invariants(connection) == []


async def test_past_its_time_it_is_skipped_from_wherever_it_waits_and_never_from_where_it_may_have_left(
    runtime: Runtime, cast: Broadcast, connection: Connection
) -> None:
    pending, queued, under_way, doubtful = [await send(runtime, cast, n, expires_after="5m") for n in range(4)]
    longer = await send(runtime, cast, 5, expires_after="1h")
    await connection.execute(
        "UPDATE broadcast_messages SET not_before = not_before + interval '1 h' WHERE id = $1", pending.id
    )
    await cast.queue(connection)
    await cast.claim(connection, under_way.id)
    await cast.end(connection, doubtful.id, MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    await move_time(connection, timedelta(minutes=6))
    await Sweeper(runtime, {"simulator": 600.0}).run_once()
    assert await standing(connection, pending, queued, under_way, doubtful, longer) == [
        ("skipped", "expired"),
        ("skipped", "expired"),
        ("sending", None),
        ("in_doubt", "no_answer"),
        ("queued", None),
    ]
    assert await connection.fetchval("SELECT count(*) FROM broadcast_messages WHERE campaign_id IS NOT NULL") == 60


async def test_the_doctor_names_one_that_nobody_ended(
    runtime: Runtime, cast: Broadcast, connection: Connection
) -> None:
    made = await send(runtime, cast, expires_after="1m")
    assert await broken_invariants(connection) == []
    await move_time(connection, timedelta(minutes=12))
    [violation] = await broken_invariants(connection)
    assert (violation.invariant, violation.subject) == (10, f"message {made.id}")


async def test_a_person_decides_about_one_in_doubt(runtime: Runtime, cast: Broadcast, connection: Connection) -> None:
    arrived, lost, again = [await send(runtime, cast, n) for n in range(3)]
    await cast.queue(connection)
    for message in (arrived, lost, again):
        await cast.end(connection, message.id, MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    assert await confirm_arrived(runtime, cast.workspace, [arrived.id], actor="test") == 1
    assert await give_up(runtime, cast.workspace, [lost.id], actor="test") == 1
    await move_time(connection, timedelta(days=2))
    assert await resend(runtime, cast.workspace, [again.id], actor="test") == Resent(waiting=1, kept_back=0)
    assert await standing(connection, arrived, lost, again) == [
        ("sent", None),
        ("failed", "unconfirmed"),
        ("pending", None),
    ]
    left = await connection.fetchval(
        "SELECT expires_at - fleetcast_now() FROM broadcast_messages WHERE id = $1", again.id
    )
    assert timedelta(hours=23) < left <= timedelta(days=1), "as much time as it had"
    await cast.queue(connection)
    await cast.send(connection, again.id)
    broken = await broken_invariants(connection)
    assert {v.what.split(" for ")[0] for v in broken} == {"has been queued"}, "the campaign's rows, for two days"


async def test_after_a_restore_nothing_of_it_goes_out_by_itself(
    runtime: Runtime, cast: Broadcast, connection: Connection
) -> None:
    waiting, queued, under_way = [await send(runtime, cast, n) for n in range(3)]
    await cast.queue(connection)
    await cast.claim(connection, under_way.id)
    await connection.execute("UPDATE broadcast_messages SET status = 'pending' WHERE id = $1", waiting.id)
    await connection.execute("UPDATE shards SET expires_at = fleetcast_now() - interval '1 second'")
    done = await after_restore(runtime, actor="test")
    assert (done.skipped, done.in_doubt) == (2, 1)
    assert await standing(connection, waiting, queued, under_way) == [
        ("skipped", "restored"),
        ("skipped", "restored"),
        ("in_doubt", "sender_lost"),
    ]
    assert (await after_restore(runtime, actor="test")).skipped == 0
    assert await broken_invariants(connection) == []


# --- how long it is kept


async def kept(connection: Connection) -> tuple[list[MessageId], int, int]:
    rows = await connection.fetch("SELECT id FROM broadcast_messages WHERE campaign_id IS NULL ORDER BY id")
    attempts = await connection.fetchval("SELECT count(*) FROM message_attempts")
    texts = await connection.fetchval("SELECT count(*) FROM contents WHERE body LIKE 'Single%'")
    return [r["id"] for r in rows], attempts, texts


async def test_it_goes_with_its_attempts_and_its_text_when_it_has_been_kept_long_enough(
    runtime: Runtime, cast: Broadcast, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    sent, failed, doubtful = [await send(runtime, cast, n, text=f"Single {n}") for n in range(3)]
    await cast.queue(connection)
    await cast.send(connection, sent.id)
    await cast.end(connection, failed.id, MessageStatus.FAILED, Reason.NOT_ON_WHATSAPP, Outcome.REFUSED)
    await cast.end(connection, doubtful.id, MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    keeper = Retention(runtime)
    await move_time(connection, timedelta(days=180, minutes=-1))
    young = await send(runtime, cast, 9, text="Single young")
    await keeper.run_once(STOP)
    assert await kept(connection) == ([sent.id, failed.id, doubtful.id, young.id], 3, 4)
    await move_time(connection, timedelta(minutes=2))
    await keeper.run_once(STOP)
    assert await kept(connection) == ([doubtful.id, young.id], 1, 2), "what is open stays however old it is"
    assert await connection.fetchval("SELECT count(*) FROM broadcast_messages WHERE campaign_id IS NOT NULL") == 60
    assert await connection.fetchval("SELECT count(*) FROM contents WHERE body = 'Hello'") == 1
    await confirm_arrived(runtime, cast.workspace, [doubtful.id], actor="test")
    await move_time(connection, timedelta(days=181))
    await keeper.run_once(STOP)
    assert (await kept(connection))[0] == [young.id], "the walk came back for what had stayed open"


async def test_zero_days_mean_for_ever(runtime: Runtime, cast: Broadcast, connection: Connection) -> None:
    made = await send(runtime, cast, text="Single", expires_after="1m")
    await move_time(connection, timedelta(days=3_000))
    await Sweeper(runtime, {}).run_once()
    settings = runtime.settings.model_copy(update={"keep_messages_days": 0})
    await Retention(replace(runtime, settings=settings)).run_once(STOP)
    assert (await kept(connection))[0] == [made.id]


def test_the_device_is_named_by_its_number() -> None:
    assert SingleSend(DeviceId(1), "+60123456789").expires_after == "1d"
