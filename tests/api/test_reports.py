"""Reports over the API: figures that add up, of one's own workspace alone."""

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.access import Scope
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.engine.historian import Historian
from fleetcast.runtime import Runtime
from fleetcast.services.single_sends import SingleSend, send_message
from fleetcast.services.workspaces import create_workspace
from tests.api import tenants
from tests.store.broadcast import Broadcast, make_broadcast


@pytest.fixture
async def cast(runtime: Runtime, workspace: WorkspaceId) -> Broadcast:
    """A campaign of two devices in turn: two sent, two failed, two waiting; and two single sends, one skipped."""
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace)
        await made.queue(connection)
        await made.send(connection, *made.messages[:2])
        await made.end(connection, made.messages[2], MessageStatus.FAILED, Reason.NOT_ON_WHATSAPP, Outcome.REFUSED)
        await made.end(connection, made.messages[3], MessageStatus.FAILED, Reason.CONTENT_REFUSED, Outcome.REFUSED)
        await connection.execute(
            "INSERT INTO suppressions (workspace_id, recipient, effective_at, source) "
            "VALUES ($1, '+60129999999', fleetcast_now(), 'person')",
            workspace,
        )
    for number in ("+60129999999", "+60128888888"):
        await send_message(runtime, workspace, SingleSend(made.devices[0], number, "Hello"), actor="test")
    return made


async def test_the_overview_is_what_the_first_page_shows(api: httpx2.AsyncClient, cast: Broadcast) -> None:
    told = (await api.get("reports/overview")).json()
    assert told["campaigns"] == {"running": 1}
    [active] = told["active"]
    statuses = ["pending", "queued", "sending", "in_doubt", "sent", "failed", "skipped", "cancelled"]
    assert active["planned"] == sum(active[s] for s in statuses) == 6
    assert (active["sent"], active["failed"], active["queued"]) == (2, 2, 2)
    assert (told["left"], told["fleet"]["total"], told["has_leads"]) == (2, 2, True)
    assert told["rate"] is None, "one look cannot tell"
    assert {d["id"] for d in told["fleet"]["listed"]} == set(cast.devices)


async def test_a_single_send_in_doubt_waits_for_a_person_too(
    api: httpx2.AsyncClient, runtime: Runtime, cast: Broadcast
) -> None:
    async with runtime.db.connection() as connection:
        single = await connection.fetchval("SELECT id FROM broadcast_messages WHERE recipient = '+60128888888'")
        await cast.queue(connection)
        await cast.end(connection, single, MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    assert {"kind": "in_doubt", "n": 1, "names": []} in (await api.get("reports/overview")).json()["needs"]


async def test_a_campaign_is_told_device_by_device(api: httpx2.AsyncClient, cast: Broadcast) -> None:
    whole = (await api.get(f"reports/campaigns/{cast.campaign}")).json()
    parts = (await api.get(f"reports/campaigns/{cast.campaign}/devices")).json()["items"]
    assert {p["device_id"] for p in parts} == set(cast.devices)
    for p in parts:
        assert p["counts"]["by_status"] == {"sent": 1, "failed": 1, "queued": 1}
        assert p["counts"]["planned"] == 3
    assert parts[0]["counts"]["by_reason"] == {"failed": {"not_on_whatsapp": 1}}
    assert whole["counts"]["planned"] == sum(p["counts"]["planned"] for p in parts)


async def test_failures_are_told_by_reason_of_a_campaign_or_of_everything(
    api: httpx2.AsyncClient, cast: Broadcast
) -> None:
    of_campaign = (await api.get("reports/failures", params={"campaign_id": cast.campaign})).json()["items"]
    assert of_campaign == [
        {"status": "failed", "reason": "content_refused", "n": 1},
        {"status": "failed", "reason": "not_on_whatsapp", "n": 1},
    ]
    everything = (await api.get("reports/failures")).json()["items"]
    assert everything == [*of_campaign, {"status": "skipped", "reason": "opt_out", "n": 1}]


async def test_single_sends_are_counted_by_themselves(
    app: FastAPI, api: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId, cast: Broadcast
) -> None:
    told = (await api.get("reports/single-sends")).json()
    assert told["by_status"] == {"skipped": 1, "pending": 1}
    assert (told["planned"], told["by_reason"]) == (2, {"skipped": {"opt_out": 1}})
    other = await tenants.key(runtime, workspace, {Scope.READ}, DeviceId(cast.devices[1]))
    async with tenants.client(app, key=other) as narrow:
        assert (await narrow.get("/api/v1/reports/single-sends")).json()["planned"] == 0
        assert (await narrow.get("/api/v1/reports/overview")).status_code == 403
        assert (await narrow.get(f"/api/v1/reports/campaigns/{cast.campaign}")).status_code == 403


async def test_f20_figures_of_another_workspace_are_in_none_of_ones_own(
    app: FastAPI, runtime: Runtime, cast: Broadcast
) -> None:
    elsewhere = await create_workspace(runtime, "Elsewhere")
    async with tenants.client(app, key=await tenants.key(runtime, elsewhere.id)) as stranger:
        stranger.base_url = httpx2.URL(tenants.BASE + tenants.API + "/")
        told = (await stranger.get("reports/overview")).json()
        assert (told["campaigns"], told["active"], told["fleet"]["total"], told["needs"]) == ({}, [], 0, [])
        assert (await stranger.get("reports/failures")).json() == {"items": []}
        assert (await stranger.get("reports/single-sends")).json()["planned"] == 0
        for path in (
            f"reports/campaigns/{cast.campaign}",
            f"reports/campaigns/{cast.campaign}/devices",
            f"reports/failures?campaign_id={cast.campaign}",
        ):
            assert (await stranger.get(path)).status_code == 404


async def test_s07_a_report_knows_numbers_and_nothing_else(api: httpx2.AsyncClient) -> None:
    for text in ("1;select pg_sleep(5)", "' OR 1=1--", "0"):
        answer = await api.get("reports/failures", params={"campaign_id": text})
        assert answer.status_code == 422


async def test_the_workspace_is_that_of_who_asks(api: httpx2.AsyncClient, workspace: WorkspaceId) -> None:
    told = (await api.get("workspace")).json()
    assert (told["id"], told["time_zone"], told["region"], told["attribute_keys"]) == (workspace, "UTC", "MY", [])


async def test_what_was_sent_over_time_is_told_by_the_workspaces_clock(
    api: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId, cast: Broadcast
) -> None:
    async with runtime.db.connection() as connection:
        await connection.execute("UPDATE workspaces SET time_zone = 'Asia/Kolkata' WHERE id = $1", workspace)
    await Historian(runtime).run_once()
    told = (await api.get("reports/history")).json()
    assert (told["zone"], told["step"]) == ("Asia/Kolkata", "hour")
    assert (told["total"]["sent"], told["total"]["failed"], told["total"]["skipped"]) == (2, 2, 1)
    assert len(told["periods"]) > 6 * 24
    assert sum(p["counts"]["sent"] for p in told["periods"]) == 2
    by_day = (await api.get("reports/history", params={"from": "2026-03-01", "to": "2026-03-02", "step": "day"})).json()
    assert [p["at"] for p in by_day["periods"]] == ["2026-02-28T18:30:00Z", "2026-03-01T18:30:00Z"]


async def test_days_that_cannot_be_shown_are_refused_by_their_field(api: httpx2.AsyncClient) -> None:
    for query, field in (
        ({"from": "2026-03-02", "to": "2026-03-01"}, "to"),
        ({"from": "2026-01-01", "to": "2026-12-31", "step": "quarter_hour"}, "from"),
        ({"from": "yesterday"}, "from"),
        ({"step": "week"}, "step"),
    ):
        answer = await api.get("reports/history", params=query)
        assert answer.status_code == 422, query
        assert [e["field"] for e in answer.json()["errors"]] == [field]
