"""One's own account over the API: who am I, name, password, sessions, second factor."""

import hashlib
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.api.app import PREFIX
from fleetcast.domain.access import Role, Scope
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import sign_in, tries
from fleetcast.services.workspaces import create_workspace
from tests.api import tenants
from tests.services.accounts.stage import (
    ELSEWHERE,
    GOOD,
    HERE,
    NEXT_CODE,
    WRONG,
    Account,
    account,
    code_now,
    dump,
    found_in,
    is_open,
    log,
    pass_time,
)

pytestmark = pytest.mark.usefixtures("quick_hashing")


@pytest.fixture
async def viewer(runtime: Runtime, workspace: WorkspaceId) -> Account:
    """Who may least of all: everything about oneself is allowed to them too."""
    return await account(runtime, workspace, Role.VIEWER, "vera@example.org")


@pytest.fixture
async def me(app: FastAPI, viewer: Account) -> AsyncIterator[httpx2.AsyncClient]:
    """The dashboard of the viewer."""
    async with tenants.client(app, session=await viewer.sign_in()) as opened:
        opened.base_url = httpx2.URL(tenants.BASE + PREFIX + "/")
        yield opened


async def test_a_person_sees_who_they_are_and_where(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId, viewer: Account, me: httpx2.AsyncClient
) -> None:
    other = await create_workspace(runtime, "Other", owner=viewer.email)
    told = (await me.get("me")).json()
    assert (told["actor"], told["workspace_id"], told["scopes"]) == ("user:vera@example.org", workspace, ["read"])
    assert told["key"] is None
    person = told["person"]
    assert (person["id"], person["email"], person["name"]) == (viewer.user_id, "vera@example.org", "Viewer")
    assert (person["second_factor"], person["installation_owner"], told["recovery_codes_left"]) == (False, False, 0)
    assert [(w["id"], w["role"]) for w in told["workspaces"]] == [(workspace, "viewer"), (other.id, "owner")]
    there = (await me.get("me", headers={"Fleetcast-Workspace": str(other.id)})).json()
    assert (there["workspace"], there["scopes"]) == ("Other", ["manage", "read", "send"])
    assert (await me.get("me", headers={"Fleetcast-Workspace": str(other.id + 1)})).status_code == 404


async def test_a_key_sees_what_it_is(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId, api: httpx2.AsyncClient
) -> None:
    told = (await api.get("me")).json()
    assert (told["person"], told["workspaces"]) == (None, [])
    assert told["actor"] == f"key:{told['key']['id']} {told['key']['name']}"
    assert told["scopes"] == told["key"]["scopes"] == ["manage", "read", "send"]
    device = (await api.post("devices", json={"name": "Till"})).json()["id"]
    async with tenants.client(app, key=await tenants.key(runtime, workspace, {Scope.READ}, DeviceId(device))) as till:
        assert (await till.get("/api/v1/me")).json()["key"]["device_id"] == device


async def test_no_key_changes_a_person_whatever_its_scopes(api: httpx2.AsyncClient) -> None:
    proof = {"password": GOOD, "code": "123456"}
    for method, path, content in (
        ("PATCH", "me", {"name": "Other"}),
        ("POST", "me/password", {"password": GOOD, "new_password": GOOD}),
        ("GET", "me/sessions", None),
        ("DELETE", "me/sessions", None),
        ("DELETE", "me/sessions/1", None),
        ("POST", "me/second-factor", {"password": GOOD}),
        ("POST", "me/second-factor/confirm", {"code": "123456"}),
        ("POST", "me/second-factor/recovery-codes", proof),
        ("POST", "me/second-factor/off", proof),
        ("GET", "workspaces", None),
        ("POST", "workspaces", {"name": "Other"}),
    ):
        answer = await api.request(method, path, json=content)
        assert answer.status_code == 403, f"{method} {path}"
        assert answer.json()["type"] == "urn:fleetcast:forbidden"


async def test_a_name_is_changed_and_noted(runtime: Runtime, workspace: WorkspaceId, me: httpx2.AsyncClient) -> None:
    assert (await me.patch("me", json={"name": " Véra "})).json()["person"]["name"] == "Véra"
    [entry] = [e for e in await log(runtime, workspace) if e["action"] == "user.rename"]
    assert (entry["before"], entry["after"]) == ({"name": "Viewer"}, {"name": "Véra"})
    for wrong in ({"name": " "}, {"name": "a\nb"}, {"name": "x" * 101}, {}, {"name": "V", "role": "owner"}):
        assert (await me.patch("me", json=wrong)).status_code == 422
    assert (await me.get("me")).json()["person"]["name"] == "Véra"


async def test_s31_another_password_ends_the_other_browsers_sessions(
    runtime: Runtime, viewer: Account, me: httpx2.AsyncClient
) -> None:
    other = await viewer.sign_in(ELSEWHERE)
    answer = await me.post("me/password", json={"password": viewer.password, "new_password": GOOD})
    assert answer.status_code == 204, answer.text
    assert not await is_open(runtime, other)
    assert (await me.get("me")).status_code == 200
    viewer.password = GOOD
    await viewer.sign_in()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"password": WRONG}, "password"),
        ({"password": ""}, "password"),
        ({"new_password": "password1234"}, "new_password"),
        ({"new_password": "vera@example.org"}, "new_password"),
        ({"new_password": "x" * 1_001}, "new_password"),
        ({"user_id": 1}, "user_id"),
    ],
)
async def test_a_password_that_cannot_be_changed_names_the_field_and_never_repeats_it(
    runtime: Runtime, viewer: Account, me: httpx2.AsyncClient, wrong: dict[str, object], field: str
) -> None:
    content = {"password": viewer.password, "new_password": GOOD} | wrong
    answer = await me.post("me/password", json=content)
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == [field]
    assert found_in(answer.text, [viewer.password, GOOD, WRONG]) == []
    assert await is_open(runtime, await viewer.sign_in())


async def test_half_a_letter_in_a_password_is_a_refusal_and_no_fault(me: httpx2.AsyncClient) -> None:
    for path in ("me/password", "me/second-factor/off"):
        other = '"new_password": "\\udfff not a letter either"' if path == "me/password" else '"code": "\\udfff23456"'
        text = f'{{"password": "\\ud800 not a letter", {other}}}'
        answer = await me.post(path, content=text, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "password"), answer.text


async def test_s33_guesses_of_the_password_in_an_open_session_have_to_wait(me: httpx2.AsyncClient) -> None:
    for _ in range(tries.FREE):
        assert (await me.post("me/second-factor", json={"password": WRONG})).status_code == 422
    answer = await me.post("me/second-factor", json={"password": WRONG})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


async def test_sessions_are_listed_and_ended(runtime: Runtime, viewer: Account, me: httpx2.AsyncClient) -> None:
    other = await viewer.sign_in(ELSEWHERE)
    newest, this = (await me.get("me/sessions")).json()["items"]
    assert (newest["browser"], newest["address"], newest["is_this"]) == ("Chrome", "198.51.100.7", False)
    assert this["is_this"]
    page = (await me.get("me/sessions", params={"limit": 1})).json()
    assert [s["id"] for s in page["items"]] == [newest["id"]]
    rest = (await me.get("me/sessions", params={"limit": 1, "after": page["next"]})).json()
    assert [s["id"] for s in rest["items"]] == [this["id"]]
    assert rest["next"] is None
    assert (await me.delete(f"me/sessions/{newest['id']}")).status_code == 204
    assert not await is_open(runtime, other)
    assert (await me.delete(f"me/sessions/{newest['id']}")).status_code == 404


async def test_f20_nobody_ends_the_session_of_somebody_else(
    runtime: Runtime, workspace: WorkspaceId, me: httpx2.AsyncClient
) -> None:
    ann = await account(runtime, workspace, Role.OWNER)
    hers = await ann.sign_in()
    [session], _ = await sign_in.list_sessions(runtime, ann.user_id)
    assert (await me.delete(f"me/sessions/{session.id}")).status_code == 404
    assert (await me.delete("me/sessions")).json() == {"ended": 1}
    assert await is_open(runtime, hers)


async def test_signing_out_everywhere_ends_this_session_too_unless_it_is_kept(
    runtime: Runtime, viewer: Account, me: httpx2.AsyncClient
) -> None:
    others = [await viewer.sign_in(ELSEWHERE) for _ in range(2)]
    assert (await me.delete("me/sessions", params={"keep_this": True})).json() == {"ended": 2}
    assert [await is_open(runtime, token) for token in others] == [False, False]
    assert (await me.get("me")).status_code == 200
    assert (await me.delete("me/sessions")).json() == {"ended": 1}
    assert (await me.get("me")).status_code == 401


async def test_a_second_factor_from_the_first_code_to_the_last(
    runtime: Runtime, viewer: Account, me: httpx2.AsyncClient
) -> None:
    async def post(path: str, **content: str) -> httpx2.Response:
        return await me.post(f"me/second-factor{path}", json=content)

    begun = (await post("", password=viewer.password)).json()
    assert begun["secret"] in begun["uri"]
    assert (await me.get("me")).json()["person"]["second_factor"] is False
    wrong = await post("/confirm", code="000000")
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "code")
    confirmed = await post("/confirm", code=await code_now(runtime, begun["secret"]))
    codes = confirmed.json()["recovery_codes"]
    assert len(codes) == 10
    told = (await me.get("me")).json()
    assert (told["person"]["second_factor"], told["recovery_codes_left"]) == (True, 10)
    assert (await post("", password=viewer.password)).status_code == 409
    assert (await post("/confirm", code="123456")).status_code == 409
    await pass_time(runtime, NEXT_CODE)
    proof = {"password": viewer.password, "code": await code_now(runtime, begun["secret"])}
    renewed = (await post("/recovery-codes", **proof)).json()["recovery_codes"]
    assert not set(codes) & set(renewed)
    assert (await post("/off", password=viewer.password, code=codes[0])).status_code == 422
    assert (await post("/off", password=viewer.password, code=renewed[0])).status_code == 204
    assert not (await sign_in.sign_in(runtime, viewer.email, viewer.password, HERE)).needs_code
    assert (await post("/off", password=viewer.password, code=renewed[1])).status_code == 409


async def test_s32_a_session_without_the_code_is_none_for_the_api(
    app: FastAPI, runtime: Runtime, viewer: Account
) -> None:
    await viewer.add_second_factor()
    half = await sign_in.sign_in(runtime, viewer.email, viewer.password, HERE)
    async with tenants.client(app, session=half.token) as opened:
        assert (await opened.get("/api/v1/me")).status_code == 401


async def test_f08_s39_a_request_with_a_secret_is_done_once_and_leaves_none_behind(
    runtime: Runtime, viewer: Account, me: httpx2.AsyncClient
) -> None:
    headers, content = {"Idempotency-Key": "begin-1"}, {"password": viewer.password}
    first = await me.post("me/second-factor", json=content, headers=headers)
    again = await me.post("me/second-factor", json=content, headers=headers)
    assert (first.status_code, again.json()) == (200, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await me.post("me/second-factor", json={"password": GOOD}, headers=headers)
    assert (other.status_code, other.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
    text = await dump(runtime)
    assert "begin-1" in text
    assert found_in(text, [first.json()["secret"], viewer.password]) == []
    content_hash = hashlib.sha256(first.request.content).hexdigest()
    assert content_hash not in text, "a plain hash of the request would let a thief try passwords"


async def test_a_refusal_for_too_many_tries_is_not_kept(
    runtime: Runtime, viewer: Account, me: httpx2.AsyncClient
) -> None:
    headers, content = {"Idempotency-Key": "begin-1"}, {"password": viewer.password}
    for _ in range(12):
        await tries.count(runtime, tries.of_proof(viewer.user_id))
        await pass_time(runtime, NEXT_CODE * 30)
    await tries.count(runtime, tries.of_proof(viewer.user_id))
    assert (await me.post("me/second-factor", json=content, headers=headers)).status_code == 429
    await pass_time(runtime, NEXT_CODE * 30)
    assert (await me.post("me/second-factor", json=content, headers=headers)).status_code == 200
