"""Imports in the background: they go on after the process was stopped or killed, and none holds others up."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.lead_imports import UNFINISHED, ImportStatus, LeadImport
from fleetcast.errors import Conflict, NotFound, TooMany
from fleetcast.runtime import Runtime
from fleetcast.services import import_jobs, lead_staging
from fleetcast.services.devices import add_device, remove_device
from fleetcast.services.import_jobs import ImportJobs
from fleetcast.services.lead_imports import get_import, list_imports
from fleetcast.services.workspaces import create_workspace

SOON = 20.0


@pytest.fixture
async def device(runtime: Runtime, workspace: WorkspaceId) -> DeviceId:
    return (await add_device(runtime, workspace, "Anna", region="MY")).id


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lead_staging, "CHUNK", 10)
    monkeypatch.setattr(import_jobs, "AGAIN_SECONDS", 0.05)


def folder(runtime: Runtime) -> list[str]:
    where = runtime.settings.data / "uploads"
    return sorted(path.suffix for path in where.iterdir()) if where.exists() else []


async def pieces(text: str) -> AsyncIterator[bytes]:
    data = text.encode()
    for start in range(0, len(data), 1_000):
        yield data[start : start + 1_000]


def people(many: int = 95, first: int = 0) -> str:
    return "phone,name\n" + "".join(f"+6012{n:07},n{n}\n" for n in range(first, first + many)) + "bad,x\n"


async def accept(jobs: ImportJobs, workspace: WorkspaceId, device: DeviceId, text: str, **options: Any) -> LeadImport:
    options = {"filename": "leads.csv", "read_as": {}, "actor": "test"} | options
    return await jobs.accept(workspace, device, pieces(text), **options)


async def until(runtime: Runtime, workspace: WorkspaceId, import_id: int, *wanted: ImportStatus) -> LeadImport:
    """The import once it stands so; once it has ended and its file is gone, if nothing is said."""
    files = runtime.settings.data / "uploads"
    async with asyncio.timeout(SOON):
        while True:
            found = await get_import(runtime, workspace, import_id)
            if found.status in wanted:
                return found
            if not wanted and found.status not in UNFINISHED and not list(files.glob(f"{import_id}.*.leads")):
                return found


@asynccontextmanager
async def merging_held(runtime: Runtime, workspace: WorkspaceId) -> AsyncIterator[None]:
    """Imports into the workspace come as far as their merge and wait there."""
    async with runtime.db.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(7215303, $1::int)", workspace)
        yield


async def leads(runtime: Runtime, device: DeviceId) -> int:
    async with runtime.db.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM leads WHERE device_id = $1", device))


async def test_a_file_is_imported_after_the_answer_and_leaves_only_its_refused_rows(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    jobs = ImportJobs(runtime)
    async with jobs.running():
        async with merging_held(runtime, workspace):
            made = await accept(jobs, workspace, device, people())
            assert made.status is ImportStatus.STAGING
            assert (made.filename, made.actor, made.device_id) == ("leads.csv", "test", device)
            under_way = await until(runtime, workspace, made.id, ImportStatus.MERGING)
            assert under_way.running
            assert (under_way.accepted, under_way.rejected, under_way.percent) == (95, 1, 100)
            assert folder(runtime) == [".leads", ".rejected"]
            where = runtime.settings.data / "uploads"
            assert where.stat().st_mode & 0o777 == 0o700
            assert {path.stat().st_mode & 0o777 for path in where.iterdir()} == {0o600}
            with pytest.raises(Conflict, match="has not ended"):
                await jobs.rejected(workspace, made.id)
        done = await until(runtime, workspace, made.id)
        assert done.status is ImportStatus.DONE
        assert await leads(runtime, device) == 95
        rejected = await jobs.rejected(workspace, made.id)
        assert rejected.read_text("utf-8-sig").splitlines()[1].startswith("97,phone,")
    assert folder(runtime) == [".rejected"]
    async with runtime.db.connection() as connection:
        row = await connection.fetchrow("SELECT actor, after FROM audit WHERE action = 'leads.import'")
    assert row is not None
    assert (row["actor"], row["after"]["file"], row["after"]["added"]) == ("test", "leads.csv", 95)


async def test_an_import_without_refused_rows_leaves_nothing(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    jobs = ImportJobs(runtime)
    async with jobs.running():
        made = await accept(jobs, workspace, device, "phone\n0123456789\n")
        await until(runtime, workspace, made.id)
        with pytest.raises(NotFound, match="no refused rows"):
            await jobs.rejected(workspace, made.id)
    assert folder(runtime) == []


async def test_a_stopped_process_leaves_its_imports_to_the_next(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    jobs = ImportJobs(runtime)
    async with merging_held(runtime, workspace), jobs.running():
        first = await accept(jobs, workspace, device, people())
        await until(runtime, workspace, first.id, ImportStatus.MERGING)
        second = await accept(jobs, workspace, device, people(20, 200))
    assert (await get_import(runtime, workspace, first.id)).status is ImportStatus.MERGING
    assert folder(runtime).count(".leads") == 2
    async with ImportJobs(runtime).running():
        done = await until(runtime, workspace, first.id)
        assert done.report is not None
        assert (done.status, done.report["resumed_at"], done.report["added"]) == (ImportStatus.DONE, 96, 95)
        assert (await until(runtime, workspace, second.id)).status is ImportStatus.DONE
    assert await leads(runtime, device) == 115
    assert folder(runtime) == [".rejected", ".rejected"]


async def test_a_killed_process_leaves_its_imports_to_the_next(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    assert runtime.settings.database_url is not None
    assert runtime.settings.redis_url is not None
    program = f"""
import asyncio, sys
from fleetcast.runtime import open_runtime
from fleetcast.services import lead_staging
from fleetcast.services.import_jobs import ImportJobs
from fleetcast.settings import Settings
lead_staging.CHUNK = 10
async def content():
    yield sys.stdin.buffer.read()
async def main():
    settings = Settings(
        database_url={runtime.settings.database_url.get_secret_value()!r},
        redis_url={runtime.settings.redis_url.get_secret_value()!r},
        redis_prefix={runtime.settings.redis_prefix!r},
        data={str(runtime.settings.data)!r},
    )
    async with open_runtime(settings) as runtime:
        jobs = ImportJobs(runtime)
        async with jobs.running():
            made = await jobs.accept(
                {workspace}, {device}, content(), filename="x.csv", read_as={{}}, consent_source="a form", actor="them"
            )
            print(made.id, flush=True)
            await asyncio.Event().wait()
asyncio.run(main())
"""
    pipe = asyncio.subprocess.PIPE
    async with merging_held(runtime, workspace):
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=pipe, stdout=pipe)
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(people().encode())
            child.stdin.close()
            async with asyncio.timeout(SOON):
                made = int(await child.stdout.readline())
            await until(runtime, workspace, made, ImportStatus.MERGING)
        finally:
            child.kill()
            await child.wait()
    async with ImportJobs(runtime).running():
        done = await until(runtime, workspace, made)
    assert (done.status, done.actor) == (ImportStatus.DONE, "them")
    async with runtime.db.connection() as connection:
        rows = await connection.fetch("SELECT DISTINCT consent::text, consent_source FROM leads")
    assert [tuple(r) for r in rows] == [("given", "a form")]
    assert await leads(runtime, device) == 95
    assert folder(runtime) == [".rejected"]


async def test_an_import_that_lost_the_database_is_tried_again(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    jobs = ImportJobs(runtime)
    async with jobs.running():
        async with merging_held(runtime, workspace):
            made = await accept(jobs, workspace, device, people())
            await until(runtime, workspace, made.id, ImportStatus.MERGING)
            async with runtime.db.connection() as connection, asyncio.timeout(SOON):
                cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"
                while not await connection.fetchval(cut, "fleetcast leads import"):
                    pass
        done = await until(runtime, workspace, made.id)
    assert done.status is ImportStatus.DONE
    assert await leads(runtime, device) == 95


async def test_s48_a_workspace_with_many_files_holds_no_other_up(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_jobs, "MOST_WAITING", 3)
    other = await create_workspace(runtime, "Other")
    theirs = await add_device(runtime, other.id, "Berta", region="MY")
    jobs = ImportJobs(runtime)
    async with jobs.running():
        async with merging_held(runtime, workspace):
            mine = [await accept(jobs, workspace, device, people(5, 100 * n)) for n in range(3)]
            with pytest.raises(TooMany, match="3 files of this workspace wait"):
                await accept(jobs, workspace, device, people(5, 900))
            made = await accept(jobs, other.id, theirs.id, people(7))
            assert (await until(runtime, other.id, made.id)).status is ImportStatus.DONE
            assert {(await get_import(runtime, workspace, each.id)).status for each in mine} <= UNFINISHED
        for each in mine:
            assert (await until(runtime, workspace, each.id)).status is ImportStatus.DONE
    assert (await leads(runtime, device), await leads(runtime, theirs.id)) == (15, 7)


@pytest.mark.parametrize("place", [0, 1])
async def test_an_import_is_discarded_while_it_works_or_waits(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, place: int
) -> None:
    jobs = ImportJobs(runtime)
    async with jobs.running():
        async with merging_held(runtime, workspace):
            made = [await accept(jobs, workspace, device, people(30, 100 * n)) for n in range(2)]
            await until(runtime, workspace, made[0].id, ImportStatus.MERGING)
            await jobs.discard(workspace, made[place].id, actor="her")
            gone = await get_import(runtime, workspace, made[place].id)
            assert (gone.status, gone.running) == (ImportStatus.ABANDONED, False)
            assert folder(runtime).count(".leads") == 1
        left = await until(runtime, workspace, made[1 - place].id)
        assert left.status is ImportStatus.DONE
        with pytest.raises(Conflict, match="has ended"):
            await jobs.discard(workspace, made[1 - place].id, actor="her")
    assert await leads(runtime, device) == 30
    async with runtime.db.connection() as connection:
        actors = await connection.fetchval("SELECT array_agg(actor) FROM audit WHERE action = 'leads.import.discard'")
    assert actors == ["her"]


async def test_the_same_file_twice_is_one_import(runtime: Runtime, workspace: WorkspaceId, device: DeviceId) -> None:
    jobs = ImportJobs(runtime)
    async with jobs.running():
        async with merging_held(runtime, workspace):
            made = await accept(jobs, workspace, device, people())
            with pytest.raises(Conflict, match=f"Import {made.id} has the same file"):
                await accept(jobs, workspace, device, people())
            other = await accept(jobs, workspace, device, people(), all_or_nothing=True)
        assert (await until(runtime, workspace, made.id)).status is ImportStatus.DONE
        refused = await until(runtime, workspace, other.id)
        assert refused.status is ImportStatus.FAILED
        assert refused.report is not None
        assert refused.report["refused"] is True
        assert (await jobs.rejected(workspace, other.id)).exists()
    assert len(await list_imports(runtime, workspace)) == 2


async def test_an_import_whose_device_goes_or_whose_file_is_lost_fails_with_its_reason(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    doomed = await add_device(runtime, workspace, "Doomed", region="MY")
    jobs = ImportJobs(runtime)
    async with jobs.running():
        async with merging_held(runtime, workspace):
            first = await accept(jobs, workspace, doomed.id, people())
            await until(runtime, workspace, first.id, ImportStatus.MERGING)
            lost = await accept(jobs, workspace, device, people())
            for path in (runtime.settings.data / "uploads").glob(f"{lost.id}.*.leads"):
                path.unlink()
            await remove_device(runtime, workspace, doomed.id, actor="test")
        reasons = []
        for made in (first, lost):
            ended = await until(runtime, workspace, made.id)
            assert ended.status is ImportStatus.FAILED
            assert ended.report is not None
            reasons.append(ended.report["error"])
    assert "was removed while the file was read" in reasons[0]
    assert "does not exist" in reasons[1]
    assert str(runtime.settings.data) not in reasons[1]
    assert ".leads" not in folder(runtime)


async def test_refused_rows_are_kept_for_a_day_and_unfinished_uploads_too(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    jobs = ImportJobs(runtime)
    async with jobs.running():
        made = await accept(jobs, workspace, device, people(3))
        await until(runtime, workspace, made.id)
        path = await jobs.rejected(workspace, made.id)
    part = path.with_name("0" * 32 + ".part")
    part.write_text("half")
    now = runtime.clock.now().timestamp()
    for age, left in ((86_000, [".part", ".rejected"]), (87_000, [])):
        for each in (path, part):
            os.utime(each, (now - age, now - age))
        async with ImportJobs(runtime).running(), asyncio.timeout(SOON):
            while folder(runtime) != left:
                await asyncio.to_thread(bool)  # the house is kept in a thread
    with pytest.raises(NotFound, match="not kept any more"):
        await jobs.rejected(workspace, made.id)


async def test_s02_refused_rows_that_another_workspace_left_under_the_same_number_are_not_shown(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    """As it is when an older database was restored beside the folder: numbers of imports are given once more."""
    jobs = ImportJobs(runtime)
    async with jobs.running():
        made = await accept(jobs, workspace, device, people(3))
        await until(runtime, workspace, made.id)
        ours = await jobs.rejected(workspace, made.id)
        theirs = ours.rename(ours.with_name(f"{made.id}.{workspace + 1}.{'a' * 32}.rejected"))
        with pytest.raises(NotFound):
            await jobs.rejected(workspace, made.id)
    assert theirs.exists()


async def test_a_file_of_another_database_is_dropped_and_harms_nobody(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    where = runtime.settings.data / "uploads"
    where.mkdir()
    stray = where / f"999.{workspace}.{'a' * 32}.leads"
    stray.write_text("phone\n0123456789\n")
    (where / "notes.txt").write_text("somebody's")
    async with ImportJobs(runtime).running(), asyncio.timeout(SOON):
        while stray.exists():
            await asyncio.to_thread(bool)
    assert folder(runtime) == [".txt"]
    assert await leads(runtime, device) == 0


async def test_what_breaks_off_while_it_is_sent_leaves_nothing(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"phone\n0123456789\n" * 100_000
        raise ConnectionError

    jobs = ImportJobs(runtime)
    async with jobs.running():
        with pytest.raises(ConnectionError):
            await jobs.accept(workspace, device, broken(), filename="x", read_as={}, actor="test")
    assert folder(runtime) == []
    assert await list_imports(runtime, workspace) == []
