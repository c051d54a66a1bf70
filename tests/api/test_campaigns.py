"""Campaigns over the API: from the draft to counts that add up, and refusals that name the field."""

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.api.campaigns import CampaignChange
from fleetcast.domain.access import Role, Scope
from fleetcast.domain.identifiers import CampaignId, DeviceId, WorkspaceId
from fleetcast.domain.schedule import parse_deadline, write_deadline
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_fields import CampaignFields
from fleetcast.services.media import from_bytes
from fleetcast.services.workspaces import create_workspace
from tests.api import tenants
from tests.campaign_scene import Scene

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> Scene:
    """Two devices; five people on the first."""
    made = Scene(runtime, workspace)
    await made.execute(
        "UPDATE workspaces SET time_zone = 'Asia/Kuala_Lumpur', attribute_keys = '{city}' WHERE id = $1", workspace
    )
    await made.add_leads(await made.add_device("Shop KL"), 5)
    await made.add_device("Shop JB")
    return made


async def made(api: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await api.post("campaigns", json={"title": "Sale", "body": "Hello {{ name }}", **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def fields_of(answer: httpx2.Response) -> list[str]:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    return [e["field"] for e in answer.json().get("errors", [])]


async def tables(scene: Scene) -> list[int]:
    """How much there is of everything that a campaign is made of."""
    return [await scene.value(f"SELECT count(*) FROM {table}") for table in ("campaigns", "contents", "media", "audit")]


async def test_a_campaign_is_made_shown_edited_and_cloned(api: httpx2.AsyncClient, scene: Scene) -> None:
    campaign = await made(api, niches=["fitness"], niche_match="all", min_delay=1, max_delay=2.5, deadline="36h")
    path = f"campaigns/{campaign['id']}"
    assert campaign["status"] == "draft"
    assert (campaign["niches"], campaign["niche_match"], campaign["device_ids"]) == (["fitness"], "all", None)
    assert (campaign["min_delay"], campaign["max_delay"], campaign["deadline"]) == (1.0, 2.5, "36h")
    assert campaign["counts"] == {"planned": 0, "by_status": {}, "by_reason": {}, "delivered": 0, "read": 0}
    assert (await api.get(path)).json() == campaign

    edited = (await api.patch(path, json={"title": "Spring"})).json()
    assert edited == campaign | {"title": "Spring"}, "what is not given is not touched"
    edited = (await api.patch(path, json={"min_delay": None, "max_delay": None, "niches": []})).json()
    assert (edited["min_delay"], edited["max_delay"], edited["niches"]) == (None, None, [])

    answer = await api.post(f"{path}/clone")
    assert answer.status_code == 201
    assert (await api.get(answer.headers["Location"])).json()["title"] == "Spring (copy)"


async def test_the_names_of_the_api_are_those_of_the_service() -> None:
    assert set(CampaignChange.model_fields) == set(CampaignFields.__annotations__)


async def test_a_list_goes_on_where_the_page_before_ended_and_is_narrowed_by_status(
    api: httpx2.AsyncClient, scene: Scene
) -> None:
    ids = [(await made(api, title=f"C{n}"))["id"] for n in range(5)]
    await api.post(f"campaigns/{ids[2]}/launch")
    seen, after = [], None
    while True:
        page = (await api.get("campaigns", params={"limit": 2} | ({"after": after} if after else {}))).json()
        seen += [c["id"] for c in page["items"]]
        if (after := page["next"]) is None:
            break
    assert seen == ids[::-1]
    running = (await api.get("campaigns", params={"status": "running"})).json()["items"]
    assert [c["id"] for c in running] == [ids[2]]


async def test_a_campaign_runs_through_its_actions(api: httpx2.AsyncClient, scene: Scene) -> None:
    campaign = await made(api)
    path = f"campaigns/{campaign['id']}"
    assert (await api.post(f"{path}/launch")).json()["status"] == "running"
    await scene.plan()
    assert (await api.get(path)).json()["counts"]["by_status"] == {"pending": 5}
    paused = (await api.post(f"{path}/pause", json={"reason": "prices"})).json()
    assert (paused["status"], paused["paused_reason"]) == ("paused", "prices")
    assert (await api.post(f"{path}/resume")).json()["status"] == "running"
    assert (await api.post(f"{path}/pause")).json()["paused_reason"] is None
    assert (await api.post(f"{path}/cancel")).json()["status"] == "cancelled"
    again = await api.post(f"{path}/launch")
    assert (again.status_code, again.json()["type"]) == (409, "urn:fleetcast:conflict")
    later = await made(api, schedule="2031-12-24 18:30")
    assert (later["schedule_local"], later["schedule_zone"]) == ("2031-12-24T18:30:00", "Asia/Kuala_Lumpur")
    assert (await api.post(f"campaigns/{later['id']}/launch")).json()["status"] == "scheduled"
    assert (await api.post(f"campaigns/{later['id']}/withdraw")).json()["status"] == "draft"


async def test_f37_the_counts_add_up_and_say_why(api: httpx2.AsyncClient, scene: Scene) -> None:
    campaign = await made(api)
    campaign_id = CampaignId(campaign["id"])
    await api.post(f"campaigns/{campaign_id}/launch")
    await scene.plan()
    some = await scene.recipients(campaign_id)
    await scene.force(campaign_id, some[:3], "queued", "sending", "sent")
    await scene.force(campaign_id, some[3:4], "queued", "sending", "failed")
    counts = (await api.get(f"campaigns/{campaign_id}")).json()["counts"]
    assert counts["by_status"] == {"sent": 3, "failed": 1, "pending": 1}
    assert counts["by_reason"] == {"failed": {"recipient_refused": 1}}
    assert counts["planned"] == sum(counts["by_status"].values()) == 5
    report = (await api.get(f"reports/campaigns/{campaign_id}")).json()
    assert report["counts"] == counts
    assert report["seconds_left"] == 20.0  # one message at 10 to 30 seconds
    listed = (await api.get("campaigns")).json()["items"][0]
    assert listed["counts"] == counts


async def test_the_audience_is_counted_before_anything_is_sent(api: httpx2.AsyncClient, scene: Scene) -> None:
    await scene.suppress("+60120000001")
    campaign = await made(api)
    found = (await api.get(f"campaigns/{campaign['id']}/audience")).json()
    assert (found["recipients"], found["suppressed"], found["by_device"]) == (4, 1, {"Shop KL": 4})
    assert found["sample"] == "Hello Lead 0"


async def test_what_failed_is_sent_again_of_all_devices_or_of_one(api: httpx2.AsyncClient, scene: Scene) -> None:
    campaign_id = CampaignId((await made(api))["id"])
    await api.post(f"campaigns/{campaign_id}/launch")
    await scene.plan()
    await scene.force(campaign_id, await scene.recipients(campaign_id), "queued", "sending", "failed")
    other = await api.post(f"campaigns/{campaign_id}/retry", json={"device_id": scene.devices[1]})
    assert other.json() == {"messages": 0}
    assert (await api.post(f"campaigns/{campaign_id}/retry")).json() == {"messages": 5}
    message = await scene.value("SELECT min(id) FROM broadcast_messages")
    unconfirmed = await api.post(f"campaigns/{campaign_id}/retry-unconfirmed", json={"messages": [message]})
    assert (unconfirmed.status_code, fields_of(unconfirmed)) == (422, ["messages"])
    await scene.execute("UPDATE broadcast_messages SET status = 'queued' WHERE id = $1", message)
    await scene.execute("UPDATE broadcast_messages SET status = 'sending' WHERE id = $1", message)
    await scene.execute(
        "UPDATE broadcast_messages SET status = 'failed', reason = 'unconfirmed' WHERE id = $1", message
    )
    done = await api.post(f"campaigns/{campaign_id}/retry-unconfirmed", json={"messages": [message]})
    assert done.json() == {"messages": 1}


async def test_devices_are_given_by_name_or_by_number(api: httpx2.AsyncClient, scene: Scene) -> None:
    first, second = scene.devices
    assert (await made(api, devices=["shop jb"]))["device_ids"] == [second]
    assert (await made(api, device_ids=[second, first, first]))["device_ids"] == [first, second]
    campaign = await made(api, device_ids=[first])
    path = f"campaigns/{campaign['id']}"
    assert (await api.patch(path, json={"device_ids": [second]})).json()["device_ids"] == [second]
    assert (await api.patch(path, json={"devices": ["all"]})).json()["device_ids"] is None
    assert (await api.patch(path, json={"title": "T"})).json()["device_ids"] is None


async def test_a_medium_is_named_by_its_hash_or_comes_as_a_data_url(
    api: httpx2.AsyncClient, scene: Scene, runtime: Runtime, workspace: WorkspaceId
) -> None:
    stored = await from_bytes(runtime, workspace, PIXEL, "pixel.png")
    assert (await made(api, media=stored.sha256))["media_sha256"] == stored.sha256
    url = "data:image/png;base64," + base64.b64encode(PIXEL).decode()
    campaign = await made(api, media=url)
    assert campaign["media_sha256"] == stored.sha256
    path = f"campaigns/{campaign['id']}"
    assert (await api.patch(path, json={"body": "B"})).json()["media_sha256"] == stored.sha256
    assert (await api.patch(path, json={"media": None})).json()["media_sha256"] is None


@pytest.mark.parametrize(
    "source",
    [
        "/etc/hostname",
        "./pixel.png",
        "file:///etc/hostname",
        "http://example.org/x.png",
        "\\\\server\\share\\x.png",
        "~/pixel.png",
        "https",
        "",
        " ",
        "gopher://127.0.0.1/",
    ],
)
async def test_s17_no_text_is_ever_read_as_a_path_of_this_machine(
    api: httpx2.AsyncClient, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (tmp_path / "pixel.png").write_bytes(PIXEL)
    monkeypatch.chdir(tmp_path)
    before = await tables(scene)
    for text in (source, str(tmp_path / "pixel.png"), "pixel.png"):
        answer = await api.post("campaigns", json={"title": "T", "body": "B", "media": text})
        assert (answer.status_code, fields_of(answer)) == (422, ["media"]), text
    assert await tables(scene) == before


@pytest.mark.parametrize("text", ["javascript:alert(1)", " JaVaScRiPt:alert(1)", "vbscript:x", "blob:https://a/b"])
async def test_s21_only_https_is_an_address(api: httpx2.AsyncClient, scene: Scene, text: str) -> None:
    before = await tables(scene)
    answer = await api.post("campaigns", json={"title": "T", "body": "B", "media": text})
    assert (answer.status_code, fields_of(answer)) == (422, ["media"])
    assert (await api.post("media/from", json={"url": text})).status_code == 422
    assert await tables(scene) == before


@pytest.mark.parametrize("url", ["https://127.0.0.1/x.png", "https://[::1]/x.png", "https://169.254.169.254/latest"])
async def test_s11_an_address_inside_is_not_fetched(api: httpx2.AsyncClient, scene: Scene, url: str) -> None:
    answer = await api.post("campaigns", json={"title": "T", "body": "B", "media": url})
    assert (answer.status_code, fields_of(answer)) == (422, ["media"])


async def test_s03_what_belongs_to_others_cannot_be_named_in_a_campaign(
    api: httpx2.AsyncClient, scene: Scene, runtime: Runtime
) -> None:
    elsewhere = Scene(runtime, (await create_workspace(runtime, "Elsewhere")).id)
    theirs = await elsewhere.add_device("Theirs")
    medium = await from_bytes(runtime, elsewhere.workspace, PIXEL, "pixel.png")
    before = await tables(scene)
    for given, field in (
        ({"device_ids": [scene.devices[0], theirs]}, "device_ids"),
        ({"devices": ["Theirs"]}, "devices"),
        ({"media": medium.sha256}, "media"),
    ):
        answer = await api.post("campaigns", json={"title": "T", "body": "B", **given})
        missing = await api.post(
            "campaigns", json={"title": "T", "body": "B", **json.loads(json.dumps(given).replace(str(theirs), "99999"))}
        )
        assert (answer.status_code, fields_of(answer)) == (422, [field])
        if field == "device_ids":
            assert answer.text.replace(f"device {theirs} ", "") == missing.text.replace("device 99999 ", "")
    assert await tables(scene) == before
    mine = await made(api)
    answer = await api.patch(f"campaigns/{mine['id']}", json={"device_ids": [theirs]})
    assert (answer.status_code, fields_of(answer)) == (422, ["device_ids"])
    answer = await api.post(f"campaigns/{mine['id']}/retry", json={"device_id": theirs})
    assert (answer.status_code, fields_of(answer)) == (422, ["device_id"])
    their_campaign = await elsewhere.draft()
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("POST", "/launch"),
        ("POST", "/pause"),
        ("POST", "/clone"),
        ("POST", "/retry"),
        ("GET", "/audience"),
    ):
        answer = await api.request(method, f"campaigns/{their_campaign}{path}", json={} if method != "GET" else None)
        assert answer.status_code == 404, path


async def test_s04_nothing_but_what_a_person_may_write_is_written(api: httpx2.AsyncClient, scene: Scene) -> None:
    campaign = await made(api)
    path = f"campaigns/{campaign['id']}"
    for name, value in {
        "status": "running",
        "workspace_id": 1,
        "id": 7,
        "content_id": 1,
        "plan_cursor": 5,
        "started_at": "2026-01-01T00:00:00Z",
        "counts": {"planned": 9},
        "all_devices": False,
        "newest_device_id": 1,
        "media_sha256": "ab" * 32,
    }.items():
        for answer in (
            await api.patch(path, json={name: value}),
            await api.post("campaigns", json={"title": "T", "body": "B", name: value}),
        ):
            assert (answer.status_code, fields_of(answer)) == (422, [name])
    assert (await api.get(path)).json() == campaign
    assert await scene.value("SELECT count(*) FROM campaigns") == 1


INJECTIONS = ["id;select pg_sleep(5)--", "' OR 1=1--", '{"$gt": ""}', "draft' UNION SELECT", "%00"]


@pytest.mark.parametrize("text", INJECTIONS)
async def test_s07_filters_know_their_words_and_nothing_else(api: httpx2.AsyncClient, scene: Scene, text: str) -> None:
    await made(api)
    for name in ("status", "after", "limit"):
        answer = await api.get("campaigns", params={name: text})
        assert (answer.status_code, fields_of(answer)) == (422, [name])
    ordered = await api.get("campaigns", params={"sort": text})
    assert (ordered.status_code, fields_of(ordered)) == (422, ["sort"]), "there is no such thing as a free order"
    assert (await api.get(f"campaigns/{text.replace('/', '')}")).status_code in {404, 422}


@pytest.mark.parametrize(
    "body",
    [
        '{{ env "DB_PASSWORD" }}',
        "{{ name | no_such_filter }}",
        "{% include 'secrets' %}",
        "{% render 'x' %}",
        "Hello\n  {{ unknown }}",
        "{{ name.__class__.__mro__ }}",
        "{% for i in (1..1000000000) %}x{% endfor %}",
        "{{" * 9_000,
        "\ud800",
    ],
)
async def test_s08_a_text_that_asks_for_more_than_a_message_may_is_refused_by_line_and_column(
    api: httpx2.AsyncClient, scene: Scene, body: str
) -> None:
    answer = await api.post(
        "campaigns",
        content=json.dumps({"title": "T", "body": body}),
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, fields_of(answer)) == (422, ["body"])
    if body.startswith("Hello"):
        [error] = answer.json()["errors"]
        assert (error["line"], error["column"]) == (2, 6)
    assert await scene.value("SELECT count(*) FROM contents") == 0


@pytest.mark.parametrize("body", ["{name.__class__}", "{0.__init__.__globals__}", "%(x)s %s ${x}", "#{7*7} <%= 7*7 %>"])
async def test_s08_what_is_markup_elsewhere_is_text_here(api: httpx2.AsyncClient, scene: Scene, body: str) -> None:
    campaign = await made(api, body=body)
    assert (await api.get(f"campaigns/{campaign['id']}/audience")).json()["sample"] == body


async def test_s08_a_text_of_ten_megabytes_is_refused(api: httpx2.AsyncClient, scene: Scene) -> None:
    answer = await api.post("campaigns", json={"title": "T", "body": "{{" * 5_000_000})
    assert (answer.status_code, fields_of(answer)) == (422, ["body"])


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ('{"min_delay": 30, "max_delay": 10}', "min_delay"),
        ('{"min_delay": -1, "max_delay": 10}', "min_delay"),
        ('{"min_delay": 1, "max_delay": NaN}', "max_delay"),
        ('{"min_delay": 1, "max_delay": 1e400}', "max_delay"),
        ('{"min_delay": 1, "max_delay": -Infinity}', "max_delay"),
        ('{"min_delay": 1, "max_delay": 86401}', "max_delay"),
        ('{"min_delay": 1}', "max_delay"),
        ('{"schedule": "9999-01-01 10:00"}', "schedule"),
        ('{"schedule": "0001-01-01 10:00"}', "schedule"),
        ('{"schedule": "2001-01-01 10:00"}', "schedule"),
        ('{"schedule": "2031-02-30 10:00"}', "schedule"),
        ('{"schedule": "2031-12-24T18:30:00+08:00"}', "schedule"),
        ('{"schedule": "2031-12-24 18:30 Mars/X"}', "schedule"),
        ('{"schedule": ""}', "schedule"),
        ('{"schedule": null}', "schedule"),
        ('{"deadline": "91d"}', "deadline"),
        ('{"deadline": "0m"}', "deadline"),
        ('{"deadline": "99999999999999d"}', "deadline"),
        ('{"device_ids": [9223372036854775808]}', "device_ids[0]"),
        ('{"device_ids": [0]}', "device_ids[0]"),
        ('{"device_ids": [1.5]}', "device_ids[0]"),
        ('{"takes_newcomers": "perhaps"}', "takes_newcomers"),
        ('{"title": "line\\nbreak"}', "title"),
        ('{"title": "\\u0000"}', "title"),
        ('{"niches": ["\\u0000"]}', "niches[0]"),
        ('{"niches": ["\\ud800"]}', "niches[0]"),
        ('{"title": "\\ud800"}', "title"),
        ('{"devices": ["\\ud800"]}', "devices[0]"),
        ('{"schedule": "\\ud800"}', "schedule"),
    ],
)
async def test_s45_numbers_and_times_at_the_edge_are_refused_by_name(
    api: httpx2.AsyncClient, scene: Scene, content: str, field: str
) -> None:
    campaign = await made(api)
    answer = await api.patch(
        f"campaigns/{campaign['id']}", content=content, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, fields_of(answer)) == (422, [field]), answer.text
    assert (await api.get(f"campaigns/{campaign['id']}")).json() == campaign


@pytest.mark.parametrize("campaign_id", ["0", "-1", "9223372036854775808", "1e3", "١"])
async def test_s45_a_number_that_no_campaign_can_have_is_refused(api: httpx2.AsyncClient, campaign_id: str) -> None:
    assert (await api.get(f"campaigns/{campaign_id}")).status_code == 422
    assert (await api.get("campaigns/9223372036854775807")).status_code == 404


async def test_all_problems_are_told_at_once(api: httpx2.AsyncClient, scene: Scene) -> None:
    answer = await api.post("campaigns", json={"title": " ", "body": "{{ citty }}", "devices": ["nobody"]})
    assert fields_of(answer) == ["title", "body", "devices"]


async def test_s40_who_only_reads_changes_nothing_and_a_device_key_sees_no_campaign(
    app: FastAPI, api: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId, scene: Scene
) -> None:
    campaign_id = (await made(api))["id"]
    viewer = await tenants.person(runtime, workspace, Role.VIEWER)
    one_device = await tenants.key(runtime, workspace, {Scope.READ, Scope.SEND}, DeviceId(scene.devices[0]))
    async with tenants.client(app, session=viewer.token) as reading:
        assert (await reading.get(f"/api/v1/campaigns/{campaign_id}")).status_code == 200
        assert (await reading.post(f"/api/v1/campaigns/{campaign_id}/launch")).status_code == 403
        assert (await reading.post("/api/v1/campaigns", json={"title": "T", "body": "B"})).status_code == 403
    async with tenants.client(app, key=one_device) as narrow:
        assert (await narrow.get("/api/v1/campaigns")).status_code == 403
        assert (await narrow.post(f"/api/v1/campaigns/{campaign_id}/launch")).status_code == 403


async def test_every_change_is_in_the_audit_with_who_and_without_the_text(
    api: httpx2.AsyncClient, scene: Scene
) -> None:
    campaign = await made(api, body="A secret offer")
    path = f"campaigns/{campaign['id']}"
    await api.patch(path, json={"body": "Another secret offer", "title": "T"})
    await api.post(f"{path}/launch")
    rows = await scene.fetch("SELECT actor, action, before, after FROM audit WHERE action LIKE 'campaign.%'")
    assert [r["action"] for r in rows] == ["campaign.create", "campaign.edit", "campaign.launch"]
    assert all(r["actor"].startswith("key:") for r in rows)
    assert "secret" not in str([dict(r) for r in rows])


@pytest.mark.parametrize("text", ["7d", "36h", "90m", "1m", "90d", "24h"])
def test_a_deadline_is_told_as_it_is_written(text: str) -> None:
    assert parse_deadline(write_deadline(parse_deadline(text))) == parse_deadline(text)


def test_a_deadline_that_is_no_whole_minute_is_told_in_minutes() -> None:
    assert write_deadline(timedelta(minutes=90, seconds=20)) == "90m"
