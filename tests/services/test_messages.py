"""Lists of messages by pages, and the story of one."""

from typing import Any

import pytest

from fleetcast.domain.identifiers import CampaignId, MessageId, Phone, WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.errors import InvalidInput, NotFound, Unavailable
from fleetcast.runtime import Runtime
from fleetcast.services.messages import list_messages, show_message
from fleetcast.services.single_sends import SingleSend, send_message
from fleetcast.services.workspaces import create_workspace
from fleetcast.store import messages
from tests.store.broadcast import make_broadcast


async def test_pages_of_a_campaign_come_by_recipient_and_miss_and_repeat_nobody(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=3, people=25)
        other = await make_broadcast(connection, workspace, devices=1, people=3)
    seen, after = [], None
    while True:
        page = await list_messages(runtime, workspace, campaign_id=made.campaign, after=after, limit=10)
        seen += [m.recipient for m in page.messages]
        after = page.next
        if after is None:
            break
        assert len(page.messages) == 10
    assert seen == sorted(made.phones)
    exact = await list_messages(runtime, workspace, campaign_id=other.campaign, limit=3)
    assert (len(exact.messages), exact.next) == (3, None)


async def test_pages_of_a_workspace_come_newest_first(runtime: Runtime, workspace: WorkspaceId) -> None:
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=2, people=7)
    first = await list_messages(runtime, workspace, limit=5)
    assert [m.id for m in first.messages] == sorted(made.messages, reverse=True)[:5]
    rest = await list_messages(runtime, workspace, limit=5, after=first.next)
    assert [m.id for m in rest.messages] == sorted(made.messages, reverse=True)[5:]
    assert rest.next is None


async def test_a_workspace_that_rests_finds_its_messages_among_those_of_everybody(
    runtime: Runtime, workspace: WorkspaceId, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=2, people=7)
        single = await send_message(
            runtime, workspace, SingleSend(made.devices[0], "+60139999999", "Hello"), actor="test"
        )
        busy = await create_workspace(runtime, "Busy")
        await make_broadcast(connection, busy.id, devices=2, people=40)
    expected = [single.id, *sorted(made.messages, reverse=True)]

    async def listed(limit: int) -> list[int]:
        seen: list[int] = []
        after = None
        while True:
            page = await list_messages(runtime, workspace, limit=limit, after=after)
            seen += [m.id for m in page.messages]
            if (after := page.next) is None:
                return seen

    for near, few in ((messages.NEAR, messages.FEW), (5, messages.FEW), (5, 0), (44, messages.FEW)):
        monkeypatch.setattr(messages, "NEAR", near)
        monkeypatch.setattr(messages, "FEW", few)
        assert await listed(3) == await listed(1_000) == expected, (near, few)
    monkeypatch.setattr(messages, "NEAR", 5)
    of_device = await list_messages(runtime, workspace, device_id=made.devices[1])
    assert {m.id for m in of_device.messages} == set(made.messages[1::2])
    waiting = await list_messages(runtime, workspace, status=MessageStatus.PENDING, limit=2)
    assert [m.id for m in waiting.messages] == expected[:2]


async def test_pages_of_a_filter_that_look_at_a_few_messages_only_show_each_once(
    runtime: Runtime, workspace: WorkspaceId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a large workspace a page may come back with less than it has room for, and says where to go on."""
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=3, people=30)
        await make_broadcast(connection, workspace, devices=1, people=30)
        failing = made.messages[::7]
        for status in ("queued", "sending", "failed"):
            await connection.execute(
                "UPDATE broadcast_messages SET status = $2::text::message_status WHERE id = ANY ($1::bigint[])",
                failing,
                status,
            )
    monkeypatch.setattr(messages, "FEW", 0)
    monkeypatch.setattr(messages, "NEAR", 8)
    monkeypatch.setattr(messages, "LOOK", 4)

    async def listed(**wanted: Any) -> list[int]:
        seen: list[int] = []
        after = None
        while True:
            page = await list_messages(runtime, workspace, limit=3, after=after, **wanted)
            assert page.looking == (page.next is not None and len(page.messages) < 3)
            seen += [m.id for m in page.messages]
            if (after := page.next) is None:
                return seen

    of_device = sorted(made.messages[1::3], reverse=True)
    assert await listed(device_id=made.devices[1]) == of_device
    assert sorted(await listed(device_id=made.devices[1], campaign_id=made.campaign)) == sorted(of_device)
    failed = MessageStatus.FAILED
    assert await listed(status=failed) == sorted(failing, reverse=True)
    assert sorted(await listed(status=failed, campaign_id=made.campaign)) == sorted(failing)
    assert await listed(status=MessageStatus.SENT, campaign_id=made.campaign) == []


async def test_filters_meet(runtime: Runtime, workspace: WorkspaceId) -> None:
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=2, people=6)
        again = await make_broadcast(connection, workspace, devices=1, phones=made.phones[:2])
        await made.queue(connection)
        await made.send(connection, made.messages[0])
    one = (await list_messages(runtime, workspace, status=MessageStatus.SENT)).messages
    assert [m.id for m in one] == [made.messages[0]]
    assert one[0].campaign == "Spring"
    of_device = (await list_messages(runtime, workspace, device_id=made.devices[1])).messages
    assert {m.id for m in of_device} == set(made.messages[1::2])
    person = (await list_messages(runtime, workspace, recipient=made.phones[0])).messages
    assert [m.id for m in person] == [again.messages[0], made.messages[0]]
    both = (await list_messages(runtime, workspace, recipient=made.phones[0], campaign_id=made.campaign)).messages
    assert [m.id for m in both] == [made.messages[0]]
    assert (await list_messages(runtime, workspace, recipient=Phone("+60999999999"))).messages == []
    none = await list_messages(runtime, workspace, campaign_id=made.campaign, status=MessageStatus.FAILED)
    assert (none.messages, none.next) == ([], None)


async def test_f20_messages_of_another_workspace_are_never_shown(runtime: Runtime, workspace: WorkspaceId) -> None:
    elsewhere = await create_workspace(runtime, "Elsewhere")
    async with runtime.db.connection() as connection:
        theirs = await make_broadcast(connection, elsewhere.id, devices=1, people=1)
    assert (await list_messages(runtime, workspace)).messages == []
    assert (await list_messages(runtime, workspace, campaign_id=theirs.campaign)).messages == []
    assert (await list_messages(runtime, workspace, recipient=theirs.phones[0])).messages == []
    assert (await list_messages(runtime, workspace, device_id=theirs.devices[0])).messages == []
    with pytest.raises(NotFound):
        await show_message(runtime, workspace, theirs.messages[0])
    assert (await show_message(runtime, elsewhere.id, theirs.messages[0])).message.id == theirs.messages[0]


async def test_a_page_that_cannot_be_is_refused(runtime: Runtime, workspace: WorkspaceId) -> None:
    for limit in (0, -1, 1001):
        with pytest.raises(InvalidInput) as refused:
            await list_messages(runtime, workspace, limit=limit)
        assert refused.value.field == "limit"
    for wrong in ("first", "1.5", "9" * 30, "-1"):
        with pytest.raises(InvalidInput) as refused:
            await list_messages(runtime, workspace, after=wrong)
        assert refused.value.field == "after"
    assert (await list_messages(runtime, workspace, campaign_id=CampaignId(2**70))).messages == []
    with pytest.raises(NotFound):
        await show_message(runtime, workspace, MessageId(2**70))


async def test_a_list_that_takes_too_long_ends_with_a_sentence(runtime: Runtime) -> None:
    with pytest.raises(Unavailable, match="narrow it"):
        async with runtime.db.transaction() as connection, messages.time_limit(connection, 1):
            await connection.execute("SELECT pg_sleep(30)")


async def test_f37_the_story_tells_accepted_delivered_and_read_apart(runtime: Runtime, workspace: WorkspaceId) -> None:
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=1, people=1)
        [message] = made.messages
        await made.queue(connection)
        await made.end(connection, message, MessageStatus.PENDING, Reason.DISCONNECTED, Outcome.NOT_SENT)
        await made.queue(connection)
        await made.send(connection, message, gap_ms=1500)
        await connection.execute(
            "UPDATE broadcast_messages SET delivery = 'read', delivered_at = fleetcast_now(), "
            "read_at = fleetcast_now() + interval '1 minute'"
        )
        await connection.execute(
            "INSERT INTO inbox (workspace_id, device_id, occurred_at, kind, event_id, reference) "
            "SELECT $1, $2, fleetcast_now() + interval '2 minutes', 'accepted', 'e1', reference "
            "FROM message_attempts WHERE attempt = 2",
            workspace,
            made.devices[0],
        )
    story = await show_message(runtime, workspace, message)
    assert [t.what for t in story.timeline] == [
        "planned",
        "attempt 1",
        "attempt 1: not_sent",
        "queued",
        "attempt 2",
        "sent",
        "delivered",
        "read",
        "event: accepted",
    ]
    assert [t.at for t in story.timeline] == sorted(t.at for t in story.timeline)
    assert [a.attempt for a in story.attempts] == [1, 2]
    assert "1.5 s drawn" in story.timeline[4].detail
    assert "answer" in story.timeline[5].detail


async def test_the_story_of_a_refused_message_ends_with_its_reason(runtime: Runtime, workspace: WorkspaceId) -> None:
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=1, people=1)
        await made.queue(connection)
        await made.end(connection, made.messages[0], MessageStatus.FAILED, Reason.NOT_ON_WHATSAPP, Outcome.REFUSED)
    story = await show_message(runtime, workspace, made.messages[0])
    assert (story.timeline[-1].what, story.timeline[-1].detail) == ("failed", "not_on_whatsapp")
    assert "attempt 1: refused" in [t.what for t in story.timeline]
