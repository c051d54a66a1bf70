"""`fleetcast message`, `suppression` and `doctor` on a small broadcast."""

import json

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.store.connection import Database
from tests.cli.conftest import Command
from tests.store.broadcast import Broadcast, make_broadcast


@pytest.fixture
async def broadcast(database_url: str) -> Broadcast:
    """Four messages of a workspace called Shop in Kuala Lumpur: one sent, three queued."""
    async with Database(database_url) as db, db.connection() as connection:
        shop = await connection.fetchval(
            "INSERT INTO workspaces (name, time_zone) VALUES ('Shop', 'Asia/Kuala_Lumpur') RETURNING id"
        )
        made = await make_broadcast(connection, WorkspaceId(shop), devices=2, people=4)
        await made.queue(connection)
        await made.send(connection, made.messages[0])
    return made


def test_messages_are_listed_by_pages_that_say_how_to_go_on(command: Command, broadcast: Broadcast) -> None:
    page = json.loads(command("message", "list", "--limit", "3", "--json").out)
    assert [m["id"] for m in page["messages"]] == broadcast.messages[:0:-1]
    text = command("message", "list", "--limit", "3").out
    assert f"--after {page['next']}" in text
    rest = json.loads(command("message", "list", "--limit", "3", "--after", page["next"], "--json").out)
    assert [m["id"] for m in rest["messages"]] == broadcast.messages[:1]
    assert rest["next"] is None


def test_messages_are_filtered_by_what_people_know(command: Command, broadcast: Broadcast) -> None:
    def ids(*arguments: str) -> list[int]:
        return [m["id"] for m in json.loads(command("message", "list", *arguments, "--json").out)["messages"]]

    assert ids("--status", "sent") == broadcast.messages[:1]
    assert ids("--recipient", broadcast.phones[2]) == broadcast.messages[2:3]
    assert ids("--campaign", str(broadcast.campaign)) == broadcast.messages
    assert ids("--device", f"DEVICE {broadcast.devices[1]}") == [broadcast.messages[3], broadcast.messages[1]]
    assert command("message", "list", "--device", "nobody").code == 3
    assert command("message", "list", "--status", "lost").code == 2
    assert command("message", "list", "--recipient", "12").code == 2
    assert command("message", "list", "--after", "x").code == 2
    assert command("message", "list", "--campaign", "nothing").code == 3
    assert "no such messages" in command("message", "list", "--status", "cancelled").out


def test_a_message_is_sent_to_one_person(command: Command, broadcast: Broadcast) -> None:
    device = f"DEVICE {broadcast.devices[0]}"
    made = json.loads(command("message", "send", "012-345 6789", "Your table", "--device", device, "--json").out)
    assert (made["recipient"], made["status"], made["campaign_id"]) == ("+60123456789", "pending", None)
    assert "pending" in command("message", "send", "0123456789", "Again", "--device", device).out
    assert command("message", "send", "12", "x", "--device", device).code == 2
    assert command("message", "send", "0123456789", "x", "--device", "nobody").code == 3
    assert command("message", "send", "0123456789", "x", "--device", device, "--expires-after", "soon").code == 2


def test_the_story_of_a_message_is_told_by_the_workspaces_clock(command: Command, broadcast: Broadcast) -> None:
    shown = command("message", "show", str(broadcast.messages[0]))
    assert shown.code == 0
    for words in ("planned", "attempt 1", "sent", "+08", "Spring", broadcast.phones[0]):
        assert words in shown.out
    story = json.loads(command("message", "show", str(broadcast.messages[0]), "--json").out)
    assert story["message"]["status"] == "sent"
    assert story["attempts"][0]["attempt"] == 1
    missing = command("message", "show", "4711", "--json")
    assert missing.code == 3
    assert json.loads(missing.out)["error"]["type"] == "NotFound"
    assert command("message", "show", "9" * 25).code == 3


@pytest.fixture
async def doubtful(broadcast: Broadcast, database_url: str) -> Broadcast:
    """The same with the three queued messages in doubt."""
    async with Database(database_url) as db, db.connection() as connection:
        for message in broadcast.messages[1:]:
            await broadcast.end(connection, message, MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    return broadcast


def test_a_person_decides_about_what_is_in_doubt(command: Command, doubtful: Broadcast) -> None:
    one, two, three = map(str, doubtful.messages[1:])
    listed = command("message", "in-doubt", "list")
    assert all(word in listed.out for word in (one, two, three, "no_answer", "+08", doubtful.phones[1]))
    assert [str(m["id"]) for m in json.loads(command("message", "in-doubt", "list", "--json").out)] == [one, two, three]
    assert f"--after {two}" in command("message", "in-doubt", "list", "--limit", "2").out
    assert "1 message counted as sent" in command("message", "in-doubt", "arrived", one).out
    assert json.loads(command("message", "in-doubt", "give-up", two, "--json").out) == {"messages": 1}
    asked = command("message", "in-doubt", "resend", three)
    assert asked.code != 0
    assert "may have arrived already" in asked.err
    assert "1 message waits again" in command("message", "in-doubt", "resend", three, "--yes").out
    assert "Nothing is in doubt" in command("message", "in-doubt", "list").out
    assert "is not in doubt but sent" in command("message", "in-doubt", "arrived", one).err
    assert command("message", "in-doubt", "arrived", one).code == 2
    assert command("message", "in-doubt", "arrived", "4711").code == 2
    assert command("message", "in-doubt", "give-up", "9" * 25).code == 2


def test_a_number_is_suppressed_shown_and_lifted(command: Command, broadcast: Broadcast) -> None:
    phone = broadcast.phones[1]
    added = command("suppression", "add", phone, "--note", "asked by phone")
    assert added.code == 0
    assert "1 waiting messages were skipped" in added.out
    assert "suppressed already" in command("suppression", "add", phone).out
    [entry] = json.loads(command("suppression", "list", "--json").out)
    assert (entry["recipient"], entry["source"], entry["note"]) == (phone, "person", "asked by phone")
    assert phone in command("suppression", "list", "--phone", phone).out
    assert "not on the list" in command("suppression", "list", "--phone", broadcast.phones[2]).out
    [skipped] = json.loads(command("message", "list", "--recipient", phone, "--json").out)["messages"]
    assert (skipped["status"], skipped["reason"]) == ("skipped", "opt_out")
    assert json.loads(command("suppression", "lift", phone, "--json").out) == {"phone": phone, "lifted": True}
    assert command("suppression", "lift", phone).code == 3
    assert "Nobody" in command("suppression", "list").out
    assert command("suppression", "add", "hello").code == 2


def test_a_long_list_says_how_to_go_on(command: Command, broadcast: Broadcast) -> None:
    for phone in broadcast.phones[:3]:
        command("suppression", "add", phone)
    first = command("suppression", "list", "--limit", "2").out
    assert f"--after {broadcast.phones[1]}" in first
    rest = json.loads(command("suppression", "list", "--after", broadcast.phones[1], "--json").out)
    assert [e["recipient"] for e in rest] == broadcast.phones[2:3]


@pytest.fixture
async def harmed(broadcast: Broadcast, database_url: str) -> Broadcast:
    """The same with a sent row of which nobody knows by what."""
    async with Database(database_url) as db, db.connection() as connection:
        await connection.execute("UPDATE broadcast_messages SET resolution = NULL WHERE status = 'sent'")
    return broadcast


def test_the_doctor_finds_nothing_where_every_promise_holds(command: Command, broadcast: Broadcast) -> None:
    shown = command("doctor")
    assert shown.code == 0, shown.out
    assert "Every promise holds." in shown.out
    told = json.loads(command("doctor", "--json").out)
    assert told["holds"]
    assert {p["invariant"] for p in told["promises"]} == {1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12}
    assert told["versions"]["schema"] == told["versions"]["schema_expected"]


def test_the_doctor_names_a_broken_promise_and_exits_with_one(command: Command, harmed: Broadcast) -> None:
    shown = command("doctor")
    assert shown.code == 1
    assert "BROKEN  3" in shown.out
    assert f"message {harmed.messages[0]}" in shown.out
    ended = command("doctor", "--json")
    assert ended.code == 1
    told = json.loads(ended.out)
    assert not told["holds"]
    assert [p["invariant"] for p in told["promises"] if not p["holds"]] == [3]
