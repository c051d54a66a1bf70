"""Imports over the API: a file is the content of a request, its rows are read in the background."""

import asyncio
import csv
import io
import re
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.access import Role, Scope
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.lead_imports import UNFINISHED
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device
from fleetcast.services.lead_imports import get_import
from fleetcast.services.workspaces import create_workspace
from tests.api import tenants
from tests.workbook import write_workbook

Api = httpx2.AsyncClient
PEOPLE = b"phone,name,city\n0123456789,Aminah,Ipoh\n12,Bad,\n0198765432,Chong,Melaka\n"


@pytest.fixture
async def device(runtime: Runtime, workspace: WorkspaceId) -> DeviceId:
    return (await add_device(runtime, workspace, "Anna", region="MY")).id


def uploads(runtime: Runtime) -> list[str]:
    where = runtime.settings.data / "uploads"
    return sorted(path.name for path in where.iterdir()) if where.exists() else []


async def send(api: Api, device: int, content: bytes, **query: Any) -> httpx2.Response:
    return await api.post(f"devices/{device}/lead-imports", content=content, params=query)


async def ended(api: Api, runtime: Runtime, workspace: WorkspaceId, answer: httpx2.Response) -> dict[str, Any]:
    """The import once it has ended. Waits on the database, which counts no requests."""
    assert answer.status_code == 202, answer.text
    made = answer.json()["id"]
    async with asyncio.timeout(20):
        while (await get_import(runtime, workspace, made)).status in UNFINISHED:
            pass
    return dict((await api.get(f"lead-imports/{made}")).json())


async def value(runtime: Runtime, sql: str, *arguments: object) -> Any:
    async with runtime.db.connection() as connection:
        return await connection.fetchval(sql, *arguments)


@asynccontextmanager
async def merging_held(runtime: Runtime, workspace: WorkspaceId) -> AsyncIterator[None]:
    """Imports into the workspace come as far as their merge and wait there."""
    async with runtime.db.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(7215303, $1::int)", workspace)
        yield


async def test_a_file_is_accepted_watched_and_its_refused_rows_downloaded(
    api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    async with merging_held(runtime, workspace):
        answer = await send(api, device, PEOPLE, filename="customers.csv", consent="form at the counter")
        assert answer.status_code == 202, answer.text
        job = answer.json()
        assert answer.headers["Location"] == f"/api/v1/lead-imports/{job['id']}"
        assert (job["status"], job["filename"], job["device"], job["counts"]) == (
            "staging",
            "customers.csv",
            "Anna",
            None,
        )
        path = f"lead-imports/{job['id']}"
        async with asyncio.timeout(20):
            while (await get_import(runtime, workspace, job["id"])).status != "merging":
                pass
        watched = (await api.get(path)).json()
        assert (watched["status"], watched["running"], watched["percent"]) == ("merging", True, 100)
        assert (watched["accepted"], watched["rejected"], watched["size"]) == (2, 1, len(PEOPLE))
        assert (await api.get(f"{path}/rejected")).status_code == 409
    done = await ended(api, runtime, workspace, answer)
    assert (done["status"], done["running"], done["error"]) == ("done", False, None)
    counted = {"rows": 3, "added": 2, "merged": 0, "unchanged": 0, "duplicates": 0, "rejected": 1, "skipped": 0}
    assert done["counts"] == counted
    [problem] = done["problems"]
    assert (problem["line"], problem["column"]) == (3, "phone")
    rejected = await api.get(f"{path}/rejected")
    assert rejected.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert rejected.headers["Content-Disposition"].startswith("attachment;")
    rows = list(csv.DictReader(io.StringIO(rejected.content.decode("utf-8-sig"))))
    assert [(row["rejected_line"], row["phone"], row["name"]) for row in rows] == [("3", "12", "Bad")]
    leads = (await api.get("leads")).json()["items"]
    assert [(each["name"], each["attributes"]) for each in leads] == [
        ("Aminah", {"city": "Ipoh"}),
        ("Chong", {"city": "Melaka"}),
    ]
    assert {(each["consent"], each["consent_source"]) for each in leads} == {("given", "form at the counter")}
    assert (await api.delete(path)).status_code == 409
    listed = (await api.get("lead-imports")).json()["items"]
    assert [each["id"] for each in listed] == [job["id"]]
    assert "problems" not in listed[0]
    # corrected, the refused rows go straight in
    fixed = rejected.content.replace(b",12,", b",0133333333,")
    again = await ended(api, runtime, workspace, await send(api, device, fixed))
    assert again["counts"]["added"] == 1


async def test_a_workbook_with_a_sheet_and_a_mapping(
    api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    sheets: dict[str, list[list[str | int | float | None]]] = {
        "Old": [["phone"], [60123456780]],
        "New": [["Mobile 2", "Who", "Internal"], [60123456789, "Aminah", "x"]],
    }
    content = write_workbook(tmp_path / "l.xlsx", sheets).read_bytes()
    query = {"sheet": "New", "map": ["phone=Mobile 2", "name=Who", "-=Internal"]}
    seen = await api.post(f"devices/{device}/lead-imports/preview", content=content, params=query)
    assert seen.status_code == 200, seen.text
    preview = seen.json()
    assert (preview["sheet"], preview["sheets"]) == ("New", ["New", "Old"])
    assert preview["columns"] == {"Mobile 2": "phone", "Who": "name", "Internal": ""}
    assert preview["rows"][0]["lead"]["phone"] == "+60123456789"
    assert (await api.get("lead-imports")).json()["items"] == []
    assert uploads(runtime) == []
    done = await ended(api, runtime, workspace, await send(api, device, content, **query))
    assert done["counts"]["added"] == 1
    assert [each["name"] for each in (await api.get("leads")).json()["items"]] == ["Aminah"]


async def test_a_preview_shows_rows_that_would_be_refused(api: Api, device: DeviceId) -> None:
    preview = (await api.post(f"devices/{device}/lead-imports/preview", content=PEOPLE, params={"rows": 2})).json()
    assert (preview["encoding"], preview["delimiter"], preview["more"]) == ("utf-8-sig", "comma", True)
    assert [(row["line"], row["lead"] is None) for row in preview["rows"]] == [(2, False), (3, True)]
    assert preview["rows"][1]["problem"]["column"] == "phone"


@pytest.mark.parametrize("path", ["lead-imports", "lead-imports/preview"])
async def test_a_form_is_refused_and_told_how_files_are_sent(api: Api, device: DeviceId, path: str) -> None:
    answer = await api.post(f"devices/{device}/{path}", files={"file": ("people.csv", PEOPLE)})
    assert answer.status_code == 422
    assert "--data-binary" in answer.json()["detail"]


async def test_all_or_nothing_writes_nothing(
    api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    done = await ended(api, runtime, workspace, await send(api, device, PEOPLE, all_or_nothing=True))
    assert (done["status"], done["counts"]) == ("failed", None)
    assert "all or nothing" in done["error"]
    assert (await api.get("leads")).json()["items"] == []
    assert (await api.get(f"lead-imports/{done['id']}/rejected")).status_code == 200


async def test_a_list_is_narrowed_and_goes_on_where_it_ended(
    api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    other = await add_device(runtime, workspace, "Berta", region="MY")
    made = []
    for number, where in enumerate((device, other.id, device)):
        answer = await send(api, where, b"phone\n" + f"012345678{number}\n".encode(), all_or_nothing=number == 2)
        made.append((await ended(api, runtime, workspace, answer))["id"])

    async def ids(**query: Any) -> list[int]:
        return [each["id"] for each in (await api.get("lead-imports", params=query)).json()["items"]]

    assert await ids() == made[::-1]
    assert await ids(device_id=device) == [made[2], made[0]]
    assert await ids(status="done") == made[::-1]
    assert await ids(status="failed") == []
    page = (await api.get("lead-imports", params={"limit": 2})).json()
    assert await ids(after=page["next"]) == made[:1]
    assert (await api.get("lead-imports", params={"status": "lost"})).status_code == 422


async def test_f08_the_same_upload_twice_is_one_import(api: Api, runtime: Runtime, device: DeviceId) -> None:
    path, key = f"devices/{device}/lead-imports", {"Idempotency-Key": "once"}
    first = await api.post(path, content=PEOPLE, headers=key)
    again = await api.post(path, content=PEOPLE, headers=key)
    assert (first.status_code, first.json()["id"]) == (again.status_code, again.json()["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await api.post(path, content=PEOPLE + b"0133333333,,\n", headers=key)
    assert other.status_code == 422
    assert await value(runtime, "SELECT count(*) FROM lead_imports") == 1


# --- what is sent to do harm -----------------------------------------------------------------------------------------


def _zip(name: str = "leads.csv") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, PEOPLE)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "query", "field"),
    [
        (_zip(), {"filename": "leads.xlsx"}, "file"),
        (_zip("../../etc/cron.d/x"), {"filename": "leads.csv"}, "file"),
        (b'phone,"name\n0123456789,x\n', {}, "file"),
        (b"phone," + b",".join(b"c%d" % n for n in range(200)) + b"\n", {}, "columns"),
        (b"phone," + b",".join(b"c%d" % n for n in range(100_000)) + b"\n", {}, "columns"),
        (b"phone,name,Name\n0123456789,x,y\n", {}, "columns"),
        (b"name,city\nAminah,Ipoh\n", {}, "columns"),
        (b"\0p\0h\0o\0n\0e\0\n" * 500, {}, "file"),
        (b"%PDF-1.7\n", {}, "file"),
        (b"\x1f\x8b" + bytes(100), {}, "file"),
        (b"SQLite format 3\0", {}, "file"),
        (b"", {}, "file"),
        (b"x" * 1_000_001, {}, "file"),
        (b"phone\n\xff\x81\n", {}, "file"),
        (PEOPLE, {"sheet": "One"}, "sheet"),
        (PEOPLE, {"map": "phone"}, "map"),
        (PEOPLE, {"map": ["phone=Nowhere"]}, "mapping"),
        (PEOPLE, {"consent": " "}, "consent"),
        (PEOPLE, {"all_or_nothing": "perhaps"}, "all_or_nothing"),
        (PEOPLE, {"filename": "x" * 1_001}, "filename"),
    ],
)
async def test_s23_a_file_that_is_none_is_refused_at_once_and_leaves_nothing(
    api: Api, runtime: Runtime, device: DeviceId, content: bytes, query: dict[str, Any], field: str
) -> None:
    for path in ("lead-imports", "lead-imports/preview"):
        if path.endswith("preview") and field in ("consent", "all_or_nothing", "filename"):
            continue
        answer = await api.post(f"devices/{device}/{path}", content=content, params=query)
        assert answer.status_code == 422, answer.text
        assert [e["field"] for e in answer.json()["errors"]] == [field], answer.json()
        assert str(runtime.settings.data) not in answer.text
    assert uploads(runtime) == []
    assert await value(runtime, "SELECT count(*) FROM lead_imports") == 0
    assert await value(runtime, "SELECT count(*) FROM pg_class WHERE relname LIKE 'lead\\_staging\\_%'") == 0


async def test_s23_a_quote_that_is_never_closed_costs_one_row(
    api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    content = b'phone,name\n0123456781,"open\n' + b"".join(b"+6012%07d,x\n" % n for n in range(2_000))
    done = await ended(api, runtime, workspace, await send(api, device, content))
    assert (done["counts"]["added"], done["counts"]["rejected"]) == (2_000, 1)
    assert "quote" in done["problems"][0]["reason"]


async def test_s23_utf16_is_read_like_any_other_text(
    api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    content = "phone;name\n0123456789;Ängström 名\n".encode("utf-16")
    done = await ended(api, runtime, workspace, await send(api, device, content))
    assert done["counts"]["added"] == 1
    assert [each["name"] for each in (await api.get("leads")).json()["items"]] == ["Ängström 名"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("../../etc/cron.d/x", "x"),
        ("..%2f..%2fetc%2fpasswd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\Windows\\leads.csv", "leads.csv"),
        ("a\0.csv", "a.csv"),
        ("..", "upload"),
        ("", "upload"),
        ("é" * 500 + ".csv", "é" * 127),
        ("<script>.csv", "_script_.csv"),
        ("leads\u202evsc.csv", "leadsvsc.csv"),
    ],
)
async def test_s17_the_name_of_a_file_is_a_label_and_no_path(
    api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId, name: str, label: str
) -> None:
    before = sorted(path.name for path in runtime.settings.data.iterdir())
    async with merging_held(runtime, workspace):
        answer = await send(api, device, PEOPLE, filename=name)
        assert answer.status_code == 202, answer.text
        assert answer.json()["filename"] == label
        made = answer.json()["id"]
        assert {re.sub("[0-9a-f]{32}", "RANDOM", each) for each in uploads(runtime)} == {
            f"{made}.{workspace}.RANDOM.leads",
            f"{made}.{workspace}.RANDOM.rejected",
        }
    assert sorted(path.name for path in runtime.settings.data.iterdir()) == sorted({*before, "uploads"})
    await ended(api, runtime, workspace, answer)


# --- who may ---------------------------------------------------------------------------------------------------------


async def test_f21_an_import_of_another_workspace_does_not_exist(
    app: FastAPI, api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    strangers = await create_workspace(runtime, "Strangers")
    async with (
        merging_held(runtime, workspace),
        tenants.client(app, key=await tenants.key(runtime, strangers.id)) as asking,
    ):
        asking.base_url = api.base_url
        made = (await send(api, device, PEOPLE)).json()["id"]
        for path in (f"lead-imports/{made}", f"lead-imports/{made}/rejected"):
            assert (await asking.get(path)).status_code == 404
        assert (await asking.delete(f"lead-imports/{made}")).status_code == 404
        assert (await asking.get("lead-imports")).json()["items"] == []
        for path in ("lead-imports", "lead-imports/preview"):
            assert (await asking.post(f"devices/{device}/{path}", content=PEOPLE)).status_code == 404
        assert (await get_import(runtime, workspace, made)).status in UNFINISHED
        assert (await api.delete(f"lead-imports/{made}")).status_code == 204
        assert (await api.get(f"lead-imports/{made}")).json()["status"] == "abandoned"
    assert uploads(runtime) == []


async def test_s40_a_key_for_one_device_sees_its_imports_only(
    app: FastAPI, api: Api, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    other = await add_device(runtime, workspace, "Berta", region="MY")
    mine = await ended(api, runtime, workspace, await send(api, device, PEOPLE))
    hidden = await ended(api, runtime, workspace, await send(api, other.id, PEOPLE))
    key = await tenants.key(runtime, workspace, {Scope.READ, Scope.SEND}, device)
    async with tenants.client(app, key=key) as asking:
        asking.base_url = api.base_url
        assert [each["id"] for each in (await asking.get("lead-imports")).json()["items"]] == [mine["id"]]
        assert (await asking.get("lead-imports", params={"device_id": other.id})).status_code == 404
        for path in ("lead-imports/{}", "lead-imports/{}/rejected"):
            assert (await asking.get(path.format(mine["id"]))).status_code == 200
            assert (await asking.get(path.format(hidden["id"]))).status_code == 404
        assert (await asking.delete(f"lead-imports/{hidden['id']}")).status_code == 404
        assert (await send(asking, other.id, PEOPLE)).status_code == 404
        assert (await send(asking, device, PEOPLE + b"0133333333,,\n")).status_code == 202


async def test_f22_nobody_without_a_key_and_no_viewer_imports(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    viewer = await tenants.person(runtime, workspace, Role.VIEWER)
    for who, status in (({}, 401), ({"session": viewer.token}, 403)):
        async with tenants.client(app, **who) as asking:  # type: ignore[arg-type]
            for path in ("lead-imports", "lead-imports/preview"):
                answer = await asking.post(f"/api/v1/devices/{device}/{path}", content=PEOPLE)
                assert answer.status_code == status
            assert (await asking.delete("/api/v1/lead-imports/1")).status_code == status
    assert uploads(runtime) == []
    assert await value(runtime, "SELECT count(*) FROM lead_imports") == 0
