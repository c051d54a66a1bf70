"""Exporting: what comes out goes in again exactly, and no spreadsheet runs any of it."""

import asyncio
import csv
import io
import resource
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetcast.domain.identifiers import DeviceId, LeadId, Phone, WorkspaceId
from fleetcast.domain.lead import Consent, Lead, LeadStatus, niche_names
from fleetcast.domain.lead_columns import RowParser, attribute_key
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import lead_export
from fleetcast.services.devices import add_device
from fleetcast.services.lead_export import cells, download_leads, export_leads, header
from fleetcast.services.lead_files import open_lead_file
from fleetcast.services.lead_import import import_leads
from fleetcast.services.lead_rows import Row
from fleetcast.services.workspaces import create_workspace
from fleetcast.store import leads
from fleetcast.store.connection import Database

_TEXT = (st.text(max_size=30) | st.text("'=+-@\t\r\n\",; aé😀\uff1d|", max_size=12)).map(
    lambda text: text.replace("\0", "").strip()
)
_KEYS = ["city", "phone_2", "mobile", "status", "notes", "ort", "_2nd"]


@st.composite
def _leads(draw: st.DrawFn) -> list[Lead]:
    numbers = draw(st.lists(st.integers(0, 9_999_999), min_size=1, max_size=6, unique=True))
    return [
        Lead(
            phone=Phone(f"+6012{n:07}"),
            name=draw(_TEXT),
            niches=niche_names(draw(st.lists(_TEXT, max_size=3))),
            target_status=draw(st.sampled_from(LeadStatus)),
            journey=draw(_TEXT),
            time_zone=draw(st.sampled_from([None, "UTC", "Asia/Kuala_Lumpur", "America/Argentina/Buenos_Aires"])),
            consent=draw(st.sampled_from(Consent)),
            attributes=draw(st.dictionaries(st.sampled_from(_KEYS), _TEXT.filter(bool), max_size=4)),
        )
        for n in numbers
    ]


def _parsed(path: Path) -> list[Lead | None]:
    with open_lead_file(path) as file:
        parser = RowParser(file.headings, "MY")
        rows = list(file.rows())
    assert all(isinstance(row, Row) for row in rows), rows
    return [parser.parse(row.cells) for row in rows if isinstance(row, Row)]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_leads())
def test_f28_any_lead_written_to_a_file_is_read_back_exactly(tmp_path: Path, people: list[Lead]) -> None:
    keys = sorted({key for lead in people for key in lead.attributes})
    path = tmp_path / "leads.csv"
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([header(keys), *(cells(lead, keys) for lead in people)])
    assert _parsed(path) == people


@given(_leads())
def test_s22_no_cell_of_an_export_can_run_in_a_spreadsheet(people: list[Lead]) -> None:
    keys = sorted({key for lead in people for key in lead.attributes})
    for cell in [*header(keys), *(cell for lead in people for cell in cells(lead, keys))]:
        assert cell[:1] not in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


@pytest.fixture
async def device(runtime: Runtime, workspace: WorkspaceId) -> DeviceId:
    return (await add_device(runtime, workspace, "Anna", region="MY")).id


async def _stored(runtime: Runtime, workspace: WorkspaceId, device: DeviceId | None = None) -> list[Lead]:
    async with runtime.db.connection() as connection:
        found = await leads.page_after(connection, workspace, device, after=LeadId(0))
    return [stored.lead for stored in found]


_FILE = '''name,phone,niche,status,notes,tz,consent,City,mobile
"=HYPERLINK(""x"")",0123456781,"b;a",customer,"line one
line two",asia/tokyo,yes,'=Ipoh,"a, ""b"""
@SUM(A1),0123456782,,,-5,,no,,-
''+x,0123456783,,,,,,＝1,
'''


async def test_f28_what_is_exported_and_imported_elsewhere_is_the_same(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    source, copy = tmp_path / "leads.csv", tmp_path / "copy.csv"
    source.write_text(_FILE)
    assert (await import_leads(runtime, workspace, device, source)).added == 3
    assert await export_leads(runtime, workspace, device, copy) == 3
    other = await create_workspace(runtime, "Other", region="DE")
    target = await add_device(runtime, other.id, "Berta")
    report = await import_leads(runtime, other.id, target.id, copy)
    assert (report.added, report.rejected) == (3, 0)
    before = await _stored(runtime, workspace)
    assert [(x.name, x.attributes) for x in before] == [
        ('=HYPERLINK("x")', {"city": "=Ipoh", "mobile": 'a, "b"'}),
        ("@SUM(A1)", {"mobile": "-"}),
        ("'+x", {"city": "＝1"}),
    ]
    assert await _stored(runtime, other.id) == before
    again = await import_leads(runtime, workspace, device, copy)
    assert (again.unchanged, again.rows) == (3, 3)


async def test_a_file_is_marked_as_utf8_private_and_complete_or_not_there(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "leads.csv", tmp_path / "out.csv"
    source.write_text("phone\n0123456789\n")
    await import_leads(runtime, workspace, device, source)
    await export_leads(runtime, workspace, None, out)
    assert out.read_bytes().startswith(b"\xef\xbb\xbfname,phone,")
    assert out.stat().st_mode & 0o777 == 0o600
    before = out.read_bytes()

    def full(*_: object) -> list[str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lead_export, "header", full)
    with pytest.raises(OSError, match="No space"):
        await export_leads(runtime, workspace, None, out)
    assert out.read_bytes() == before
    assert _names(tmp_path) == ["leads.csv", "out.csv"]


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file of this process can grow beyond 4 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_is_told_in_a_sentence_and_leaves_the_old_file(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source, out = tmp_path / "leads.csv", tmp_path / "out.csv"
    source.write_text("phone\n" + "".join(f"+6012{n:07}\n" for n in range(500)))
    out.write_text("old")
    await import_leads(runtime, workspace, device, source)
    request.getfixturevalue("small_disk")
    with pytest.raises(InvalidInput, match="cannot be written: File too large"):
        await export_leads(runtime, workspace, None, out)
    assert out.read_text() == "old"
    assert _names(tmp_path) == ["leads.csv", "out.csv"]


async def test_a_device_file_is_written_to_and_never_replaced(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    link = tmp_path / "nowhere"
    link.symlink_to("/dev/full")
    with pytest.raises(InvalidInput, match="cannot be written: No space left"):
        await export_leads(runtime, workspace, None, link)
    assert link.is_symlink()
    assert link.is_char_device()


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


async def test_a_stream_is_written_page_by_page_with_progress(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    source = tmp_path / "leads.csv"
    source.write_text("phone\n" + "".join(f"+6012{n:07}\n" for n in range(4_500)))
    await import_leads(runtime, workspace, device, source)
    out, seen = io.StringIO(newline=""), list[tuple[int, int]]()
    written = await export_leads(runtime, workspace, device, out, lambda done, total: seen.append((done, total)))
    assert written == 4_500
    assert seen == [(2_000, 4_500), (4_000, 4_500), (4_500, 4_500)]
    lines = out.getvalue().splitlines()
    assert lines[0] == "name,phone,niche,target_status,journey,time_zone,consent"
    assert lines[1:] == [f",'+6012{n:07},,prospect,,," for n in range(4_500)]


async def test_f20_an_export_holds_leads_of_its_workspace_and_device_only(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    second = await add_device(runtime, workspace, "Berta")
    other = await create_workspace(runtime, "Other")
    theirs = await add_device(runtime, other.id, "Anna")
    for number, (where, which) in enumerate(((workspace, device), (workspace, second.id), (other.id, theirs.id))):
        source = tmp_path / f"{number}.csv"
        source.write_text(f"phone,secret{number}\n012345678{number},x\n")
        await import_leads(runtime, where, which, source)

    async def phones(where: WorkspaceId, which: DeviceId | None) -> list[str]:
        out = io.StringIO(newline="")
        await export_leads(runtime, where, which, out)
        assert ("secret2" in out.getvalue()) == (where == other.id)
        return [row["phone"][-1] for row in csv.DictReader(io.StringIO(out.getvalue()))]

    assert await phones(workspace, None) == ["0", "1"]
    assert await phones(workspace, second.id) == ["1"]
    assert await phones(other.id, None) == ["2"]
    with pytest.raises(NotFound):
        await phones(other.id, device)


def test_the_keys_of_these_tests_are_keys() -> None:
    assert [attribute_key(key) for key in _KEYS] == _KEYS
    assert set("".join(_KEYS)) <= set(string.ascii_lowercase + string.digits + "_")


class _Pipe(io.StringIO):
    """A reader who, with the first leads in hand, sees to it that one more is stored."""

    def __init__(self, dsn: str, device: DeviceId) -> None:
        super().__init__()
        self._dsn = dsn
        self._device = device
        self.read_before = 0

    def write(self, text: str) -> int:
        written = super().write(text)
        if not self.read_before and "+60" in text:
            self.read_before = len(self.getvalue())
            asyncio.run(self._add())  # the export writes in a thread of its own
        return written

    async def _add(self) -> None:
        async with Database(self._dsn) as db, db.connection() as connection:
            await connection.execute(
                "INSERT INTO leads (workspace_id, device_id, phone, name) "
                "SELECT workspace_id, id, '+4915112345678', 'Latecomer' FROM devices WHERE id = $1",
                self._device,
            )


async def test_the_first_leads_are_written_before_the_last_are_read(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId
) -> None:
    async with runtime.db.connection() as connection:
        await connection.execute(
            "INSERT INTO leads (workspace_id, device_id, phone) "
            "SELECT $1, $2, '+6012' || lpad(n::text, 7, '0') FROM generate_series(1, 50000) n",
            workspace,
            device,
        )
    pipe = _Pipe(runtime.db.dsn, device)
    assert await export_leads(runtime, workspace, device, pipe) == 50_001
    assert pipe.getvalue().splitlines()[-1].startswith("Latecomer,")
    assert pipe.read_before * 10 < len(pipe.getvalue())


async def test_a_download_is_read_as_it_is_taken(runtime: Runtime, workspace: WorkspaceId, device: DeviceId) -> None:
    async with runtime.db.connection() as connection:
        await connection.execute(
            "INSERT INTO leads (workspace_id, device_id, phone) "
            "SELECT $1, $2, '+6012' || lpad(n::text, 7, '0') FROM generate_series(1, 5000) n",
            workspace,
            device,
        )
    taken = await download_leads(runtime, workspace, LeadFilter(device_id=device), actor="test")
    assert await anext(taken) == b"\xef\xbb\xbfname,phone,niche,target_status,journey,time_zone,consent\r\n"
    first = await anext(taken)
    assert first.count(b"\r\n") == 2_000
    async with runtime.db.connection() as connection:
        await connection.execute(
            "INSERT INTO leads (workspace_id, device_id, phone, name) VALUES ($1, $2, '+4915112345678', 'Latecomer')",
            workspace,
            device,
        )
    rest = [piece async for piece in taken]
    assert [piece.count(b"\r\n") for piece in rest] == [2_000, 1_001]
    assert b"Latecomer,'+4915112345678" in rest[-1]
