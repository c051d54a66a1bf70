"""Devices over the API."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.access import Role, Scope
from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.pairing import Code, CodeKind
from fleetcast.runtime import Runtime
from fleetcast.services import pairing
from fleetcast.services.devices import set_state
from tests.api import tenants


async def test_a_device_is_added_shown_paced_paused_and_removed(api: httpx2.AsyncClient) -> None:
    answer = await api.post("devices", json={"name": "Shop KL", "min_delay": 1, "max_delay": 2})
    assert answer.status_code == 201, answer.text
    device = answer.json()
    assert (device["name"], device["min_delay"], device["transport"]) == ("Shop KL", 1.0, "simulator")
    path = f"devices/{device['id']}"
    assert (await api.get(path)).json()["name"] == "Shop KL"
    assert (await api.patch(path, json={"min_delay": 3, "max_delay": 4})).json()["max_delay"] == 4.0
    paused = (await api.post(f"{path}/pause", json={"reason": "moving"})).json()
    assert paused["paused_reason"] == "moving"
    assert paused["paused_by"].startswith("key:")
    assert (await api.post(f"{path}/resume")).json()["paused_at"] is None
    assert (await api.delete(path)).status_code == 204
    gone = await api.get(path)
    assert gone.status_code == 404
    assert gone.headers["Content-Type"] == "application/problem+json"
    assert gone.json()["type"] == "urn:fleetcast:not-found"


async def test_a_list_goes_on_where_the_page_before_ended(api: httpx2.AsyncClient) -> None:
    names = [f"D{n}" for n in range(5)]
    for name in names:
        await api.post("devices", json={"name": name})
    seen, after = [], None
    while True:
        page = (await api.get("devices", params={"limit": 2} | ({"after": after} if after else {}))).json()
        seen += [d["name"] for d in page["items"]]
        if (after := page["next"]) is None:
            break
    assert seen == names


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "all"}, "name"),
        ({"name": "D", "min_delay": -1}, "min_delay"),
        ({"name": "D", "min_delay": 9, "max_delay": 1}, "min_delay"),
        ({"name": "D", "max_delay": 1e400}, "max_delay"),
        ({"name": "D", "workspace_id": 1}, "workspace_id"),
        ({"name": "D", "transport": "pigeon"}, "transport"),
        ({"name": "D", "region": "Mars"}, "region"),
    ],
)
async def test_a_refusal_names_the_field(api: httpx2.AsyncClient, content: dict[str, Any], field: str) -> None:
    text = str(content).replace("'", '"').replace("inf", "1e400")
    answer = await api.post("devices", content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert field in [e["field"] for e in answer.json()["errors"]], answer.json()
    assert (await api.get("devices")).json()["items"] == []


async def test_s40_a_key_does_what_its_scopes_say_and_nothing_else(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId, api: httpx2.AsyncClient
) -> None:
    mine = (await api.post("devices", json={"name": "Mine"})).json()["id"]
    other = (await api.post("devices", json={"name": "Other"})).json()["id"]
    asked: dict[str, Callable[[httpx2.AsyncClient], Any]] = {
        "read": lambda c: c.get(f"/api/v1/devices/{mine}"),
        "send": lambda c: c.post(f"/api/v1/devices/{mine}/pause"),
        "manage": lambda c: c.post("/api/v1/devices", json={"name": "New"}),
        "other": lambda c: c.get(f"/api/v1/devices/{other}"),
    }

    async def statuses(**who: Any) -> dict[str, int]:
        async with tenants.client(app, **who) as asking:
            return {name: (await ask(asking)).status_code for name, ask in asked.items()}

    read_only = await tenants.key(runtime, workspace, {Scope.READ})
    assert await statuses(key=read_only) == {"read": 200, "send": 403, "manage": 403, "other": 200}
    of_device = await tenants.key(runtime, workspace, {Scope.READ, Scope.SEND}, DeviceId(mine))
    assert await statuses(key=of_device) == {"read": 200, "send": 200, "manage": 403, "other": 404}
    operator = await tenants.person(runtime, workspace, Role.OPERATOR)
    assert await statuses(session=operator.token) == {"read": 200, "send": 200, "manage": 403, "other": 200}
    assert await statuses(key="fck_unknown") == dict.fromkeys(asked, 401)
    assert await statuses() == dict.fromkeys(asked, 401)
    async with tenants.client(app, key=of_device) as asking:
        assert [d["name"] for d in (await asking.get("/api/v1/devices")).json()["items"]] == ["Mine"]


# -- linked to phones


async def unpaired(api: httpx2.AsyncClient) -> int:
    made = (await api.post("devices", json={"name": "Shop KL", "pair_first": True})).json()
    assert made["state"] == "unpaired"
    return int(made["id"])


async def test_a_pairing_is_started_watched_and_called_off(api: httpx2.AsyncClient, runtime: Runtime) -> None:
    device = await unpaired(api)
    path = f"devices/{device}/pairing"
    nobody = (await api.get(path)).json()
    assert (nobody["state"], nobody["until"], nobody["code"]) == ("unpaired", None, None)
    started = await api.post(path)
    assert (started.status_code, started.headers["Location"]) == (202, path)
    assert (started.json()["state"], started.json()["order"], "code" in started.json()) == ("pairing", 1, False)
    await (await pairing.codes(runtime)).publish(device, Code(1, CodeKind.QR, "2@abc", 20))
    code = (await api.get(path)).json()["code"]
    assert (code["kind"], code["text"], 15 < code["valid_for"] <= 20) == ("qr", "2@abc", True)
    again = (await api.post(path, json={"phone": "012-345 6789"})).json()
    assert (again["order"], again["phone"]) == (2, "+60123456789")
    assert (await api.get(path)).json()["code"] is None
    assert [(await api.delete(path)).status_code for _ in range(2)] == [204, 204]
    assert (await api.get(path)).json()["state_reason"] == "pairing was called off"


async def test_a_logout_says_how_many_wait_and_a_phone_is_linked_once(
    api: httpx2.AsyncClient, runtime: Runtime
) -> None:
    device = await unpaired(api)
    refused = await api.post(f"devices/{device}/logout")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:fleetcast:conflict")
    await set_state(runtime, DeviceId(device), DeviceState.ONLINE, "")
    refused = await api.post(f"devices/{device}/pairing")
    assert refused.status_code == 409
    assert "Log it out first" in refused.json()["detail"]
    await api.post("messages", json={"device_id": device, "to": "+60123456789", "text": "Hello"})
    done = (await api.post(f"devices/{device}/logout")).json()
    assert (done["waiting"], done["device"]["state"]) == (1, "logged_out")
    assert (await api.get(f"devices/{device}/pairing")).json()["unlinking"]
    wrong = await api.post(f"devices/{device}/pairing", json={"phone": "soon"})
    assert [e["field"] for e in wrong.json()["errors"]] == ["phone"]


async def test_no_answer_that_is_kept_for_a_repetition_holds_a_code(api: httpx2.AsyncClient, runtime: Runtime) -> None:
    device = await unpaired(api)
    for order in (1, 1):
        answer = await api.post(f"devices/{device}/pairing", headers={"Idempotency-Key": "pair it"})
        assert answer.json()["order"] == order
        await (await pairing.codes(runtime)).publish(device, Code(1, CodeKind.PHONE, "ABCDEFGH", 20))
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert "ABCD" not in answer.text


async def test_who_only_looks_sees_no_code(app: FastAPI, runtime: Runtime, workspace: WorkspaceId) -> None:
    async with tenants.client(app, key=await tenants.key(runtime, workspace)) as owner:
        device = (await owner.post("/api/v1/devices", json={"name": "Shop", "pair_first": True})).json()["id"]
        await owner.post(f"/api/v1/devices/{device}/pairing")
    async with tenants.client(app, key=await tenants.key(runtime, workspace, {Scope.READ})) as reader:
        assert (await reader.get(f"/api/v1/devices/{device}/pairing")).status_code == 403
        assert (await reader.get(f"/api/v1/devices/{device}")).json()["state"] == "pairing"


async def test_a_linked_device_connects_through_a_proxy_whose_password_nobody_is_told(api: httpx2.AsyncClient) -> None:
    device = (await api.post("devices", json={"name": "Till", "transport": "linked"})).json()
    assert (device["transport"], device["state"]) == ("linked", "unpaired")
    path = f"devices/{device['id']}/proxy"
    told = await api.post(path, json={"address": "socks5://agent:a-secret@proxy.example.org:1080"})
    assert (told.status_code, told.json()) == (200, {"shown": "socks5://agent:***@proxy.example.org:1080"})
    wrong = await api.post(path, json={"address": "proxy.example.org"})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "proxy")
    assert (await api.post(path, json={"address": None})).json() == {"shown": None}
    simulated = (await api.post("devices", json={"name": "Counter"})).json()
    assert (await api.post(f"devices/{simulated['id']}/proxy", json={"address": None})).status_code == 409
