"""Messages over the API: lists with their reasons, the story of one, and decisions about those in doubt."""

import csv
import io
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.access import Role, Scope
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.runtime import Runtime
from fleetcast.services.workspaces import create_workspace
from tests.api import tenants
from tests.store.broadcast import Broadcast, make_broadcast, move_time


@pytest.fixture
async def cast(runtime: Runtime, workspace: WorkspaceId) -> Broadcast:
    """Six messages of two devices in turn: one sent, one failed, two in doubt, two queued."""
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace)
        await made.queue(connection)
        await made.send(connection, made.messages[0])
        await made.end(connection, made.messages[1], MessageStatus.FAILED, Reason.NOT_ON_WHATSAPP, Outcome.REFUSED)
        for message in made.messages[2:4]:
            await made.end(connection, message, MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    return made


async def ids(api: httpx2.AsyncClient, **params: Any) -> list[int]:
    answer = await api.get("messages", params=params)
    assert answer.status_code == 200, answer.text
    return [m["id"] for m in answer.json()["items"]]


def fields(answer: httpx2.Response) -> list[str]:
    return [e["field"] for e in answer.json().get("errors", [])]


async def test_a_list_tells_of_each_message_where_it_stands_and_why(api: httpx2.AsyncClient, cast: Broadcast) -> None:
    items = (await api.get("messages")).json()["items"]
    told = {m["id"]: (m["status"], m["reason"]) for m in items}
    assert [told[m] for m in cast.messages] == [
        ("sent", None),
        ("failed", "not_on_whatsapp"),
        ("in_doubt", "no_answer"),
        ("in_doubt", "no_answer"),
        ("queued", None),
        ("queued", None),
    ]
    assert [m["id"] for m in items] == sorted(cast.messages, reverse=True)
    assert (items[0]["campaign"], items[0]["device_id"]) == ("Spring", cast.devices[1])


async def test_filters_meet(api: httpx2.AsyncClient, cast: Broadcast) -> None:
    m = cast.messages
    assert await ids(api, status="in_doubt") == [m[3], m[2]]
    assert await ids(api, device_id=cast.devices[0]) == [m[4], m[2], m[0]]
    assert await ids(api, device_id=cast.devices[0], status="in_doubt") == [m[2]]
    assert await ids(api, reason="no_answer") == [m[3], m[2]]
    assert await ids(api, campaign_id=cast.campaign, reason="not_on_whatsapp") == [m[1]]
    assert await ids(api, campaign_id=cast.campaign, reason="not_on_whatsapp", status="in_doubt") == []
    assert await ids(api, campaign_id=cast.campaign) == m, "of a campaign: by number"
    assert await ids(api, recipient=cast.phones[1]) == [m[1]]
    assert await ids(api, recipient=cast.phones[1].replace("+60", "0")) == [m[1]], "as people write it"
    assert await ids(api, campaign_id=cast.campaign + 1) == []
    plain = await api.get(f"messages?recipient={cast.phones[1]}")
    assert [x["id"] for x in plain.json()["items"]] == [m[1]], "a + that was not written as %2B"


async def test_s46_a_number_in_any_digits_finds_the_same_person(api: httpx2.AsyncClient, cast: Broadcast) -> None:
    wide = cast.phones[1].translate(str.maketrans("+0123456789", "＋０１２３４５６７８９"))
    arabic = cast.phones[1].translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))
    assert await ids(api, recipient=wide) == await ids(api, recipient=arabic) == [cast.messages[1]]
    for wrong in ("+00 12", "0123456789 ext 4", "0123456789, 0123456780", "hello", "+"):
        answer = await api.get("messages", params={"recipient": wrong})
        assert (answer.status_code, fields(answer)) == (422, ["recipient"]), wrong


async def test_a_window_of_time_shows_what_was_made_in_it(
    api: httpx2.AsyncClient, runtime: Runtime, cast: Broadcast, workspace: WorkspaceId
) -> None:
    async with runtime.db.connection() as connection:
        start = await connection.fetchval("SELECT fleetcast_now()")
        await move_time(connection, timedelta(days=3))
        later = await make_broadcast(connection, workspace, devices=1, people=2)
    day = timedelta(days=1)
    assert await ids(api, since=(start + day).isoformat()) == later.messages[::-1]
    assert sorted(await ids(api, until=(start + day).isoformat())) == cast.messages
    assert await ids(api, since=(start + day).isoformat(), until=(start + 2 * day).isoformat()) == []
    assert await ids(api, since=(start + day).isoformat(), campaign_id=cast.campaign) == []
    assert await ids(api, since=(start + day).isoformat(), recipient=later.phones[0]) == [later.messages[0]]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"since": "9999-12-31T23:59:59-14:00"}, "since"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ({"until": "2026-01-01T00:00:00"}, "until"),
        ({"until": "yesterday"}, "until"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "until"),
        ({"since": "1e400"}, "since"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "NaN"}, "limit"),
        ({"device_id": "9223372036854775808"}, "device_id"),
        ({"campaign_id": "-1"}, "campaign_id"),
    ],
)
async def test_s45_times_and_numbers_at_the_edge_are_refused_by_name(
    api: httpx2.AsyncClient, params: dict[str, str], field: str
) -> None:
    answer = await api.get("messages", params=params)
    assert (answer.status_code, fields(answer)) == (422, [field])


@pytest.mark.parametrize("text", ["id;select pg_sleep(5)--", "' OR 1=1--", '{"$ne": 1}', "sent,failed", "\0"])
async def test_s07_filters_know_their_words_and_nothing_else(
    api: httpx2.AsyncClient, cast: Broadcast, text: str
) -> None:
    for name in ("status", "reason", "device_id", "campaign_id", "recipient", "since", "after", "limit"):
        answer = await api.get("messages", params={name: text})
        assert (answer.status_code, fields(answer)) == (422, [name])
    answer = await api.get("messages", params={"campaign_id": cast.campaign, "after": text})
    assert (answer.status_code, fields(answer)) == (422, ["after"])


async def test_pages_miss_and_repeat_nobody(api: httpx2.AsyncClient, cast: Broadcast) -> None:
    for params in ({}, {"campaign_id": cast.campaign}):
        seen, after = [], None
        while True:
            asked = {"limit": 4} | params | ({"after": after} if after else {})
            page = (await api.get("messages", params=asked)).json()
            seen += [m["id"] for m in page["items"]]
            if (after := page["next"]) is None:
                break
        assert sorted(seen) == cast.messages


async def test_the_story_of_one_tells_its_attempts_in_order(api: httpx2.AsyncClient, cast: Broadcast) -> None:
    story = (await api.get(f"messages/{cast.messages[1]}")).json()
    assert story["message"]["status"] == "failed"
    assert [(a["attempt"], a["outcome"]) for a in story["attempts"]] == [(1, "refused")]
    assert [t["what"] for t in story["timeline"]][-1] == "failed"
    assert [t["at"] for t in story["timeline"]] == sorted(t["at"] for t in story["timeline"])


async def test_what_is_in_doubt_is_listed_and_decided(
    api: httpx2.AsyncClient, runtime: Runtime, cast: Broadcast
) -> None:
    listed = (await api.get("messages/in-doubt", params={"limit": 1})).json()
    assert [m["id"] for m in listed["items"]] == cast.messages[2:3]
    rest = (await api.get("messages/in-doubt", params={"after": listed["next"]})).json()
    assert ([m["id"] for m in rest["items"]], rest["next"]) == (cast.messages[3:4], None)

    done = await api.post("messages/in-doubt/arrived", json={"messages": cast.messages[2:3]})
    assert done.json() == {"messages": 1}
    resent = await api.post("messages/in-doubt/resend", json={"messages": cast.messages[3:4]})
    assert resent.json() == {"waiting": 1, "kept_back": 0}
    assert (await api.get("messages/in-doubt")).json()["items"] == []
    both = await api.post("messages/in-doubt/give-up", json={"messages": cast.messages[2:4]})
    assert (both.status_code, fields(both)) == (422, ["messages"])
    async with runtime.db.connection() as connection:
        rows = await connection.fetch("SELECT action, actor FROM audit WHERE action LIKE 'message.%' ORDER BY id")
    assert [r["action"] for r in rows] == ["message.arrived", "message.resend"]
    assert all(r["actor"].startswith("key:") for r in rows)


@pytest.mark.parametrize(
    "content", ['{"messages": []}', '{"messages": [0]}', '{"messages": ["1"], "status": "sent"}', "{}", "[]"]
)
async def test_s04_a_decision_says_which_messages_and_nothing_else(api: httpx2.AsyncClient, content: str) -> None:
    for what in ("arrived", "give-up", "resend"):
        answer = await api.post(
            f"messages/in-doubt/{what}", content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 422


async def test_s02_s03_messages_of_others_are_as_if_they_were_not_there(
    api: httpx2.AsyncClient, runtime: Runtime, cast: Broadcast
) -> None:
    elsewhere = await create_workspace(runtime, "Elsewhere")
    async with runtime.db.connection() as connection:
        theirs = await make_broadcast(connection, elsewhere.id, devices=1, people=2)
        await theirs.queue(connection)
        await theirs.end(connection, theirs.messages[0], MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    assert set(await ids(api)) == set(cast.messages)
    assert await ids(api, campaign_id=theirs.campaign) == []
    assert await ids(api, device_id=theirs.devices[0]) == []
    assert await ids(api, recipient=theirs.phones[0]) == []
    answer, missing = await api.get(f"messages/{theirs.messages[0]}"), await api.get("messages/999999")
    assert answer.status_code == missing.status_code == 404
    assert answer.text.replace(f"message {theirs.messages[0]} ", "") == missing.text.replace("message 999999 ", "")
    for what in ("arrived", "give-up", "resend"):
        answer = await api.post(f"messages/in-doubt/{what}", json={"messages": [cast.messages[2], theirs.messages[0]]})
        assert (answer.status_code, fields(answer)) == (422, ["messages"])
    assert await ids(api, status="in_doubt") == [cast.messages[3], cast.messages[2]], "all or none"


async def test_s40_a_key_of_one_device_sees_and_decides_for_that_device_alone(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId, cast: Broadcast
) -> None:
    mine, other = cast.devices
    token = await tenants.key(runtime, workspace, {Scope.READ, Scope.SEND}, DeviceId(mine))
    async with tenants.client(app, key=token) as narrow:
        narrow.base_url = httpx2.URL(tenants.BASE + tenants.API + "/")
        assert await ids(narrow) == [cast.messages[4], cast.messages[2], cast.messages[0]]
        assert await ids(narrow, campaign_id=cast.campaign, status="in_doubt") == [cast.messages[2]]
        assert (await narrow.get("messages", params={"device_id": other})).status_code == 404
        assert (await narrow.get(f"messages/{cast.messages[0]}")).status_code == 200
        assert (await narrow.get(f"messages/{cast.messages[1]}")).status_code == 404
        listed = (await narrow.get("messages/in-doubt")).json()["items"]
        assert [m["id"] for m in listed] == [cast.messages[2]]
        for what in ("arrived", "give-up", "resend"):
            answer = await narrow.post(f"messages/in-doubt/{what}", json={"messages": cast.messages[3:4]})
            assert (answer.status_code, fields(answer)) == (422, ["messages"])
        assert (await narrow.post("messages/in-doubt/give-up", json={"messages": cast.messages[2:3]})).is_success
    viewer = await tenants.person(runtime, workspace, Role.VIEWER)
    async with tenants.client(app, session=viewer.token) as reading:
        answer = await reading.post("/api/v1/messages/in-doubt/arrived", json={"messages": cast.messages[3:4]})
        assert answer.status_code == 403


async def test_a_list_leaves_as_a_table_with_the_same_filters_and_is_recorded(
    api: httpx2.AsyncClient, cast: Broadcast, runtime: Runtime
) -> None:
    async def told(**filters: Any) -> list[int]:
        answer = await api.get("messages/export", params=filters)
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        rows = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))
        return sorted(int(row["message"]) for row in rows)

    m = cast.messages
    assert await told() == sorted(m)
    assert await told(status="in_doubt") == sorted(m[2:4])
    assert await told(device_id=cast.devices[0]) == sorted([m[0], m[2], m[4]])
    assert await told(campaign_id=cast.campaign, status="failed") == [m[1]]
    assert (await api.get("messages/export", params={"campaign_id": 999_999})).status_code == 404
    assert (await api.get("messages/export", params={"recipient": "abc"})).status_code == 422
    async with runtime.db.connection() as connection:
        rows = await connection.fetch("SELECT actor, subject FROM audit WHERE action = 'messages.export' ORDER BY id")
    assert [r["subject"] for r in rows] == ["all messages"] * 3 + [f"campaign {cast.campaign}"]
    assert all(r["actor"].startswith("key:") for r in rows)


async def test_s22_no_cell_of_a_table_of_messages_runs(
    api: httpx2.AsyncClient, cast: Broadcast, runtime: Runtime
) -> None:
    async with runtime.db.connection() as connection:
        await connection.execute("UPDATE devices SET name = '=cmd|x' || id")
        await connection.execute("UPDATE campaigns SET title = '@SUM(A1)'")
        await connection.execute("UPDATE leads SET name = '+1-1'")
    answer = await api.get("messages/export")
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    assert len(rows) == 1 + len(cast.messages)
    for cell in (cell for row in rows for cell in row):
        assert cell[:1] not in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"), cell
