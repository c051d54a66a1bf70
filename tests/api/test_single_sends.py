"""A message to one person over the API."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.api.app import PREFIX, create_api
from fleetcast.domain.access import Role, Scope
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.workspaces import create_workspace
from fleetcast.transports.simulator.ledger import Ledger, RecordKind, content_sha256
from fleetcast.web.app import create_app
from tests.api import tenants
from tests.campaign_scene import Scene
from tests.running import Fleet, running_fleet, until
from tests.store.broadcast import move_time

TO = "+60123456789"


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> Scene:
    made = Scene(runtime, workspace)
    await made.add_device("Shop KL")
    return made


def fields(answer: httpx2.Response) -> list[str]:
    return [e["field"] for e in answer.json().get("errors", [])]


async def post(api: httpx2.AsyncClient, key: Any = None, **content: Any) -> httpx2.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await api.post("messages", json=content, headers=headers)


async def test_a_message_is_taken_and_shown_as_it_waits(api: httpx2.AsyncClient, scene: Scene) -> None:
    answer = await post(api, device_id=scene.devices[0], to="012-345 6789", text="Hello")
    assert answer.status_code == 202
    message = answer.json()
    assert (message["status"], message["recipient"], message["campaign_id"]) == ("pending", TO, None)
    shown = (await api.get(answer.headers["Location"])).json()
    assert shown["message"] == message
    assert [m["id"] for m in (await api.get("messages", params={"recipient": TO})).json()["items"]] == [message["id"]]
    row = (await scene.fetch("SELECT * FROM audit WHERE action = 'message.send'"))[0]
    assert row["subject"] == f"message {message['id']}"
    assert "Hello" not in str(dict(row))


async def test_to_a_person_who_opted_out_it_is_skipped_and_says_so(api: httpx2.AsyncClient, scene: Scene) -> None:
    await scene.suppress(TO)
    message = (await post(api, device_id=scene.devices[0], to=TO, text="Hello")).json()
    assert (message["status"], message["reason"]) == ("skipped", "opt_out")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"to": ""}, "to"),
        ({"to": "hello"}, "to"),
        ({"to": "0123456789 ext. 5"}, "to"),
        ({"to": "0123456789 / 0133456789"}, "to"),
        ({"to": "+00 123"}, "to"),
        ({"text": ""}, "text"),
        ({"text": " \n"}, "text"),
        ({"text": "\0"}, "text"),
        ({"text": "x" * 20_001}, "text"),
        ({"media": "/etc/hostname"}, "media"),
        ({"media": "ab" * 32}, "media"),
        ({"expires_after": "0m"}, "expires_after"),
        ({"expires_after": "1e400"}, "expires_after"),
        ({"expires_after": "-1d"}, "expires_after"),
        ({"expires_after": "91d"}, "expires_after"),
        ({"device_id": 2**62}, "device_id"),
        ({"device_id": 2**63}, "device_id"),
        ({"device_id": 0}, "device_id"),
    ],
)
async def test_s45_a_refusal_names_the_field_and_leaves_no_row(
    api: httpx2.AsyncClient, scene: Scene, content: dict[str, Any], field: str
) -> None:
    answer = await post(api, **({"device_id": scene.devices[0], "to": TO, "text": "Hello"} | content))
    assert (answer.status_code, fields(answer)) == (422, [field]), answer.text
    assert await scene.value("SELECT count(*) FROM broadcast_messages") == 0
    assert await scene.value("SELECT count(*) FROM contents") == 0


async def test_all_problems_are_told_at_once(api: httpx2.AsyncClient, scene: Scene) -> None:
    answer = await post(api, device_id=scene.devices[0], to="?", text="", expires_after="soon")
    assert fields(answer) == ["to", "text", "expires_after"]


async def test_s04_nothing_but_what_a_person_may_write_is_written(api: httpx2.AsyncClient, scene: Scene) -> None:
    for name, value in {
        "status": "sent",
        "workspace_id": 1,
        "campaign_id": 1,
        "lead_id": 1,
        "priority": 0,
        "dedupe_key": "c:1:+60",
        "lease_epoch": 1,
        "created_at": "2026-01-01T00:00:00Z",
        "variables": {"name": "x"},
    }.items():
        answer = await post(api, device_id=scene.devices[0], to=TO, text="Hello", **{name: value})
        assert (answer.status_code, fields(answer)) == (422, [name])


async def test_s03_another_workspaces_device_is_as_if_it_were_not_there(
    api: httpx2.AsyncClient, scene: Scene, runtime: Runtime
) -> None:
    elsewhere = Scene(runtime, (await create_workspace(runtime, "Elsewhere")).id)
    theirs = await elsewhere.add_device()
    answer = await post(api, device_id=theirs, to=TO, text="Hello")
    missing = await post(api, device_id=99_999, to=TO, text="Hello")
    assert (answer.status_code, fields(answer)) == (422, ["device_id"])
    assert answer.text.replace(f"device {theirs} ", "") == missing.text.replace("device 99999 ", "")
    assert await scene.value("SELECT count(*) FROM broadcast_messages") == 0


async def test_s40_a_key_of_one_device_sends_from_that_device_alone(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId, scene: Scene
) -> None:
    other = await scene.add_device("Shop JB")
    token = await tenants.key(runtime, workspace, {Scope.SEND}, DeviceId(scene.devices[0]))
    viewer = await tenants.person(runtime, workspace, Role.VIEWER)
    content = {"device_id": scene.devices[0], "to": TO, "text": "Hello"}
    async with tenants.client(app, key=token) as narrow:
        assert (await narrow.post("/api/v1/messages", json=content)).status_code == 202
        answer = await narrow.post("/api/v1/messages", json=content | {"device_id": other})
        assert (answer.status_code, fields(answer)) == (422, ["device_id"])
    async with tenants.client(app, session=viewer.token) as reading:
        assert (await reading.post("/api/v1/messages", json=content)).status_code == 403
    assert await scene.value("SELECT count(*) FROM broadcast_messages") == 1


async def test_s44_the_same_request_twenty_times_at_once_makes_one_message(
    api: httpx2.AsyncClient, scene: Scene
) -> None:
    answers = await asyncio.gather(
        *(post(api, "order-17", device_id=scene.devices[0], to=TO, text="Hello") for _ in range(20))
    )
    assert {a.status_code for a in answers} <= {202, 409}
    assert len({a.text for a in answers if a.status_code == 202}) == 1
    assert await scene.value("SELECT count(*) FROM broadcast_messages") == 1
    assert await scene.value("SELECT count(*) FROM contents") == 1


async def test_s44_without_a_key_two_requests_are_two_messages(api: httpx2.AsyncClient, scene: Scene) -> None:
    for _ in range(2):
        assert (await post(api, device_id=scene.devices[0], to=TO, text="Hello")).status_code == 202
    assert await scene.value("SELECT count(*) FROM broadcast_messages") == 2


async def test_s44_a_request_whose_process_died_after_the_commit_is_not_done_again(
    api: httpx2.AsyncClient, scene: Scene
) -> None:
    content = {"device_id": scene.devices[0], "to": TO, "text": "Hello"}
    first = await post(api, "order-17", **content)
    # As a process leaves it that dies between the message's commit and its answer.
    await scene.execute("UPDATE idempotency_keys SET finished_at = NULL, status = NULL, body = NULL")
    assert (await post(api, "order-17", **content)).status_code == 409
    async with scene.runtime.db.connection() as connection:
        await move_time(connection, timedelta(seconds=31))
    again = await post(api, "order-17", **content)
    assert (again.status_code, again.json()) == (202, first.json())
    # Even when the key itself was forgotten long ago, the message still holds it.
    await scene.execute("DELETE FROM idempotency_keys")
    assert (await post(api, "order-17", **content)).json() == first.json()
    await scene.execute("DELETE FROM idempotency_keys")
    other = await post(api, "order-17", **(content | {"text": "Something else"}))
    assert (other.status_code, fields(other)) == (422, ["Idempotency-Key"])
    assert await scene.value("SELECT count(*) FROM broadcast_messages") == 1


@dataclass
class Running:
    """A running Fleetcast and its API."""

    fleet: Fleet
    api: httpx2.AsyncClient

    async def status(self, message_id: int) -> str:
        return str((await self.api.get(f"messages/{message_id}")).json()["message"]["status"])


@pytest.fixture
async def running(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Running]:
    async with running_fleet(runtime, tmp_path) as fleet:
        app = create_app(runtime, (PREFIX, create_api(runtime)))
        token = await tenants.key(runtime, fleet.workspace.id)
        async with app.router.lifespan_context(app), tenants.client(app, key=token) as client:
            client.base_url = httpx2.URL(tenants.BASE + PREFIX + "/")
            yield Running(fleet, client)


async def test_s08_what_is_asked_for_over_the_api_reaches_the_person_once_and_word_by_word(running: Running) -> None:
    device = await running.fleet.device()
    texts = ["Hello", "{{ name }} {% if %} {{", 'x{% endraw %}{{ env "DB" }}', "ok 100% {} \N{GRINNING FACE}"]
    made = []
    for n, text in enumerate(texts):
        for _ in range(2):
            answer = await post(running.api, f"key {n}", device_id=device.id, to=TO, text=text)
        made.append(answer.json()["id"])

    async def all_sent() -> bool:
        return {await running.status(m) for m in made} == {"sent"}

    await until(all_sent)
    verdict = await running.fleet.judge()
    assert (verdict.accepted, verdict.holds) == (len(texts), True)
    said = [r.sha256 for r in Ledger.read(running.fleet.ledger) if r.kind is RecordKind.ACCEPTED]
    assert sorted(said) == sorted(content_sha256(text, None) for text in texts)
