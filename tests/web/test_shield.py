"""What every answer carries, and what is refused before any page runs."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.api.app import PREFIX, create_api
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device
from fleetcast.store.connection import Database
from fleetcast.web.app import create_app
from fleetcast.web.shield import HEADERS
from tests.api import tenants
from tests.api.tenants import Person
from tests.web import visitors
from tests.web.looking import Page
from tests.web.visitors import SESSION

EVIL = "https://evil.example"


def answers(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and address of every route there is, pages and API."""
    for prefix, inner in (("", app), (PREFIX, visitors.api_of(app))):
        for route in visitors.routes(inner):
            for method in sorted(route.methods or ()):
                yield method, prefix + re.sub(r"{[^}]+}", "1", str(route.path))


def elsewhere(runtime: Runtime, **settings: Any) -> FastAPI:
    """The application of an installation with these settings."""
    kept = replace(runtime, settings=type(runtime.settings)(**runtime.settings.model_dump() | settings))
    return create_app(kept, (PREFIX, create_api(kept)))


# --- who begins a change

FORGED = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": tenants.BASE},
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://localhost:8081"},
    {"Origin": f"{tenants.BASE}.evil.example"},
    {"Origin": "http://[oops"},
    {"Origin": EVIL, "Authorization": "Basic YWRtaW46YWRtaW4="},
    {},
]


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/json"])
async def test_s34_another_sites_request_changes_nothing(
    app: FastAPI, person: Person, workspace: WorkspaceId, db: Database, forged: dict[str, str], kind: str
) -> None:
    before = await visitors.everything(db)
    async with visitors.browser(app, person, headers=forged | {"Content-Type": kind}) as client:
        asked = [(method, path) for method, path in answers(app) if method not in {"GET", "HEAD"}]
        assert ("POST", "/sign-out") in asked
        assert ("POST", f"{PREFIX}/devices") in asked
        for method, path in asked:
            answer = await client.request(method, path, content='{"name": "Forged"}')
            assert answer.status_code == 403, (method, path)
            assert "begun by another site" in answer.text
            if path.startswith(PREFIX):
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["status"] == 403
    assert await visitors.everything(db) == before


@pytest.mark.parametrize(
    "honest",
    [
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": tenants.BASE},
        {"Origin": "http://LOCALHOST:8080"},
    ],
)
async def test_s34_our_own_pages_may(app: FastAPI, person: Person, honest: dict[str, str]) -> None:
    async with visitors.browser(app, person, headers=honest) as client:
        assert (await client.post("/sign-out")).status_code == 303


async def test_s34_behind_a_proxy_that_renames_the_host_our_own_pages_may(runtime: Runtime, person: Person) -> None:
    app = elsewhere(runtime, url="https://fleetcast.example.org")
    async with visitors.browser(app, person, headers={"Origin": "https://fleetcast.example.org"}) as client:
        assert (await client.post("/sign-out")).status_code == 303
    async with visitors.browser(app, person, headers={"Origin": EVIL}) as client:
        assert (await client.post("/sign-out")).status_code == 403


async def test_s34_a_program_with_a_key_needs_to_name_no_site(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId
) -> None:
    async with tenants.client(app, key=await tenants.key(runtime, workspace)) as program:
        assert (await program.post(f"{PREFIX}/devices", json={"name": "Shop"})).status_code == 201


async def test_s34_a_form_of_another_site_cannot_sign_anybody_in(app: FastAPI) -> None:
    async with visitors.browser(app, headers={"Sec-Fetch-Site": "cross-site"}) as client:
        answer = await client.post("/sign-in", data={"email": "mallory@example.org", "password": "x"})
    assert answer.status_code == 403


async def test_s34_text_that_only_looks_like_json_is_not_taken_for_it(
    app: FastAPI, person: Person, workspace: WorkspaceId, db: Database
) -> None:
    headers = visitors.OURS | {"Content-Type": "text/plain"}
    async with visitors.browser(app, person, headers=headers) as client:
        assert (await client.post(f"{PREFIX}/devices", content='{"name": "Shop"}')).status_code == 422
    async with db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM devices") == 0


async def test_s34_looking_changes_nothing(
    app: FastAPI, runtime: Runtime, person: Person, workspace: WorkspaceId, db: Database
) -> None:
    await add_device(runtime, workspace, "Shop", actor="tests")
    before = await visitors.everything(db)
    async with visitors.browser(app, person) as client:
        for method, path in answers(app):
            if method != "GET" or path == "/events":  # whose answer does not end
                continue
            assert (await client.get(path)).status_code < 500, path
            assert (await client.get(path, params={"workspace": str(workspace)})).status_code < 500, path
    after = await visitors.everything(db)
    del before["audit"], after["audit"]  # who took all leads away is noted, and nothing else
    assert after == before


@pytest.mark.parametrize("origin", [EVIL, "null", tenants.BASE, "http://127.0.0.1:8080"])
async def test_s35_no_origin_is_allowed_to_read_answers(
    app: FastAPI, person: Person, workspace: WorkspaceId, origin: str
) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with visitors.browser(app, person, headers={"Origin": origin}) as client:
        for method, path in answers(app):
            if path == "/events":
                continue
            for answer in (await client.request(method, path), await client.options(path, headers=asks)):
                assert not [name for name in answer.headers if name.startswith("access-control")], (method, path)


# --- what every answer carries


async def various(app: FastAPI, client: httpx2.AsyncClient, person: Person) -> dict[str, httpx2.Response]:
    """An answer of every kind."""

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret detail")

    @visitors.api_of(app).get("/broken")
    async def broken_too() -> None:
        raise RuntimeError("a secret detail")

    session = {"Cookie": f"{SESSION}={person.token}"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return {
        "page": await client.get("/", headers=session),
        "redirect": await client.get("/"),
        "form": await client.get("/sign-in"),
        "code": await client.get("/sign-in/code"),
        "wrong": await client.post("/sign-in", data={"email": "a@b", "password": "x"}),
        "invitation": await client.get("/invitations/x"),
        "401": await client.get("/", headers={"Accept": "*/*"}),
        "403": await client.post("/sign-out", headers={"Sec-Fetch-Site": "cross-site"}),
        "404": await client.get("/nowhere"),
        "405": await client.put("/sign-in"),
        "413": await client.post("/sign-in", content=b"a=" + b"x" * 70_000, headers=form),
        "421": await client.get("/", headers={"Host": "rebound.example"}),
        "422": await client.post("/sign-in", data={"email": "x" * 400}),
        "500": await client.get("/broken"),
        "health": await client.get("/health"),
        "metrics": await client.get("/metrics"),
        "static": await client.get("/static/app.css"),
        "static 404": await client.get("/static/nowhere"),
        "api": await client.get("/api/v1/devices", headers=session),
        "api 401": await client.get("/api/v1/devices"),
        "api 404": await client.get("/api/v1/nowhere"),
        "api 500": await client.get("/api/v1/broken"),
        "api docs": await client.get("/api/v1/docs", headers=session),
        "api docs script": await client.get("/api/v1/docs/assets/docs.js"),
        "api docs bundle": await client.get("/api/v1/docs/swagger/swagger-ui-bundle.js"),
    }


async def test_every_answer_carries_the_headers_and_none_is_kept_but_files(
    app: FastAPI, stranger: httpx2.AsyncClient, person: Person, workspace: WorkspaceId
) -> None:
    found = await various(app, stranger, person)
    for name, answer in found.items():
        if name.split()[-1].isdigit():
            assert answer.status_code == int(name.split()[-1]), name
        for header, value in HEADERS.items():
            assert answer.headers.get_list(header) == [value], (name, header)
        if "static" not in name and "docs " not in name:
            assert answer.headers["cache-control"] == "no-store", name
        assert "server" not in answer.headers
        assert "secret detail" not in answer.text
    statuses = {name: answer.status_code for name, answer in found.items()}
    assert {n for n in ("page", "form", "code", "api", "api docs", "api docs bundle") if statuses[n] != 200} == set()


def test_the_policy_allows_no_inline_script_and_nothing_from_elsewhere() -> None:
    policy = dict(part.strip().partition(" ")[::2] for part in HEADERS["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'"
    for name in ("script-src", "script-src-elem", "script-src-attr", "connect-src", "worker-src", "frame-src"):
        assert name not in policy
    assert policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in " ".join(policy.values()).replace("style-src-attr", "")
    assert not re.search(r"https?:|\*", HEADERS["Content-Security-Policy"])


async def test_pages_have_nothing_that_the_policy_forbids(
    app: FastAPI, stranger: httpx2.AsyncClient, person: Person, workspace: WorkspaceId
) -> None:
    found = await various(app, stranger, person)
    seen = 0
    for name, answer in found.items():
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        seen += 1
        page = Page(answer.text)
        for tag, attributes in page.tags:
            assert tag not in {"style", "iframe", "object", "embed", "base"}, name
            assert tag != "script" or attributes.get("src"), name
            assert not [a for a in attributes if a == "style" or a.startswith("on")], name
            for place in ("src", "href", "action"):
                if target := attributes.get(place):
                    assert not re.match(r"(?!data:,)[a-z]+:|//", target), (name, target)
    assert seen >= 12


# --- the host


async def test_s49_no_answer_repeats_the_host_that_a_request_names(
    runtime: Runtime, person: Person, workspace: WorkspaceId
) -> None:
    app = elsewhere(runtime, host="0.0.0.0")
    named = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    async with (
        app.router.lifespan_context(app),
        visitors.browser(app, person, headers=visitors.OURS | named) as client,
        visitors.browser(app, headers=visitors.OURS | named) as stranger,
    ):
        for browser in (client, stranger):
            for method, path in answers(app):
                if path == "/events" or method not in {"GET", "HEAD"}:
                    continue
                for address in (path, f"{path}/", f"/{path}"):
                    answer = await browser.request(method, address)
                    assert "evil" not in answer.text, address
                    assert "evil" not in str(answer.headers), address
                    assert not answer.headers.get("location", "/").startswith(("http", "//")), address


async def test_the_name_under_which_people_reach_a_proxy_is_taken_and_no_other(
    runtime: Runtime, person: Person, workspace: WorkspaceId
) -> None:
    app = elsewhere(runtime, url="https://fleetcast.example.org")
    async with visitors.browser(app) as client:
        for host, status in (
            ("fleetcast.example.org", 200),
            ("FLEETCAST.example.org:443", 200),
            ("localhost:8080", 200),
            ("example.org", 421),
            ("fleetcast.example.org.evil.example", 421),
        ):
            assert (await client.get("/sign-in", headers={"Host": host})).status_code == status, host
