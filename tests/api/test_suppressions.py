"""The suppression list over the API."""

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.access import Role
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.suppressions import add_suppression
from fleetcast.services.workspaces import create_workspace, get_workspace
from fleetcast.store.invariants import broken_invariants
from tests.api import tenants
from tests.store.broadcast import make_broadcast

PERSON = "+60123456789"


def fields(answer: httpx2.Response) -> list[str]:
    return [e["field"] for e in answer.json().get("errors", [])]


async def add(api: httpx2.AsyncClient, *numbers: str, **more: Any) -> httpx2.Response:
    return await api.post("suppressions", json={"numbers": list(numbers), **more})


async def test_a_person_is_put_on_the_list_found_and_lifted(
    api: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId
) -> None:
    done = (await add(api, "012-345 6789", note="asked at the counter")).json()
    assert done == {"added": [PERSON], "known": [], "skipped": 0}
    found = (await api.get("suppressions/%2B60123456789")).json()
    assert (found["recipient"], found["source"], found["note"]) == (PERSON, "person", "asked at the counter")
    assert (await api.get("suppressions/0123456789")).json() == found
    assert (await api.get("suppressions")).json() == {"items": [found], "next": None}
    lifted = await api.post("suppressions/0123456789/lift", json={"note": "asked to come back"})
    assert lifted.json() == {"recipient": PERSON}
    assert (await api.get("suppressions/0123456789")).status_code == 404
    assert (await api.post("suppressions/0123456789/lift")).status_code == 404
    async with runtime.db.connection() as connection:
        rows = await connection.fetch("SELECT action, subject, after FROM audit WHERE action LIKE 'supp%' ORDER BY id")
    assert [(r["action"], r["subject"], r["after"]["note"]) for r in rows] == [
        ("suppression.add", PERSON, "asked at the counter"),
        ("suppression.lift", PERSON, "asked to come back"),
    ]


async def test_a_thousand_people_are_put_on_the_list_at_once_and_their_messages_end(
    api: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId
) -> None:
    async with runtime.db.connection() as connection:
        cast = await make_broadcast(connection, workspace, people=4)
        await cast.queue(connection)
        [_] = await cast.claim(connection, cast.messages[0])
    await add(api, cast.phones[1])
    crowd = [f"+6013{n:07}" for n in range(996)]
    done = (await add(api, *crowd, *cast.phones[:3], cast.phones[0].replace("+60", "0"))).json()
    assert len(done["added"]) == 998
    assert done["known"] == [cast.phones[1]]
    assert done["skipped"] == 1, "one is being sent, one was skipped before"
    async with runtime.db.connection() as connection:
        rows = await connection.fetch("SELECT status::text FROM broadcast_messages ORDER BY id")
        assert [r["status"] for r in rows] == ["sending", "skipped", "skipped", "queued"]
        assert await connection.fetchval("SELECT count(*) FROM audit WHERE action = 'suppression.add'") == 1_000
        assert await broken_invariants(connection) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"numbers": []}, ["numbers"]),
        ({"numbers": ["+60123456789"] * 1_001}, ["numbers"]),
        ({"numbers": ["+60123456780", "hello", "+00"]}, ["numbers[1]", "numbers[2]"]),
        ({"numbers": ["+60123456780"], "note": "x" * 501}, ["note"]),
        ({"numbers": ["+60123456780"], "note": "\0"}, ["note"]),
        ({"numbers": ["+60123456780"], "source": "reply"}, ["source"]),
        ({"numbers": "+60123456780"}, ["numbers"]),
        ({"numbers": [60123456780]}, ["numbers[0]"]),
    ],
)
async def test_all_of_a_list_or_nothing(api: httpx2.AsyncClient, content: dict[str, Any], expected: list[str]) -> None:
    answer = await api.post("suppressions", json=content)
    assert (answer.status_code, fields(answer)) == (422, expected)
    assert (await api.get("suppressions")).json()["items"] == []


async def test_s46_one_person_in_several_spellings_is_one_entry(api: httpx2.AsyncClient) -> None:
    spellings = ["+60 12-345 6789", "0123456789", "０１２３４５６７８９", "٠١٢٣٤٥٦٧٨٩", "tel:+60123456789"]
    assert (await add(api, *spellings)).json()["added"] == [PERSON]


async def test_the_list_goes_on_where_the_page_before_ended(api: httpx2.AsyncClient) -> None:
    numbers = [f"+6012345{n:04}" for n in range(7)]
    await add(api, *reversed(numbers))
    seen, after = [], None
    while True:
        page = (await api.get("suppressions", params={"limit": 3} | ({"after": after} if after else {}))).json()
        seen += [s["recipient"] for s in page["items"]]
        if (after := page["next"]) is None:
            break
    assert seen == numbers


@pytest.mark.parametrize("text", ["' OR 1=1--", "+6012; drop table suppressions", "\0", "+١٢"])
async def test_s07_a_place_in_the_list_is_one_that_a_page_gave(api: httpx2.AsyncClient, text: str) -> None:
    answer = await api.get("suppressions", params={"after": text})
    assert (answer.status_code, fields(answer)) == (422, ["after"])


async def test_a_number_in_an_address_that_cannot_be_read_is_named(api: httpx2.AsyncClient) -> None:
    for answer in (await api.get("suppressions/hello"), await api.post("suppressions/hello/lift")):
        assert (answer.status_code, fields(answer)) == (422, ["number"])


async def test_s05_another_workspaces_list_is_not_seen_and_not_changed(
    api: httpx2.AsyncClient, runtime: Runtime
) -> None:
    elsewhere = await create_workspace(runtime, "Elsewhere")
    await add_suppression(runtime, await get_workspace(runtime, elsewhere.id), PERSON, actor="test")
    assert (await api.get("suppressions")).json()["items"] == []
    assert (await api.get("suppressions/0123456789")).status_code == 404
    assert (await api.post("suppressions/0123456789/lift")).status_code == 404


async def test_s40_adding_needs_send_and_lifting_needs_manage(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId
) -> None:
    expected = {Role.VIEWER: (403, 403), Role.OPERATOR: (200, 403), Role.OWNER: (200, 200)}
    for role, statuses in expected.items():
        person = await tenants.person(runtime, workspace, role)
        async with tenants.client(app, session=person.token) as asking:
            added = await asking.post("/api/v1/suppressions", json={"numbers": [PERSON]})
            lifted = await asking.post("/api/v1/suppressions/0123456789/lift")
            assert (added.status_code, lifted.status_code) == statuses
