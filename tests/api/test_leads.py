"""Leads over the API: what goes in by the same rules as files, and who sees them."""

import asyncio
import csv
import io
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.access import Role, Scope
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device
from fleetcast.services.lead_import import import_leads
from fleetcast.services.workspaces import create_workspace
from tests.api import tenants

Api = httpx2.AsyncClient


@pytest.fixture
async def device(runtime: Runtime, workspace: WorkspaceId) -> DeviceId:
    return (await add_device(runtime, workspace, "Anna", region="MY")).id


async def value(runtime: Runtime, sql: str, *arguments: object) -> Any:
    async with runtime.db.connection() as connection:
        return await connection.fetchval(sql, *arguments)


async def put(api: Api, device: int, *given: dict[str, Any], **more: Any) -> httpx2.Response:
    return await api.post(f"devices/{device}/leads", json={"leads": list(given), **more})


async def lead_of(api: Api, phone: str) -> dict[str, Any]:
    [found] = (await api.get("leads", params={"phone": phone})).json()["items"]
    return dict(found)


async def test_leads_are_added_shown_changed_and_removed(api: Api, device: DeviceId) -> None:
    answer = await put(
        api,
        device,
        {
            "phone": "012-345 6789",
            "name": "Aminah",
            "niches": ["Fitness ", "retail"],
            "time_zone": "asia/kuala_lumpur",
            "attributes": {"order_no": "17", "empty": " "},
            "consent": "given",
        },
        {"phone": "0198765432"},
        consent_source="form at the counter",
    )
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"added": 2, "merged": 0, "unchanged": 0, "duplicates": 0}
    lead = await lead_of(api, "+60123456789")
    assert (lead["phone"], lead["name"], lead["niches"]) == ("+60123456789", "Aminah", ["fitness", "retail"])
    assert (lead["time_zone"], lead["attributes"]) == ("Asia/Kuala_Lumpur", {"order_no": "17"})
    assert (lead["consent"], lead["consent_source"]) == ("given", "form at the counter")
    assert (lead["target_status"], lead["device_id"]) == ("prospect", device)
    path = f"leads/{lead['id']}"
    changed = await api.patch(
        path,
        json={
            "name": "Aminah Binti Ali",
            "niches": [],
            "target_status": "customer",
            "time_zone": None,
            "attributes": {"order_no": None, "city": "Ipoh"},
        },
    )
    assert changed.status_code == 200, changed.text
    shown = (await api.get(path)).json()
    assert shown == changed.json()
    assert (shown["name"], shown["niches"], shown["target_status"]) == ("Aminah Binti Ali", [], "customer")
    assert (shown["time_zone"], shown["attributes"], shown["consent"]) == (None, {"city": "Ipoh"}, "given")
    assert shown["suppressed"] is False
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(path)).status_code == 404
    assert (await api.delete(path)).status_code == 404
    assert [each["phone"] for each in (await api.get("leads")).json()["items"]] == ["+60198765432"]


async def test_what_is_left_out_of_a_change_stays(api: Api, device: DeviceId) -> None:
    said = {"phone": "0123456789", "name": "A", "niches": ["x"], "journey": "tea", "attributes": {"city": "Ipoh"}}
    await put(api, device, said | {"target_status": "customer", "time_zone": "UTC"})
    before = await lead_of(api, "0123456789")
    untouched = (await api.patch(f"leads/{before['id']}", json={})).json()
    assert {**untouched, "updated_at": ""} == {**before, "updated_at": "", "suppressed": False}
    after = (await api.patch(f"leads/{before['id']}", json={"journey": ""})).json()
    assert {name for name in before if before[name] != after[name]} == {"journey", "updated_at"}


async def test_f28_a_file_and_the_api_make_the_same_leads_of_the_same_people(
    api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Any
) -> None:
    other = await add_device(runtime, workspace, "Berta", region="MY")
    first = "phone,name,niche,status,notes,tz,consent,city\n0123456789,Old,zebra,customer,first,UTC,no,Ipoh\n"
    second = "phone,name,niche,consent,city,size\n'0123456789,'=New,\"apple, Zebra\",yes,,L\n0123456789,,,,Melaka,\n"
    for name, text in (("1.csv", first), ("2.csv", second)):
        (tmp_path / name).write_text(text)
        await import_leads(runtime, workspace, device, tmp_path / name)
    place = {"notes": "journey"}
    await put(
        api,
        other.id,
        {
            "phone": "0123456789",
            "name": "Old",
            "niches": ["zebra"],
            "target_status": "customer",
            place["notes"]: "first",
            "time_zone": "UTC",
            "consent": "refused",
            "attributes": {"city": "Ipoh"},
        },
        consent_source="file 1.csv",
    )
    merged = await put(
        api,
        other.id,
        {
            "phone": "0123456789",
            "name": "=New",
            "niches": ["apple", "Zebra"],
            "consent": "given",
            "attributes": {"size": "L"},
        },
        {"phone": "+60 12 345 6789", "attributes": {"city": "Melaka"}},
        consent_source="anywhere",
    )
    assert merged.json() == {"added": 0, "merged": 1, "unchanged": 0, "duplicates": 1}
    by_file, by_api = (await api.get("leads")).json()["items"]
    for name in ("phone", "name", "niches", "target_status", "journey", "time_zone", "attributes", "consent"):
        assert by_api[name] == by_file[name], name
    assert by_api["consent_source"] == by_file["consent_source"] == "file 1.csv"
    assert by_api["name"] == "=New"


@pytest.mark.parametrize(
    ("lead", "field"),
    [
        ({}, "leads[1].phone"),
        ({"phone": "0123"}, "leads[1].phone"),
        ({"phone": "0123456789", "time_zone": "Mars/Base"}, "leads[1].time_zone"),
        ({"phone": "0123456789", "target_status": "buyer"}, "leads[1].target_status"),
        ({"phone": "0123456789", "consent": "maybe"}, "leads[1].consent"),
        ({"phone": "0123456789", "niches": ["n" * 101]}, "leads[1].niches"),
        ({"phone": "0123456789", "niches": [f"n{i}" for i in range(101)]}, "leads[1].niches"),
        ({"phone": "0123456789", "name": "n" * 501}, "leads[1].name"),
        ({"phone": "0123456789", "name": "nul\0"}, "leads[1].name"),
        ({"phone": "0123456789", "attributes": {"Order No": "1"}}, "leads[1].attributes"),
        ({"phone": "0123456789", "attributes": {"phone": "1"}}, "leads[1].attributes"),
        ({"phone": "0123456789", "attributes": {"rejected_line": "1"}}, "leads[1].attributes"),
        ({"phone": "0123456789", "attributes": {"a": "\0"}}, "leads[1].attributes.a"),
        ({"phone": "0123456789", "attributes": {f"k{i}": "v" * 9_999 for i in range(9)}}, "leads[1].attributes"),
        ({"phone": "0123456789", "workspace_id": 1}, "leads[1].workspace_id"),
        ({"phone": "0123456789", "device_id": 1}, "leads[1].device_id"),
    ],
)
async def test_s45_one_bad_lead_is_named_and_none_is_written(
    api: Api, device: DeviceId, lead: dict[str, Any], field: str
) -> None:
    answer = await put(api, device, {"phone": "0198765432"}, lead)
    assert answer.status_code == 422, answer.text
    assert field in [e["field"] for e in answer.json()["errors"]], answer.json()
    assert (await api.get("leads")).json()["items"] == []


async def test_every_bad_lead_is_named_at_once(api: Api, device: DeviceId) -> None:
    answer = await put(api, device, {"phone": "1"}, {"phone": "0123456789"}, {"phone": "x"})
    assert [e["field"] for e in answer.json()["errors"]] == ["leads[0].phone", "leads[2].phone"]


@pytest.mark.parametrize("number", [0, 1_001])
async def test_s45_a_request_has_one_to_a_thousand_leads(api: Api, device: DeviceId, number: int) -> None:
    answer = await put(api, device, *({"phone": f"+6012{n:07}"} for n in range(number)))
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == ["leads"]


async def test_a_thousand_leads_go_in_together(api: Api, device: DeviceId) -> None:
    people = [{"phone": f"+6012{n:07}", "attributes": {"n": str(n)}} for n in range(1_000)]
    assert (await put(api, device, *people)).json()["added"] == 1_000
    people[0] = {"phone": "+60120000000", "name": "New"}
    assert (await put(api, device, *people)).json() == {"added": 0, "merged": 1, "unchanged": 999, "duplicates": 0}


@pytest.mark.parametrize(
    "written",
    [
        "０１２３４５６７８９",
        "٠١٢٣٤٥٦٧٨٩",
        " 012 345 6789 ",
        "+00 60 12 345 6789",
        "0060123456789",
        "tel:+60-12-345-6789",
    ],
)
async def test_s46_a_number_is_one_person_however_it_is_written(api: Api, device: DeviceId, written: str) -> None:
    answer = await put(api, device, {"phone": "0123456789"}, {"phone": written})
    assert answer.json() == {"added": 1, "merged": 0, "unchanged": 0, "duplicates": 1}, answer.text
    assert (await lead_of(api, written))["phone"] == "+60123456789"


@pytest.mark.parametrize("written", ["0123456789 ext 5", "0123456789 / 0198765432", "call me", "+999123456789"])
async def test_s46_what_is_not_one_number_is_refused(api: Api, device: DeviceId, written: str) -> None:
    answer = await put(api, device, {"phone": written})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "leads[0].phone"
    searched = await api.get("leads", params={"phone": written})
    assert (searched.status_code, searched.json()["errors"][0]["field"]) == (422, "phone")


async def test_a_list_is_narrowed_by_each_filter_and_goes_on_where_it_ended(
    api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    other = await add_device(runtime, workspace, "Berta")
    await put(api, device, {"phone": "0123456781", "niches": ["a", "b"], "target_status": "customer"})
    await put(api, device, {"phone": "0123456782", "niches": ["b2"]})
    await put(api, other.id, {"phone": "0123456783", "niches": ["b"], "consent": "refused"}, consent_source="said so")

    async def numbers(**filters: object) -> list[str]:
        answer = await api.get("leads", params=filters)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return [each["phone"][-1] for each in answer.json()["items"]]

    assert await numbers() == ["1", "2", "3"]
    assert await numbers(device_id=other.id) == ["3"]
    assert await numbers(niche=" B ") == ["1", "3"]
    assert await numbers(target_status="customer") == ["1"]
    assert await numbers(consent="refused") == ["3"]
    assert await numbers(phone="012 345 6782") == ["2"]
    assert await numbers(niche="b", device_id=device, consent="unknown", target_status="customer") == ["1"]
    assert await numbers(niche="c") == []
    page = (await api.get("leads", params={"limit": 2})).json()
    assert [each["phone"][-1] for each in page["items"]] == ["1", "2"]
    assert await numbers(limit=2, after=page["next"]) == ["3"]


@pytest.mark.parametrize(
    "filters",
    [
        {"niche": "' OR 1=1--,x"},
        {"niche": ""},
        {"target_status": "prospect' OR '1'='1"},
        {"consent": "any"},
        {"after": "1; SELECT pg_sleep(5)"},
        {"after": "-1"},
        {"device_id": "0"},
        {"device_id": str(2**63)},
        {"limit": "1001"},
        {"niche": "\0"},
    ],
)
async def test_s07_a_filter_that_is_none_is_refused(api: Api, device: DeviceId, filters: dict[str, str]) -> None:
    await put(api, device, {"phone": "0123456789", "niches": ["x"]})
    answer = await api.get("leads", params=filters)
    assert answer.status_code == 422, answer.text
    assert (await api.get("leads", params={"niche": "' OR 1=1--"})).json()["items"] == []


async def test_f08_the_same_request_twice_is_done_once(api: Api, runtime: Runtime, device: DeviceId) -> None:
    key = {"Idempotency-Key": "once"}
    content = {"leads": [{"phone": "0123456789"}]}
    first = await api.post(f"devices/{device}/leads", json=content, headers=key)
    again = await api.post(f"devices/{device}/leads", json=content, headers=key)
    assert first.json() == again.json() == {"added": 1, "merged": 0, "unchanged": 0, "duplicates": 0}
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await value(runtime, "SELECT count(*) FROM audit WHERE action = 'leads.add'") == 1


async def test_added_leads_wake_the_planner_and_are_recorded(
    api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    await put(api, device, {"phone": "0123456789", "name": "Secret", "attributes": {"b": "1", "a": "2"}})
    assert await value(runtime, "SELECT leads_version FROM devices WHERE id = $1", device) == 1
    assert await value(runtime, "SELECT attribute_keys FROM workspaces WHERE id = $1", workspace) == ["a", "b"]
    lead = await lead_of(api, "0123456789")
    await api.patch(f"leads/{lead['id']}", json={"name": "Hidden", "attributes": {"c": "Hidden"}})
    assert await value(runtime, "SELECT leads_version FROM devices WHERE id = $1", device) == 2
    assert await value(runtime, "SELECT attribute_keys FROM workspaces WHERE id = $1", workspace) == ["a", "b", "c"]
    await api.delete(f"leads/{lead['id']}")
    async with runtime.db.connection() as connection:
        rows = await connection.fetch("SELECT action, actor, subject, after FROM audit WHERE action LIKE 'lead%'")
    assert [r["action"] for r in rows] == ["leads.add", "lead.change", "lead.remove"]
    assert all(r["actor"].startswith("key:") for r in rows)
    assert rows[1]["after"] == {"fields": ["name", "attributes"]}
    told = " ".join(f"{r['subject']} {r['after']}" for r in rows)
    for hidden in ("Secret", "Hidden", "0123456789", "60123456789"):
        assert hidden not in told


async def test_a_workspace_cannot_get_more_attributes_than_a_file_can_carry(
    api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    keys = [f"k{n}" for n in range(193)]
    async with runtime.db.connection() as connection:
        await connection.execute("UPDATE workspaces SET attribute_keys = $1 WHERE id = $2", keys, workspace)
    answer = await put(api, device, {"phone": "0123456789", "attributes": {"more": "1"}})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "leads")
    await put(api, device, {"phone": "0123456789"})
    lead = await lead_of(api, "0123456789")
    answer = await api.patch(f"leads/{lead['id']}", json={"attributes": {"more": "1"}})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "attributes")


@pytest.mark.parametrize(
    "change",
    [
        {"phone": "0198765432"},
        {"device_id": 1},
        {"workspace_id": 1},
        {"id": 7},
        {"shared": True},
        {"consent": "given"},
        {"consent": {"state": "unknown", "source": "x"}},
        {"consent": {"state": "given"}},
        {"consent": {"state": "given", "source": " "}},
        {"consent_source": "x"},
        {"target_status": None},
        {"name": None},
    ],
)
async def test_s04_nothing_else_of_a_lead_can_be_changed(api: Api, device: DeviceId, change: dict[str, Any]) -> None:
    await put(api, device, {"phone": "0123456789"})
    before = await lead_of(api, "0123456789")
    answer = await api.patch(f"leads/{before['id']}", json=change)
    assert answer.status_code == 422, answer.text
    assert await lead_of(api, "0123456789") == before


async def test_two_changes_at_once_lose_nothing(api: Api, device: DeviceId) -> None:
    await put(api, device, {"phone": "0123456789"})
    path = f"leads/{(await lead_of(api, '0123456789'))['id']}"
    answers = await asyncio.gather(
        *(api.patch(path, json={"attributes": {f"a{n}": "x"}}) for n in range(6)),
        put(api, device, {"phone": "0123456789", "attributes": {"bulk": "x"}}),
    )
    assert {answer.status_code for answer in answers} == {200}
    assert set((await api.get(path)).json()["attributes"]) == {"bulk", *(f"a{n}" for n in range(6))}


# --- consent ---------------------------------------------------------------------------------------------------------


async def test_a_refusal_is_never_lifted_by_adding_leads(api: Api, device: DeviceId) -> None:
    await put(api, device, {"phone": "0123456789", "consent": "refused"}, consent_source="told us")
    await put(api, device, {"phone": "0123456789", "consent": "given"}, consent_source="a list we bought")
    lead = await lead_of(api, "0123456789")
    assert (lead["consent"], lead["consent_source"]) == ("refused", "told us")


async def test_who_refuses_in_a_list_is_suppressed(api: Api, device: DeviceId) -> None:
    await put(api, device, {"phone": "0123456789", "consent": "refused"}, consent_source="told us")
    shown = (await api.get(f"leads/{(await lead_of(api, '0123456789'))['id']}")).json()
    assert shown["suppressed"] is True
    [entry] = (await api.get("suppressions")).json()["items"]
    assert (entry["recipient"], entry["source"], entry["note"]) == ("+60123456789", "import", "told us")


async def test_a_consent_needs_a_source(api: Api, device: DeviceId) -> None:
    answer = await put(api, device, {"phone": "0123456789", "consent": "given"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "consent_source")


async def test_only_who_may_lift_suppressions_records_that_a_person_agreed_again(
    app: FastAPI, api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    await put(api, device, {"phone": "0123456789"})
    path = f"/api/v1/leads/{(await lead_of(api, '0123456789'))['id']}"
    refusal = {"consent": {"state": "refused", "source": "on the telephone"}}
    agreement = {"consent": {"state": "given", "source": "signed a form"}}
    operator = await tenants.person(runtime, workspace, Role.OPERATOR)
    async with tenants.client(app, session=operator.token) as asking:
        assert (await asking.patch(path, json=agreement)).json()["consent"] == "given"  # nobody had refused
        refused = (await asking.patch(path, json=refusal)).json()
        assert (refused["consent"], refused["consent_source"], refused["suppressed"]) == (
            "refused",
            "on the telephone",
            True,
        )
        assert (await asking.patch(path, json=agreement)).status_code == 403
        assert (await asking.get(path)).json()["consent"] == "refused"
    lifted = (await api.patch(path.removeprefix("/api/v1/"), json=agreement)).json()
    assert (lifted["consent"], lifted["consent_source"]) == ("given", "signed a form")
    assert lifted["suppressed"] is True, "the list is lifted by itself"
    async with runtime.db.connection() as connection:
        rows = await connection.fetch(
            "SELECT actor, before, after FROM audit WHERE action = 'lead.consent' ORDER BY id"
        )
    assert [(r["before"]["consent"], r["after"]["consent"]) for r in rows] == [
        ("unknown", "given"),
        ("given", "refused"),
        ("refused", "given"),
    ]
    assert rows[1]["actor"] == f"user:{operator.email}"
    assert rows[2]["before"]["source"] == "on the telephone"


# --- who sees them ---------------------------------------------------------------------------------------------------


async def _elsewhere(runtime: Runtime) -> tuple[WorkspaceId, DeviceId]:
    other = await create_workspace(runtime, "Strangers")
    return other.id, (await add_device(runtime, other.id, "Anna", region="MY")).id


async def test_f20_f21_leads_of_another_workspace_do_not_exist(
    app: FastAPI, api: Api, runtime: Runtime, device: DeviceId
) -> None:
    await put(api, device, {"phone": "0123456789", "name": "Ours"})
    ours = await lead_of(api, "0123456789")
    strangers, theirs = await _elsewhere(runtime)
    async with tenants.client(app, key=await tenants.key(runtime, strangers)) as asking:
        asking.base_url = api.base_url
        await put(asking, theirs, {"phone": "0123456789", "name": "Theirs"})
        missing = await asking.get(f"leads/{ours['id'] + 1_000}")
        for answer in (
            await asking.get(f"leads/{ours['id']}"),
            await asking.patch(f"leads/{ours['id']}", json={"name": "Stolen"}),
            await asking.delete(f"leads/{ours['id']}"),
        ):
            assert answer.status_code == missing.status_code == 404
            detail = answer.json()["detail"].replace(str(ours["id"]), "#")
            assert detail == missing.json()["detail"].replace(str(ours["id"] + 1_000), "#")
        assert (await put(asking, device, {"phone": "0198765432"})).status_code == 404
        assert (await asking.get("leads/export", params={"device_id": device})).status_code == 404
        for filters in ({}, {"phone": "0123456789"}, {"device_id": theirs}):
            found = (await asking.get("leads", params=filters)).json()["items"]
            assert [each["name"] for each in found] == ["Theirs"]
        assert (await asking.get("leads", params={"device_id": device})).json()["items"] == []
        assert "Ours" not in (await asking.get("leads/export")).text
    assert await lead_of(api, "0123456789") == ours


async def test_s40_a_key_for_one_device_sees_its_leads_only(
    app: FastAPI, api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    other = await add_device(runtime, workspace, "Berta", region="MY")
    await put(api, device, {"phone": "0123456781"})
    await put(api, other.id, {"phone": "0123456782"})
    mine, hidden = await lead_of(api, "0123456781"), await lead_of(api, "0123456782")
    key = await tenants.key(runtime, workspace, {Scope.READ, Scope.SEND}, device)
    async with tenants.client(app, key=key) as asking:
        asking.base_url = api.base_url
        assert [each["id"] for each in (await asking.get("leads")).json()["items"]] == [mine["id"]]
        assert (await asking.get("leads", params={"device_id": other.id})).status_code == 404
        assert "0123456782"[-9:] not in (await asking.get("leads/export")).text
        asked: list[Callable[[int], Any]] = [
            lambda n: asking.get(f"leads/{n}"),
            lambda n: asking.patch(f"leads/{n}", json={"name": "x"}),
            lambda n: asking.delete(f"leads/{n}"),
        ]
        for ask in asked:
            assert (await ask(hidden["id"])).status_code == 404
            assert (await ask(mine["id"])).status_code in (200, 204)
        assert (await put(asking, other.id, {"phone": "0123456783"})).status_code == 404
    assert await lead_of(api, "0123456782") == hidden


async def test_f22_nobody_without_a_key_and_no_viewer_changes_leads(
    app: FastAPI, api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    await put(api, device, {"phone": "0123456789"})
    path = f"/api/v1/leads/{(await lead_of(api, '0123456789'))['id']}"
    viewer = await tenants.person(runtime, workspace, Role.VIEWER)
    for who, reading, changing in (({}, 401, 401), ({"session": viewer.token}, 200, 403)):
        async with tenants.client(app, **who) as asking:  # type: ignore[arg-type]
            for answer in (await asking.get(path), await asking.get("/api/v1/leads"), await asking.get(f"{path}")):
                assert answer.status_code == reading
            assert (await asking.get("/api/v1/leads/export")).status_code == reading
            for answer in (
                await asking.patch(path, json={"name": "x"}),
                await asking.delete(path),
                await asking.post(f"/api/v1/devices/{device}/leads", json={"leads": [{"phone": "0198765432"}]}),
            ):
                assert answer.status_code == changing
    assert await value(runtime, "SELECT array_agg(name) FROM leads") == [""]


# --- export ----------------------------------------------------------------------------------------------------------


async def test_s22_no_cell_of_an_export_runs_and_an_import_restores_it(
    api: Api, runtime: Runtime, device: DeviceId, tmp_path: Any
) -> None:
    names = ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", "a\tb", "a\rb", "＝1", "'=1", "plain"]
    people = [{"phone": f"+6012345678{n}", "name": name, "attributes": {"note": name}} for n, name in enumerate(names)]
    assert (await put(api, device, *people)).json()["added"] == len(names)
    answer = await api.get("leads/export")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="leads.csv"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.content.startswith(b"\xef\xbb\xbfname,phone,")
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    for cell in (cell for row in rows for cell in row):
        assert cell[:1] not in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"), cell
    (tmp_path / "back.csv").write_bytes(answer.content)
    other, theirs = await _elsewhere(runtime)
    report = await import_leads(runtime, other, theirs, tmp_path / "back.csv")
    assert (report.added, report.rejected) == (len(names), 0)
    stored = "SELECT array_agg((name, attributes ->> 'note')::text ORDER BY phone) FROM leads WHERE device_id = $1"
    assert await value(runtime, stored, theirs) == await value(runtime, stored, device)


async def test_an_export_is_of_a_device_or_of_all_and_is_recorded(
    api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    other = await add_device(runtime, workspace, "Berta")
    await put(api, device, {"phone": "0123456781"})
    await put(api, other.id, {"phone": "0123456782"})

    async def numbers(**filters: int) -> list[str]:
        text = (await api.get("leads/export", params=filters)).content.decode("utf-8-sig")
        return [row["phone"][-1] for row in csv.DictReader(io.StringIO(text))]

    assert await numbers() == ["1", "2"]
    assert await numbers(device_id=other.id) == ["2"]
    assert (await api.get("leads/export", params={"device_id": 999_999})).status_code == 404
    async with runtime.db.connection() as connection:
        rows = await connection.fetch("SELECT actor, subject FROM audit WHERE action = 'leads.export' ORDER BY id")
    assert [r["subject"] for r in rows] == ["all devices", "Berta"]
    assert all(r["actor"].startswith("key:") for r in rows)
