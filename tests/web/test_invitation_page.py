"""The link of an invitation: looking changes nothing, accepting needs to be the one who is invited."""

import re
from datetime import timedelta

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.access import Role
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import membership, tries
from fleetcast.services.accounts.membership import Invited
from fleetcast.store.connection import Database
from tests.api.tenants import Person
from tests.store.broadcast import move_time
from tests.web import visitors
from tests.web.looking import HOSTILE, Page
from tests.web.visitors import SESSION

EMAIL, PASSWORD = "new@example.org", "tram lantern rhubarb quay"
ACCOUNT = {"name": "New Person", "password": PASSWORD}


@pytest.fixture
async def invited(runtime: Runtime, workspace: WorkspaceId) -> Invited:
    return await membership.invite(runtime, workspace, EMAIL, Role.OPERATOR, actor="user:boss@example.org")


def link(invited: Invited) -> str:
    return f"/invitations/{invited.token}"


async def roles(runtime: Runtime, workspace: WorkspaceId) -> dict[str, Role]:
    """Members by address."""
    found, _ = await membership.list_members(runtime, workspace)
    return {m.email: m.role for m in found}


async def test_s34_opening_the_link_changes_nothing_however_often(
    stranger: httpx2.AsyncClient, client: httpx2.AsyncClient, db: Database, invited: Invited
) -> None:
    before = await visitors.everything(db)
    for browser in (stranger, client, stranger):
        for method in ("GET", "HEAD"):
            assert (await browser.request(method, link(invited))).status_code in {200, 405}
    assert await visitors.everything(db) == before


async def test_who_is_new_makes_an_account_and_is_signed_in(
    stranger: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId, invited: Invited
) -> None:
    page = Page((await stranger.get(link(invited))).text)
    assert invited.invitation.workspace in page.words
    assert EMAIL in page.words
    assert "as operator" in page.words
    assert "Invited by boss@example.org." in page.words
    assert [a["for"] for t, a in page.tags if t == "label"] == ["username", "name", "password"]
    assert "autofocus" in page.attributes("input", id="name")[0]
    answer = await stranger.post(link(invited), data=ACCOUNT)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/?workspace={workspace}")
    assert (await roles(runtime, workspace))[EMAIL] is Role.OPERATOR
    assert EMAIL in Page((await stranger.get(answer.headers["location"])).text).words
    used = await stranger.get(link(invited))
    assert used.status_code == 404
    assert "This invitation is over" in Page(used.text).words


@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ({"name": ""}, "name", "Name: a name is needed."),
        ({"name": "x" * 101}, "name", "Name: at most 100 characters"),
        ({"password": "short"}, "password", "Password: at least 12 characters"),
        ({"password": "fleetcast123"}, "password", "Password: it is little more than 'fleetcast'"),
        ({"password": ""}, "password", "Password: at least 12 characters"),
    ],
)
async def test_what_cannot_be_accepted_is_told_at_its_field_and_the_link_stays_good(
    stranger: httpx2.AsyncClient, invited: Invited, typed: dict[str, str], field: str, said: str
) -> None:
    answer = await stranger.post(link(invited), data=ACCOUNT | typed)
    page = Page(answer.text)
    assert answer.status_code == 422
    assert said in page.words
    [at_fault] = [a for t, a in page.tags if t == "input" and a.get("aria-invalid")]
    assert at_fault["id"] == field
    assert "trouble" in (at_fault["aria-describedby"] or "").split()
    assert [a["id"] for t, a in page.tags if t == "input" and "autofocus" in a] == [field]
    assert page.attributes("input", id="name")[0]["value"] == (ACCOUNT | typed)["name"]
    assert "value" not in page.attributes("input", id="password")[0]
    assert (await stranger.post(link(invited), data=ACCOUNT)).status_code == 303


async def test_who_has_an_account_must_sign_in_to_accept(
    stranger: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId, invited: Invited, db: Database
) -> None:
    async with db.connection() as connection:
        elsewhere = await connection.fetchval("INSERT INTO workspaces (name) VALUES ('Elsewhere') RETURNING id")
    account = await visitors.account(runtime, elsewhere, EMAIL.upper())
    page = Page((await stranger.get(link(invited))).text)
    assert "There is an account with this address." in page.words
    assert not page.attributes("input", id="password")
    [onward] = page.attributes("a", href=f"/sign-in?next={link(invited)}")
    refused = await stranger.post(link(invited), data=ACCOUNT)
    assert refused.status_code == 409
    assert EMAIL not in {e.lower() for e in await roles(runtime, workspace)}
    signed = await stranger.post(
        "/sign-in", data={"email": account.email, "password": account.password, "next": link(invited)}
    )
    assert signed.headers["location"] == link(invited)
    assert onward["href"]
    asked = Page((await stranger.get(link(invited))).text)
    assert asked.attributes("form", action=link(invited), method="post")
    assert (await stranger.post(link(invited))).headers["location"] == f"/?workspace={workspace}"
    assert (await roles(runtime, workspace))[EMAIL.upper()] is Role.OPERATOR


async def test_who_is_signed_in_as_somebody_else_cannot_accept_and_is_led_out_and_back(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId, invited: Invited
) -> None:
    other = await visitors.signed_in(runtime)
    async with visitors.browser(app, other) as client:
        page = Page((await client.get(link(invited))).text)
        assert f"You are signed in as {other.email}." in page.words
        refused = await client.post(link(invited), data=ACCOUNT)
        assert refused.status_code == 409
        assert other.email not in await roles(runtime, workspace)
        [back] = page.attributes("input", name="next")
        left = await client.post("/sign-out", data={"next": back["value"] or ""})
        assert left.headers["location"] == f"/sign-in?next={link(invited)}"


async def _used(runtime: Runtime, workspace: WorkspaceId, invited: Invited) -> None:
    await membership.accept_as_new(runtime, invited.token, "New", PASSWORD)


async def _withdrawn(runtime: Runtime, workspace: WorkspaceId, invited: Invited) -> None:
    await membership.withdraw(runtime, workspace, invited.invitation.id, actor="user:boss@example.org")


async def _expired(runtime: Runtime, workspace: WorkspaceId, invited: Invited) -> None:
    async with runtime.db.connection() as connection:
        await move_time(connection, timedelta(days=membership.INVITATION_DAYS, seconds=1))


async def _replaced(runtime: Runtime, workspace: WorkspaceId, invited: Invited) -> None:
    await membership.invite(runtime, workspace, EMAIL, Role.VIEWER, actor="user:boss@example.org")


@pytest.mark.parametrize("end", [_used, _withdrawn, _expired, _replaced])
async def test_a_link_that_is_over_says_so_and_lets_nobody_in(
    stranger: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId, invited: Invited, end: object
) -> None:
    assert callable(end)
    await end(runtime, workspace, invited)
    before = await roles(runtime, workspace)
    for answer in (await stranger.get(link(invited)), await stranger.post(link(invited), data=ACCOUNT)):
        assert answer.status_code == 404
        assert "This invitation is over" in Page(answer.text).words
        assert "Ask for a new one." in Page(answer.text).words
        assert EMAIL not in answer.text
    assert await roles(runtime, workspace) == before


@pytest.mark.parametrize("token", ["1", "fci_unknown", "fcs_x", "%00", "é", "x" * 3_000, "..%2f..%2fetc"])
async def test_a_guessed_link_says_no_more_than_one_that_is_over(stranger: httpx2.AsyncClient, token: str) -> None:
    answer = await stranger.get(f"/invitations/{token}")
    assert answer.status_code == 404


async def test_a_crowd_of_wrong_guesses_from_one_address_does_not_lose_a_new_account(
    stranger: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId, invited: Invited, db: Database
) -> None:
    for _ in range(tries.FREE_OF_ADDRESS):
        await tries.count(runtime, tries.of_address("127.0.0.1"), free=tries.FREE_OF_ADDRESS)
    await visitors.prolong_waits(db)
    answer = await stranger.post(link(invited), data=ACCOUNT)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next=/%3Fworkspace%3D{workspace}")
    assert EMAIL in await roles(runtime, workspace)


async def test_s19_names_in_an_invitation_are_text(
    stranger: httpx2.AsyncClient, runtime: Runtime, db: Database, person: Person
) -> None:
    async with db.connection() as connection:
        made = await connection.fetchval("INSERT INTO workspaces (name) VALUES ($1) RETURNING id", f"W {HOSTILE}")
    hostile_address = '"><img/src=x/onerror=alert(1)>@example.org'
    invited = await membership.invite(
        runtime, WorkspaceId(made), hostile_address, Role.VIEWER, actor=f"user:{hostile_address}"
    )
    for answer in (
        await stranger.get(link(invited)),
        await stranger.post(link(invited), data={"name": HOSTILE, "password": "short"}),
    ):
        page = Page(answer.text)
        assert page.text.count(HOSTILE) >= 2
        assert page.text.count(hostile_address) >= 2
        assert not [t for t, _ in page.tags if t in ("img", "hx-partial")]
        assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    joined = await stranger.post(link(invited), data={"name": HOSTILE, "password": PASSWORD})
    page = Page((await stranger.get(joined.headers["location"])).text)
    title = re.search(r"<title>(.*?)</title>", (await stranger.get("/")).text)
    assert title is not None
    assert "<" not in title[1]
    assert hostile_address in page.text
    assert not [t for t, _ in page.tags if t in ("img", "hx-partial")]
    assert SESSION in stranger.cookies
