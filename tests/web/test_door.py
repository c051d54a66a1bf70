"""Nobody sees a page, a stream or a figure without a session, but where a rule says so; and a session can end."""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from starlette.routing import Mount

from fleetcast.api.app import PREFIX, create_api
from fleetcast.api.guard import GuardedRoute
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.accounts.membership import remove_member
from fleetcast.services.accounts.sign_in import sign_out, sign_out_everywhere
from fleetcast.store import members
from fleetcast.store.connection import Database
from fleetcast.web import door, live
from fleetcast.web.app import create_app
from fleetcast.web.pages import overview
from tests.api.tenants import Person
from tests.store.broadcast import move_time
from tests.web import visitors
from tests.web.looking import Page
from tests.web.seeding import add_device
from tests.web.streams import events, serving, watching

TOKEN = "Zm9yIGEgdGVzdCB0aGF0IG5vYm9keSBndWVzc2Vz"
SCRIPT = {"Accept": "text/html, text/event-stream", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
"""What htmx says of itself when a page asks for its stream."""


def asks_who(dependant: Dependant) -> bool:
    """Whether a route cannot run without knowing who is signed in."""
    return dependant.call is door.visiting or any(asks_who(d) for d in dependant.dependencies)


def address(path: str) -> str:
    """A path with something in its holes."""
    return re.sub(r"{[^}]+}", "1", path)


def configured(runtime: Runtime, **settings: Any) -> FastAPI:
    """The application of an installation with these settings."""
    kept = replace(runtime, settings=runtime.settings.model_copy(update=settings))
    return create_app(kept, (PREFIX, create_api(kept)))


def test_s01_every_page_asks_for_a_session_or_is_named_public(app: FastAPI) -> None:
    found = {str(route.path): asks_who(route.dependant) for route in visitors.routes(app)}
    assert {path for path, asks in found.items() if not asks} == set(door.PUBLIC)
    assert {"/", "/events"} <= {path for path, asks in found.items() if asks}
    assert {route.path for route in app.routes if isinstance(route, Mount)} == {"/static", PREFIX}


async def test_s01_without_a_session_people_come_to_the_form_and_programs_are_refused(
    app: FastAPI, workspace: WorkspaceId
) -> None:
    async with (
        visitors.browser(app) as person,
        visitors.browser(app, headers=SCRIPT) as script,
        visitors.browser(app, headers={"Accept": SCRIPT["Accept"]}) as in_an_old_browser,
        visitors.browser(app, headers={"Accept": "text/html", "Sec-Fetch-Mode": "cors"}) as another,
        visitors.browser(app, headers={"Accept": "*/*"}) as program,
    ):
        for route in visitors.routes(app):
            if route.path in door.PUBLIC:
                continue
            for method in route.methods or ():
                path = f"{address(str(route.path))}?workspace={workspace}"
                answer = await person.request(method, path)
                if method == "GET":
                    assert answer.status_code == 303, path
                    assert answer.headers["location"].startswith("/sign-in?next=/"), path
                else:
                    assert answer.status_code == 401, path
                for other in (script, in_an_old_browser, another, program):
                    assert (await other.request(method, path)).status_code == 401, path
        assert (await person.get("/")).headers["location"] == "/sign-in"
        for route in visitors.routes(visitors.api_of(app)):
            assert isinstance(route.original_route, GuardedRoute)
            for method in route.methods or ():
                for asking in (person, program):
                    answer = await asking.request(method, PREFIX + address(str(route.path)))
                    led = asking is person and route.path == "/docs"
                    assert answer.status_code == (303 if led else 401), (method, route.path)


async def test_a_page_that_was_asked_for_comes_back_after_signing_in(
    stranger: httpx2.AsyncClient, workspace: WorkspaceId, runtime: Runtime
) -> None:
    ann = await visitors.account(runtime, workspace)
    led = (await stranger.get(f"/?workspace={workspace}")).headers["location"]
    form = Page((await stranger.get(led)).text)
    [hidden] = form.attributes("input", name="next")
    answer = await stranger.post(
        "/sign-in", data={"email": ann.email, "password": ann.password, "next": hidden["value"] or ""}
    )
    assert answer.headers["location"] == f"/?workspace={workspace}"
    assert (await stranger.get(answer.headers["location"])).status_code == 200


@pytest.mark.parametrize("token", ["", "fcs_", "fcs_unknown", "fck_unknown", "fcs_é", "x" * 5_000])
async def test_a_token_that_is_none_opens_nothing(app: FastAPI, token: str) -> None:
    cookie = f"{visitors.SESSION}={token}".encode()
    async with visitors.browser(app, headers=SCRIPT) as client:
        answer = await client.get("/", headers=[(b"cookie", cookie)])
    assert answer.status_code == 401


async def test_who_is_no_member_of_anything_is_told_what_to_do_and_can_leave(client: httpx2.AsyncClient) -> None:
    page = Page((await client.get("/")).text)
    assert "You are not a member of any workspace." in page.words
    assert page.attributes("form", method="post", action="/sign-out")
    assert (await client.get("/events?workspace=1", headers=SCRIPT)).status_code == 403


# --- streams


async def test_s06_the_stream_of_another_workspace_looks_like_one_that_is_not_there(
    client: httpx2.AsyncClient, workspace: WorkspaceId, runtime: Runtime, db: Database
) -> None:
    async with db.connection() as connection:
        theirs = await connection.fetchval("INSERT INTO workspaces (name) VALUES ('Theirs') RETURNING id")
    await visitors.signed_in(runtime, WorkspaceId(theirs))
    other, missing = [await client.get(f"/events?workspace={n}", headers=SCRIPT) for n in (theirs, 987_654)]
    assert other.status_code == missing.status_code == 404
    assert other.text.replace(f"workspace {theirs}.", "") == missing.text.replace("workspace 987654.", "")
    page = await client.get(f"/?workspace={theirs}")
    assert page.status_code == 404
    assert "Theirs" not in page.text


async def _signs_out(runtime: Runtime, person: Person, workspace: WorkspaceId) -> None:
    await sign_out(runtime, person.token)


async def _is_signed_out_everywhere(runtime: Runtime, person: Person, workspace: WorkspaceId) -> None:
    await sign_out_everywhere(runtime, person.user_id)


async def _is_removed(runtime: Runtime, person: Person, workspace: WorkspaceId) -> None:
    await visitors.signed_in(runtime, workspace)  # or it would have no owner
    await remove_member(runtime, workspace, person.user_id, actor="tests")


async def _is_no_member(runtime: Runtime, person: Person, workspace: WorkspaceId) -> None:
    async with runtime.db.connection() as connection:
        await members.delete(connection, workspace, person.user_id)


async def _comes_to_its_end(runtime: Runtime, person: Person, workspace: WorkspaceId) -> None:
    async with runtime.db.connection() as connection:
        await move_time(connection, timedelta(hours=2))


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (_signs_out, "This session is over. Sign in again."),
        (_is_signed_out_everywhere, "This session is over. Sign in again."),
        (_is_removed, "This session is over. Sign in again."),
        (_is_no_member, "You are not a member of any workspace. Ask an owner for an invitation."),
        (_comes_to_its_end, "This session is over. Sign in again."),
    ],
)
async def test_s06_an_open_stream_ends_within_a_minute_of_its_session(
    runtime: Runtime,
    db: Database,
    workspace: WorkspaceId,
    person: Person,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[Runtime, Person, WorkspaceId], Awaitable[None]],
    said: str,
) -> None:
    assert overview.STILL_MEMBER + live.SIGN_OF_LIFE + live.PATIENCE < 60
    monkeypatch.setattr(overview, "STILL_MEMBER", 0.0)
    monkeypatch.setattr(live, "SIGN_OF_LIFE", 0.05)
    await add_device(db, workspace, "Kedai 1")
    async with serving(runtime) as (url, _, _), watching(url, workspace, person) as answer:
        told = events(answer.aiter_lines())
        await anext(told)
        await anext(told)  # asked once more, and still a member
        await end(runtime, person, workspace)
        rest = [event async for event in told]
    assert rest[-1] == ("over", said)


async def test_a_stream_is_not_asked_for_its_session_at_every_event(
    runtime: Runtime, workspace: WorkspaceId, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(*_: object) -> None:
        raise AssertionError("asked too early")

    monkeypatch.setattr(live, "SIGN_OF_LIFE", 0.01)
    async with serving(runtime) as (url, _, _), watching(url, workspace, person) as answer:
        told = events(answer.aiter_lines())
        await anext(told)
        monkeypatch.setattr(overview, "visiting", asked)
        for _ in range(5):
            assert (await anext(told))[0] in {"message", "current"}


# --- what machines ask


@pytest.mark.parametrize(
    "path",
    ["/docs", "/redoc", "/openapi.json", "/api/v1/docs", "/api/v1/openapi.json", "/monitoring/redis", "/monitoring/"],
)
async def test_s41_descriptions_and_monitors_are_closed(stranger: httpx2.AsyncClient, path: str) -> None:
    answer = await stranger.get(path)
    assert answer.status_code in {401, 404} or answer.headers["location"].startswith("/sign-in?next=/")


async def test_who_opens_the_description_unknown_signs_in_first_and_programs_are_refused(
    app: FastAPI, workspace: WorkspaceId, runtime: Runtime
) -> None:
    ann = await visitors.account(runtime, workspace)
    async with visitors.browser(app) as person, visitors.browser(app, headers={"Accept": "*/*"}) as program:
        refused = await program.get("/api/v1/docs")
        assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
        assert (await person.get("/api/v1/docs")).headers["location"] == "/sign-in?next=/api/v1/docs"
        form = {"email": ann.email, "password": ann.password, "next": "/api/v1/docs"}
        assert (await person.post("/sign-in", data=form)).headers["location"] == "/api/v1/docs"
        assert "swagger" in (await person.get("/api/v1/docs")).text


async def test_s41_the_description_of_the_api_opens_for_who_is_signed_in(
    client: httpx2.AsyncClient, workspace: WorkspaceId
) -> None:
    assert (await client.get("/api/v1/docs")).status_code == 200
    assert (await client.get("/api/v1/openapi.json")).json()["info"]["title"] == "Fleetcast"


@pytest.mark.parametrize(
    ("settings", "headers", "status"),
    [
        ({}, {}, 200),
        ({"host": "::1"}, {}, 200),
        ({"url": "http://localhost:8080"}, {}, 200),
        ({"host": "0.0.0.0"}, {}, 401),
        ({"url": "https://fleetcast.example.org"}, {}, 401),
        ({}, {"X-Forwarded-For": "192.0.2.7"}, 401),
        ({}, {"Via": "1.1 proxy"}, 401),
        ({"metrics_token": TOKEN}, {}, 401),
        ({"metrics_token": TOKEN}, {"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"metrics_token": TOKEN}, {"Authorization": "Bearer é"}, 401),
        ({"metrics_token": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"metrics_token": TOKEN, "host": "0.0.0.0"}, {"Authorization": f"Bearer {TOKEN}"}, 200),
    ],
)
async def test_s41_figures_are_for_who_runs_the_machine(
    runtime: Runtime, db: Database, settings: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    checked = type(runtime.settings)(**runtime.settings.model_dump() | settings)
    app = create_app(replace(runtime, settings=checked))
    async with visitors.browser(app) as client:
        sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        assert (await client.get("/metrics", headers=sent)).status_code == status
        assert (await client.get("/health", headers=sent)).json() == {"status": "alive"}
        assert (await client.get("/ready", headers=sent)).json() == {"status": "ready"}
        async with db.connection() as connection:
            await connection.execute("UPDATE alembic_version SET version_num = 'older'")
        trouble = await client.get("/ready", headers=sent)
        assert trouble.status_code == 503
        assert ("older" in trouble.text) is (status == 200)
        if status != 200:
            assert json.loads(trouble.text) == {"status": "not ready"}


async def test_figures_do_not_open_for_a_session(runtime: Runtime, person: Person, workspace: WorkspaceId) -> None:
    async with visitors.browser(configured(runtime, host="0.0.0.0"), person) as client:
        assert (await client.get("/metrics")).status_code == 401


async def test_a_session_that_waits_for_its_code_opens_nothing(
    app: FastAPI, db: Database, person: Person, workspace: WorkspaceId
) -> None:
    async with db.connection() as connection:
        await connection.execute("UPDATE sessions SET waits_for_code = true")
    async with visitors.browser(app, person, headers=SCRIPT) as client:
        for path in ("/", f"/events?workspace={workspace}", "/api/v1/devices", "/api/v1/docs"):
            assert (await client.get(path)).status_code == 401, path


async def test_using_a_page_keeps_a_session_alive_and_nothing_else_does(
    client: httpx2.AsyncClient, db: Database, workspace: WorkspaceId, person: Person
) -> None:
    async with db.connection() as connection:
        await connection.execute("UPDATE sessions SET expires_at = expires_at + interval '29 days'")
        await move_time(connection, timedelta(days=5))
        assert (await client.get("/")).status_code == 200
        await move_time(connection, timedelta(days=5))
        assert (await client.get("/")).status_code == 200
        await move_time(connection, timedelta(days=8))
        assert (await client.get("/")).status_code == 303
