"""Imports that others can follow, that are cut short, and that go on."""

import asyncio
import csv
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.lead_imports import IMPORT_TRANSITIONS, ImportStatus
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import lead_staging
from fleetcast.services.devices import add_device
from fleetcast.services.lead_import import import_leads, resume_import
from fleetcast.services.lead_imports import discard_import, list_imports
from fleetcast.services.lead_report import ImportProgress
from fleetcast.services.workspaces import create_workspace
from fleetcast.store import lead_imports
from fleetcast.store.lead_merge import importing
from tests.workbook import write_workbook

TABLES = "SELECT count(*) FROM pg_class WHERE relname LIKE 'lead\\_staging\\_%' AND relkind = 'r'"


class Killed(BaseException):
    """The process is gone."""


def _after(rows: int) -> Callable[[ImportProgress], None]:
    def kill(progress: ImportProgress) -> None:
        if progress.rows >= rows:
            raise Killed

    return kill


@pytest.fixture
async def device(runtime: Runtime, workspace: WorkspaceId) -> DeviceId:
    return (await add_device(runtime, workspace, "Anna", region="MY")).id


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lead_staging, "CHUNK", 10)


async def _value(runtime: Runtime, sql: str) -> object:
    async with runtime.db.connection() as connection:
        return await connection.fetchval(sql)


def _people(path: Path, many: int = 95) -> Path:
    """Every tenth row is bad, every seventh blank, and one attribute comes early, one late."""
    lines = []
    for n in range(many):
        phone = "12" if n % 10 == 3 else f"01234{n:05}"
        lines.append("" if n % 7 == 5 else f"{phone},n{n},{'a' if n < 5 else ''},{'b' if n > 80 else ''}")
    path.write_text("phone,name,early,late\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("moment", [20, 60, 10_000])
async def test_an_import_that_was_cut_short_goes_on_and_ends_like_one_that_was_not(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path, moment: int
) -> None:
    file = _people(tmp_path / "people.csv")
    other = await create_workspace(runtime, "Undisturbed")
    twin = await add_device(runtime, other.id, "Anna", region="MY")
    whole = await import_leads(runtime, other.id, twin.id, file, rejected_path=tmp_path / "whole.csv")

    def kill(progress: ImportProgress) -> None:
        if progress.merging or progress.rows >= moment:
            raise Killed

    with pytest.raises(Killed):
        await import_leads(runtime, workspace, device, file, progress=kill)
    assert await _value(runtime, f"SELECT count(*) FROM leads WHERE workspace_id = {workspace}") == 0
    (left,) = await list_imports(runtime, workspace)
    assert left.status.value == ("staging" if moment < 100 else "merging")
    assert left.position >= min(moment, 82)
    seen: list[ImportProgress] = []
    report = await import_leads(
        runtime, workspace, device, file, rejected_path=tmp_path / "resumed.csv", progress=seen.append
    )
    assert (report.import_id, report.resumed_at) == (left.id, left.position)
    assert seen[0].resumed_at == left.position
    for name in ("rows", "added", "merged", "unchanged", "duplicates", "rejected", "problems", "columns"):
        assert getattr(report, name) == getattr(whole, name), name
    assert (tmp_path / "resumed.csv").read_text() == (tmp_path / "whole.csv").read_text()
    both = "SELECT array_agg(attribute_keys) FROM workspaces"
    assert await _value(runtime, both) == [["early", "late"], ["early", "late"]]
    (done,) = await list_imports(runtime, workspace)
    assert (done.status, done.percent) == (ImportStatus.DONE, 100)
    assert done.report is not None
    assert done.report["added"] == whole.added
    assert await _value(runtime, TABLES) == 0


async def test_the_report_of_a_resumed_import_knows_the_rows_rejected_before(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    file = _people(tmp_path / "people.csv")
    with pytest.raises(Killed):
        await import_leads(runtime, workspace, device, file, progress=_after(50))
    (left,) = await list_imports(runtime, workspace)
    assert [problem.line for problem in left.problems] == [5, 15, 25, 45, 55, 65][: len(left.problems)]
    report = await resume_import(runtime, workspace, left.id, file)
    assert len(report.problems) == report.rejected > len(left.problems) > 0
    assert sorted({problem.line for problem in report.problems}) == [problem.line for problem in report.problems]


async def test_a_workbook_goes_on_too(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    file = write_workbook(tmp_path / "l.xlsx", {"L": [["phone"], *([60123450000 + n] for n in range(95))]})
    with pytest.raises(Killed):
        await import_leads(runtime, workspace, device, file, progress=_after(50))
    report = await import_leads(runtime, workspace, device, file)
    assert report.resumed_at >= 50
    assert (report.added, report.rejected) == (95, 0)


async def test_a_killed_process_leaves_an_import_that_goes_on(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path, database_url: str, redis_url: str
) -> None:
    file = _people(tmp_path / "people.csv", 995)
    program = f"""
import asyncio, sys
from pathlib import Path
from fleetcast.runtime import open_runtime
from fleetcast.services import lead_import, lead_staging
from fleetcast.settings import Settings
lead_staging.CHUNK = 10
def tell(progress):
    if progress.rows >= 100:
        print("there", flush=True)
        sys.stdin.read()
async def main():
    async with open_runtime(Settings(database_url={database_url!r}, redis_url={redis_url!r})) as runtime:
        await lead_import.import_leads(runtime, {workspace}, {device}, Path({str(file)!r}), progress=tell)
asyncio.run(main())
"""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=pipe, stdout=pipe)
    try:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"there\n"
        (running,) = await list_imports(runtime, workspace)
        assert running.running
        assert 0 < running.percent < 100
        with pytest.raises(Conflict, match="Another process is importing this file"):
            await import_leads(runtime, workspace, device, file)
        with pytest.raises(Conflict, match="stop that process first"):
            await discard_import(runtime, workspace, running.id)
    finally:
        child.kill()
        await child.communicate()
    async with asyncio.timeout(20):
        while (await list_imports(runtime, workspace))[0].running:
            pass
    report = await import_leads(runtime, workspace, device, file)
    assert report.resumed_at >= 100
    assert report.added + report.rejected == report.rows
    assert await _value(runtime, "SELECT count(*) FROM leads") == report.added


async def test_only_the_same_file_goes_on_and_only_with_the_same_options(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    file = _people(tmp_path / "people.csv")
    with pytest.raises(Killed):
        await import_leads(runtime, workspace, device, file, mapping={"early": "-"}, progress=_after(50))
    (left,) = await list_imports(runtime, workspace)
    changed = tmp_path / "changed.csv"
    changed.write_text(file.read_text() + "0123456789,x,,\n")
    with pytest.raises(InvalidInput, match=f"not the file of import {left.id}"):
        await resume_import(runtime, workspace, left.id, changed)
    fresh = await import_leads(runtime, workspace, device, file)
    assert (fresh.resumed_at, fresh.columns["early"]) == (0, "early")
    resumed = await resume_import(runtime, workspace, left.id, file)
    assert (resumed.resumed_at, resumed.columns["early"]) == (left.position, "")
    with pytest.raises(Conflict, match=r"has ended \(done\)"):
        await resume_import(runtime, workspace, left.id, file)


async def test_f20_an_import_of_another_workspace_is_not_found(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    file = _people(tmp_path / "people.csv")
    with pytest.raises(Killed):
        await import_leads(runtime, workspace, device, file, progress=_after(50))
    stranger = await create_workspace(runtime, "Stranger")
    (left,) = await list_imports(runtime, workspace)
    assert await list_imports(runtime, stranger.id) == []
    for attempt in (resume_import(runtime, stranger.id, left.id, file), discard_import(runtime, stranger.id, left.id)):
        with pytest.raises(NotFound, match=f"no import {left.id}"):
            await attempt


async def test_what_is_discarded_or_left_for_a_week_leaves_no_rows_behind(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    for more, name in enumerate(("one", "two", "three")):
        file = _people(tmp_path / f"{name}.csv", 60 + more)
        with pytest.raises(Killed):
            await import_leads(runtime, workspace, device, file, progress=_after(30))
    three, two, one = await list_imports(runtime, workspace)
    assert await _value(runtime, TABLES) == 3
    await discard_import(runtime, workspace, one.id)
    await _value(runtime, f"UPDATE lead_imports SET updated_at = updated_at - interval '8 days' WHERE id = {two.id}")
    (tmp_path / "new.csv").write_text("phone\n0123456789\n")
    await import_leads(runtime, workspace, device, tmp_path / "new.csv")
    statuses = {each.id: each.status.value for each in await list_imports(runtime, workspace)}
    assert (statuses[one.id], statuses[two.id], statuses[three.id]) == ("abandoned", "abandoned", "staging")
    assert await _value(runtime, TABLES) == 1
    with pytest.raises(Conflict, match="has ended"):
        await resume_import(runtime, workspace, two.id, tmp_path / "two.csv")


async def test_an_import_that_cannot_succeed_is_failed_with_its_reason(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    file = _people(tmp_path / "people.csv")
    refused = await import_leads(runtime, workspace, device, file, all_or_nothing=True)
    assert refused.refused
    async with runtime.db.connection() as connection:
        keys = [f"k{n}" for n in range(200)]
        await connection.execute("UPDATE workspaces SET attribute_keys = $1 WHERE id = $2", keys, workspace)
    with pytest.raises(InvalidInput, match="different attributes"):
        await import_leads(runtime, workspace, device, file)
    failed, nothing = await list_imports(runtime, workspace)
    assert (failed.status.value, nothing.status.value) == ("failed", "failed")
    assert failed.report is not None
    assert "different attributes" in failed.report["error"]
    assert nothing.report is not None
    assert nothing.report["refused"] is True
    assert await _value(runtime, TABLES) == 0


async def test_a_dry_run_is_no_import(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    report = await import_leads(runtime, workspace, device, _people(tmp_path / "people.csv"), dry_run=True)
    assert report.import_id is None
    assert await list_imports(runtime, workspace) == []


async def test_an_import_changes_its_status_only_as_the_table_says(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    async with importing(runtime.db) as connection:
        for origin in ImportStatus:
            for wish in ImportStatus:
                made = await lead_imports.start(
                    connection, workspace, device, filename="f", size=1, sha256="", options={}, actor="a"
                )
                await connection.execute(
                    "UPDATE lead_imports SET status = $1::text::lead_import_status WHERE id = $2", origin.value, made
                )
                changed = await lead_imports.change_status(connection, made, wish)
                assert changed == (wish in IMPORT_TRANSITIONS[origin]), (origin, wish)


async def test_rejected_rows_of_many_kinds_are_all_in_the_file(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    file = write_workbook(
        tmp_path / "l.xlsx",
        {
            "L": [
                ["phone", "name"],
                ["x", "a"],
                [60123456789, "ok"],
                ['<c t="e"><v>#REF!</v></c>', "b"],
                ["1", "c", "d"],
            ]
        },
    )
    out = tmp_path / "rejected.csv"
    report = await import_leads(runtime, workspace, device, file, rejected_path=out)
    with out.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.reader(lines))
    assert [(row[0], row[3:]) for row in rows[1:]] == [("2", ["x", "a"]), ("4", ["#REF!", "b"]), ("5", ["1", "c"])]
    assert (report.added, report.rejected) == (1, 3)
