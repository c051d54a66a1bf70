"""What the first page shows, and what no page ever lets through."""

import re
from dataclasses import replace

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.workspaces import create_workspace
from fleetcast.store import processes
from fleetcast.store.connection import Database
from fleetcast.store.identity import note_node
from fleetcast.web.app import create_app
from tests.api.tenants import Person
from tests.web import visitors
from tests.web.looking import HOSTILE, Page
from tests.web.seeding import FIGURES, add_campaign, add_device


async def get(client: httpx2.AsyncClient, path: str = "/") -> Page:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


async def test_a_campaigns_figures_are_shown_and_add_up(
    client: httpx2.AsyncClient, db: Database, workspace: WorkspaceId
) -> None:
    await add_device(db, workspace, "Kedai 1")
    await add_campaign(db, workspace, "Spring", sums=FIGURES)
    page = await get(client)
    assert "Spring" in page.words
    assert "56.5% of 1,000" in page.words
    now, _, _ = page.words.partition("Messages Today")
    shown = {word: int(n) for word, n in re.findall(r"(Sent|Leaving now|Waiting|In doubt|Failed|Skipped) (\d+)", now)}
    assert shown == {"Sent": 500, "Leaving now": 2, "Waiting": 430, "In doubt": 3, "Failed": 45, "Skipped": 20}
    assert sum(shown.values()) == 1000
    assert "delivered 450, read 210" in page.words
    assert "Failed: 40 not on WhatsApp, 5 content refused." in page.words
    assert "Simulated devices: no message leaves this machine." in page.words
    assert "3 messages may or may not have left" in page.words


async def test_who_has_a_campaign_under_way_is_told_when_nothing_runs_that_could_send_it(
    client: httpx2.AsyncClient, db: Database, workspace: WorkspaceId
) -> None:
    await add_device(db, workspace, "Kedai 1")
    told = "No scheduler and no sender runs at this moment: nothing goes out until one does."
    assert told not in (await get(client)).words, "nothing waits for one"
    await add_campaign(db, workspace, "Spring", sums=FIGURES)
    assert told in (await get(client)).words
    async with db.connection() as connection:
        await note_node(connection, "here", "here")
        for kind in ("scheduler", "sender"):
            await processes.beat(connection, f"{kind} 1", kind, "here", [], {})
    assert "runs at this moment" not in (await get(client)).words


async def test_the_bar_of_a_campaign_never_leaves_its_track(
    client: httpx2.AsyncClient, db: Database, workspace: WorkspaceId
) -> None:
    await add_device(db, workspace, "Kedai 1")
    sums = {("sent", None): 999_990, ("failed", "poison"): 1, ("skipped", "expired"): 1, ("in_doubt", "no_answer"): 1}
    await add_campaign(db, workspace, "Nearly done", sums=sums | {("delivered", None): 999_989, ("read", None): 1})
    rects = [a for tag, a in (await get(client)).tags if tag == "rect"]
    assert len(rects) >= 6
    ends = [float(a["x"] or 0) + float(a["width"] or 0) for a in rects]
    assert max(ends) <= 1000.1
    assert min(float(a["width"] or 0) for a in rects) >= 5


async def test_names_are_text_and_never_markup(
    client: httpx2.AsyncClient, db: Database, workspace: WorkspaceId, runtime: Runtime, person: Person
) -> None:
    await visitors.join(runtime, person, (await create_workspace(runtime, f"Second {HOSTILE}")).id)
    await add_device(db, workspace, f"Device {HOSTILE}", state="logged_out", reason=f"Reason {HOSTILE}")
    await add_campaign(db, workspace, f"Running {HOSTILE}", sums=FIGURES | {("failed", f"x {HOSTILE}"): 1})
    await add_campaign(db, workspace, f"Paused {HOSTILE}", status="paused", paused_reason=f"Why {HOSTILE}")
    await add_campaign(db, workspace, f"Draft {HOSTILE}", status="draft")
    page = await get(client)
    assert page.text.count(HOSTILE) >= 7
    assert not [t for t, _ in page.tags if t in ("img", "hx-partial")]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


async def test_f20_two_workspaces_do_not_mix(
    client: httpx2.AsyncClient, db: Database, workspace: WorkspaceId, runtime: Runtime, person: Person
) -> None:
    other = await create_workspace(runtime, "Other")
    await visitors.join(runtime, person, other.id)
    await add_device(db, other.id, "Theirs")
    await add_campaign(db, other.id, "Their campaign", sums=FIGURES)
    await add_device(db, workspace, "Ours")
    await add_campaign(db, workspace, "Our campaign", sums=FIGURES)
    ours, theirs = (await get(client)).words, (await get(client, f"/?workspace={other.id}")).words
    assert "Our campaign" in ours
    assert "Ours" in ours
    assert "Their" not in ours
    assert "Their campaign" in theirs
    assert "Our" not in theirs


async def test_without_a_workspace_the_page_says_what_to_do_first(client: httpx2.AsyncClient) -> None:
    assert "fleetcast workspace create NAME" in (await get(client)).words


@pytest.mark.usefixtures("workspace")
async def test_without_devices_the_page_shows_the_first_steps(client: httpx2.AsyncClient) -> None:
    page = (await client.get("/")).text
    assert 'href="/devices?workspace=' in page
    assert 'href="/leads/import?' not in page, "one step at a time"
    for step in ("Add a device", "Bring your leads", "Send the first campaign"):
        assert step in page


async def test_with_devices_the_first_step_is_done(
    client: httpx2.AsyncClient, db: Database, workspace: WorkspaceId
) -> None:
    await add_device(db, workspace, "Kedai 1")
    page = (await client.get("/")).text
    assert "Add a device</a>" not in page
    assert f'href="/leads/import?workspace={workspace}"' in page


async def test_every_answer_carries_the_security_headers(client: httpx2.AsyncClient, workspace: WorkspaceId) -> None:
    for path in ("/", "/nowhere", "/health", "/ready", "/metrics", "/static/app.css", "/static/nowhere"):
        headers = (await client.get(path)).headers
        assert "default-src 'self'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


async def test_pages_need_nothing_from_elsewhere_and_nothing_inline(
    client: httpx2.AsyncClient, db: Database, workspace: WorkspaceId
) -> None:
    await add_device(db, workspace, "Kedai 1")
    await add_campaign(db, workspace, "Spring", sums=FIGURES)
    page = await get(client)
    for tag, attrs in page.tags:
        assert "style" not in attrs
        assert tag != "style"
        if tag == "script":
            assert attrs.get("src")
        for name in ("src", "href"):
            if address := attrs.get(name):
                assert address.startswith(("/", "#")), address
                assert not address.startswith("//")
    for _, attrs in page.tags:
        if (address := attrs.get("src") or "").startswith("/static/") or (
            address := attrs.get("href") or ""
        ).startswith("/static/"):
            answer = await client.get(address)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]


async def test_landmarks_headings_and_labels_are_there(
    client: httpx2.AsyncClient, db: Database, workspace: WorkspaceId
) -> None:
    await add_device(db, workspace, "Kedai 1")
    await add_campaign(db, workspace, "Spring", sums=FIGURES)
    page = await get(client)
    tags = [t for t, _ in page.tags]
    assert (tags.count("main"), tags.count("h1"), tags.count("nav")) == (1, 1, 2)
    assert [a["aria-label"] for a in page.attributes("nav")] == ["Main", "Range"]
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        if label := attrs.get("aria-labelledby"):
            assert label in ids
        if (attrs.get("href") or "").startswith("#"):
            assert (attrs["href"] or "")[1:] in ids
    assert all(a.get("aria-label") for t, a in page.tags if a.get("role") == "img")


async def test_a_request_for_another_host_is_refused(client: httpx2.AsyncClient, workspace: WorkspaceId) -> None:
    for host in ("rebound.example", "127.0.0.1.example:8080", "", "[oops"):
        assert (await client.get("/", headers={"Host": host})).status_code == 421, host
    for host in ("127.0.0.1:8080", "localhost", "[::1]:8080"):
        assert (await client.get("/", headers={"Host": host})).status_code == 200, host


@pytest.mark.usefixtures("workspace")
async def test_an_unknown_page_or_workspace_is_a_friendly_404(client: httpx2.AsyncClient) -> None:
    for path in ("/nowhere", "/?workspace=987654", "/?workspace=x", "/?workspace=99999999999999999999"):
        answer = await client.get(path)
        assert answer.status_code == 404, path
        assert "Not found" in answer.text
        assert "Traceback" not in answer.text


async def test_a_database_that_is_away_is_a_503_that_comes_back(runtime: Runtime, person: Person) -> None:
    nowhere = Database("postgresql://fleetcast:hunter2@localhost:1/none")
    async with nowhere:
        made = create_app(replace(runtime, db=nowhere))
        async with visitors.browser(made, person) as client:
            answer = await client.get("/")
            probe = await client.get("/ready")
            alive = await client.get("/health")
    assert answer.status_code == 503
    assert "database is away" in answer.text
    assert 'http-equiv="refresh"' in answer.text
    assert probe.status_code == 503
    assert list(probe.json()["problems"]) == ["postgresql"]
    assert alive.json() == {"status": "alive"}
    assert "hunter2" not in answer.text + probe.text


async def test_an_unforeseen_error_shows_no_trace(app: FastAPI, client: httpx2.AsyncClient) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret detail")

    answer = await client.get("/broken")
    assert answer.status_code == 500
    assert "Something broke" in answer.text
    assert "secret detail" not in answer.text
    assert "default-src 'self'" in answer.headers["content-security-policy"]


async def test_ready_says_what_is_wrong_with_the_schema(client: httpx2.AsyncClient, db: Database) -> None:
    assert (await client.get("/ready")).json() == {"status": "ready"}
    async with db.connection() as connection:
        await connection.execute("UPDATE alembic_version SET version_num = 'older'")
    answer = await client.get("/ready")
    assert answer.status_code == 503
    assert "older" in answer.json()["problems"]["postgresql"]


async def test_a_process_that_stands_still_or_is_gone_is_told_at_the_top(
    client: httpx2.AsyncClient, db: Database, workspace: WorkspaceId
) -> None:
    await add_device(db, workspace, "Kedai 1")
    assert "stand still" not in (await get(client)).words
    async with db.connection() as connection:
        await connection.execute("INSERT INTO nodes (id, name) VALUES ('here', 'here')")
        await processes.beat(connection, "host:1:abcd", "sender", "here", ["claims"], {"age:claims": 41.0})
        await processes.beat(connection, "host:2:abcd", "scheduler", "here", [], {})
        await connection.execute(
            "UPDATE processes SET beaten_at = beaten_at - interval '1 minute' WHERE kind = 'scheduler'"
        )
    words = (await get(client)).words
    assert "Loops of the sender stand still: claims for 41 seconds." in words
    assert "The scheduler was not heard of for 60 seconds, and there is no other." in words
