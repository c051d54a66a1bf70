"""Importing: what goes in, what is refused, how rows and stored leads merge, and that nothing is half written."""

import asyncio
import csv
from pathlib import Path
from threading import Thread

import pytest

from fleetcast.domain.identifiers import DeviceId, Phone, WorkspaceId
from fleetcast.domain.lead import Consent, LeadStatus, StoredLead
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.queue.nudges import PLANNER, listening
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device
from fleetcast.services.lead_import import import_leads
from fleetcast.services.lead_report import ImportProgress, ImportReport
from fleetcast.services.workspaces import create_workspace
from fleetcast.store import leads
from fleetcast.store.connection import Database
from tests.campaign_scene import Scene


@pytest.fixture
async def device(runtime: Runtime, workspace: WorkspaceId) -> DeviceId:
    return (await add_device(runtime, workspace, "Anna", region="MY")).id


class Desk:
    """Somebody with a folder of files and one device."""

    def __init__(self, runtime: Runtime, workspace: WorkspaceId, device: DeviceId, folder: Path) -> None:
        self.runtime, self.workspace, self.device, self.folder = runtime, workspace, device, folder

    def file(self, text: str | bytes, name: str = "leads.csv") -> Path:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    async def imports(self, text: str | bytes, **options: object) -> ImportReport:
        path = self.file(text)
        report = await import_leads(self.runtime, self.workspace, self.device, path, **options)  # type: ignore[arg-type]
        parts = report.added + report.merged + report.unchanged + report.duplicates + report.rejected
        assert report.rows == parts, report
        return report

    async def lead(self, phone: str) -> StoredLead:
        async with self.runtime.db.connection() as connection:
            found = await leads.get_lead(connection, self.workspace, Phone(phone), device_id=self.device)
        assert found is not None
        return found

    async def count(self) -> int:
        async with self.runtime.db.connection() as connection:
            return await leads.count_leads(connection, self.workspace)

    async def value(self, sql: str, *arguments: object) -> object:
        async with self.runtime.db.connection() as connection:
            return await connection.fetchval(sql, *arguments)


@pytest.fixture
def desk(runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path) -> Desk:
    return Desk(runtime, workspace, device, tmp_path)


async def test_a_file_becomes_leads(desk: Desk) -> None:
    report = await desk.imports(
        "Name,No. Tel,Kategori,target_status,additional_note,Time Zone,Consent,Order No,Bandar\n"
        'Aminah,012-345 6789,"Fitness, retail",customer,likes tea,asia/kuala_lumpur,yes,17,Ipoh\n'
    )
    assert (report.rows, report.added, report.rejected) == (1, 1, 0)
    assert report.columns == {
        "Name": "name",
        "No. Tel": "phone",
        "Kategori": "niche",
        "target_status": "target_status",
        "additional_note": "journey",
        "Time Zone": "time_zone",
        "Consent": "consent",
        "Order No": "order_no",
        "Bandar": "bandar",
    }
    stored = await desk.lead("+60123456789")
    assert stored.lead.name == "Aminah"
    assert stored.lead.niches == ("fitness", "retail")
    assert stored.lead.target_status is LeadStatus.CUSTOMER
    assert stored.lead.journey == "likes tea"
    assert stored.lead.time_zone == "Asia/Kuala_Lumpur"
    assert stored.lead.consent is Consent.GIVEN
    assert stored.consent_source == "file leads.csv"
    assert stored.lead.attributes == {"order_no": "17", "bandar": "Ipoh"}


async def test_numbers_are_read_with_the_devices_country_else_the_workspaces(desk: Desk, tmp_path: Path) -> None:
    german = await add_device(desk.runtime, desk.workspace, "Berta", region="DE")
    plain = await add_device(desk.runtime, desk.workspace, "Carla")
    path = desk.file("phone\n030 1234567\n")
    await import_leads(desk.runtime, desk.workspace, german.id, path)
    assert await desk.value("SELECT array_agg(phone) FROM leads WHERE device_id = $1", german.id) == ["+49301234567"]
    await import_leads(desk.runtime, desk.workspace, plain.id, path)
    assert await desk.value("SELECT array_agg(phone) FROM leads WHERE device_id = $1", plain.id) == ["+60301234567"]


async def test_f06_one_person_written_in_many_ways_is_one_lead(desk: Desk) -> None:
    report = await desk.imports(
        "phone,name\n0123456789,a\n+60123456789,b\n60 12 345 6789,c\n0060-12-3456789,d\n０１２３４５６７８９,\n"
    )
    assert (report.rows, report.added, report.duplicates) == (5, 1, 4)
    assert (await desk.lead("+60123456789")).lead.name == "d"
    again = await desk.imports("phone,name\n(012) 345-6789,d\n")
    assert (again.added, again.merged, again.unchanged) == (0, 0, 1)
    assert await desk.count() == 1


async def test_f28_commas_in_quotes_never_shift_a_column(desk: Desk) -> None:
    await desk.imports('name,niche,phone\n"Lim, Chee ""Keong""","a,b;c|d",0123456789\n')
    lead = (await desk.lead("+60123456789")).lead
    assert lead.name == 'Lim, Chee "Keong"'
    assert lead.niches == ("a", "b", "c", "d")


async def test_within_a_file_a_later_row_wins_field_by_field(desk: Desk) -> None:
    report = await desk.imports(
        "phone,name,niche,status,notes,tz,consent,city,size\n"
        "0123456789,Old,Zebra,customer,first,UTC,yes,Ipoh,M\n"
        "0198765432,Other,,,,,,,\n"
        "0123456789,New,apple,,,,,,L\n"
        "0123456789,,ZEBRA,,,,,Melaka,\n"
    )
    assert (report.added, report.duplicates) == (2, 2)
    lead = (await desk.lead("+60123456789")).lead
    assert (lead.name, lead.journey, lead.time_zone) == ("New", "first", "UTC")
    assert lead.niches == ("apple", "zebra")
    assert lead.target_status is LeadStatus.CUSTOMER
    assert lead.consent is Consent.GIVEN
    assert lead.attributes == {"city": "Melaka", "size": "L"}


async def test_a_stored_lead_keeps_what_the_file_does_not_say(desk: Desk) -> None:
    await desk.imports("phone,name,niche,status,notes,tz,city,size\n0123456789,Old,zebra,customer,first,UTC,Ipoh,M\n")
    report = await desk.imports("phone,name,niche,status,notes,tz,city,colour\n0123456789,New,apple,,,,Melaka,red\n")
    assert (report.added, report.merged) == (0, 1)
    lead = (await desk.lead("+60123456789")).lead
    assert (lead.name, lead.journey, lead.time_zone) == ("New", "first", "UTC")
    assert lead.niches == ("apple", "zebra")
    assert lead.target_status is LeadStatus.CUSTOMER
    assert lead.attributes == {"city": "Melaka", "size": "M", "colour": "red"}
    await desk.imports("phone,status\n0123456789,prospect\n")
    assert (await desk.lead("+60123456789")).lead.target_status is LeadStatus.PROSPECT


@pytest.mark.parametrize("source", [None, "counter form, May 2026"])
async def test_an_import_never_lifts_a_refusal(desk: Desk, source: str | None) -> None:
    await desk.imports("phone,consent\n0123456789,no\n")
    await desk.imports("phone,consent\n0123456789,yes\n", consent_source=source)
    assert (await desk.lead("+60123456789")).lead.consent is Consent.REFUSED
    await desk.imports("phone,consent\n0198765432,no\n0198765432,yes\n", consent_source=source)
    assert (await desk.lead("+60198765432")).lead.consent is Consent.REFUSED


async def test_a_refusal_in_a_file_takes_a_consent_back(desk: Desk) -> None:
    await desk.imports("phone,consent\n0123456789,yes\n")
    await desk.imports("phone,consent\n0123456789,no\n")
    stored = await desk.lead("+60123456789")
    assert stored.lead.consent is Consent.REFUSED


async def test_a_stated_source_fills_unknown_consent_and_leaves_an_older_record_alone(desk: Desk) -> None:
    await desk.imports("phone,consent\n0123456789,yes\n0198765432,\n")
    first = await desk.value("SELECT consent_at FROM leads WHERE phone = '+60123456789'")
    report = await desk.imports("phone\n0123456789\n0198765432\n", consent_source="fair in June")
    assert (report.merged, report.unchanged) == (1, 1)
    assert (await desk.lead("+60123456789")).consent_source == "file leads.csv"
    assert await desk.value("SELECT consent_at FROM leads WHERE phone = '+60123456789'") == first
    filled = await desk.lead("+60198765432")
    assert (filled.lead.consent, filled.consent_source) == (Consent.GIVEN, "fair in June")


async def test_bad_rows_are_named_with_line_column_and_reason_and_the_good_ones_go_in(desk: Desk) -> None:
    report = await desk.imports(
        "name,phone,status,tz,consent,niche\n"
        "ok,0123456789,,,,\n"
        '"two\nlines",0123,,,,\n'
        "x,0123456780,buyer,,,\n"
        "x,0123456780,,Mars/Base,,\n"
        "x,0123456780,,,maybe,\n"
        "x,0123456780,,,,,extra\n"
        'x,"0123456780,,,,\n'
        "x,,,,,\n"
        ",,,,,\n"
        "\n"
        "nul\0,0123456780,,,,\n"
        f"x,0123456780,,,,{'n' * 101}\n"
        "last,0123456781,,,,\n"
    )
    assert (report.rows, report.added, report.rejected) == (11, 2, 9)
    assert [(p.line, p.column) for p in report.problems] == [
        (3, "phone"),
        (5, "status"),
        (6, "tz"),
        (7, "consent"),
        (8, ""),
        (9, ""),
        (10, "phone"),
        (13, "name"),
        (14, "niche"),
    ]
    assert report.problems[0].reason == "'0123' is not a phone number in Malaysia (MY): it is too short"
    assert "neither prospect nor customer" in report.problems[1].reason
    assert "quote" in report.problems[5].reason


async def test_a_dry_run_foresees_exactly_what_the_import_does_and_writes_nothing(desk: Desk) -> None:
    await desk.imports("phone,name,niche\n0123456781,A,x\n0123456782,B,x\n0123456783,C,\n")
    before = await desk.value("SELECT array_agg(l::text ORDER BY id) FROM leads l")
    version = await desk.value("SELECT leads_version FROM devices WHERE id = $1", desk.device)
    text = (
        "phone,name,niche,age\n0123456781,A,X\n0123456782,B,y,\n0123456783,,,9\n"
        "0123456784,D,,\n0123456784,E,,\nbad,,,\n"
    )
    foreseen = await desk.imports(text, dry_run=True)
    assert await desk.value("SELECT array_agg(l::text ORDER BY id) FROM leads l") == before
    assert await desk.value("SELECT leads_version FROM devices WHERE id = $1", desk.device) == version
    assert await desk.value("SELECT attribute_keys FROM workspaces WHERE id = $1", desk.workspace) == []
    assert foreseen.dry_run
    done = await desk.imports(text)
    assert (done.added, done.merged, done.unchanged, done.duplicates, done.rejected) == (1, 2, 1, 1, 1)
    for name in ("rows", "added", "merged", "unchanged", "duplicates", "rejected", "problems"):
        assert getattr(foreseen, name) == getattr(done, name), name


async def test_texts_may_name_every_attribute_that_some_lead_has(desk: Desk) -> None:
    await desk.imports("phone,City,empty\n0123456789,Ipoh,\n")
    await desk.imports("phone,Age\n0123456789,7\n")
    assert await desk.value("SELECT attribute_keys FROM workspaces WHERE id = $1", desk.workspace) == ["age", "city"]


async def test_a_workspace_cannot_get_more_attributes_than_a_file_can_carry(desk: Desk) -> None:
    def columns(first: int, many: int) -> str:
        keys = [f"k{i}" for i in range(first, first + many)]
        return ",".join(["phone", *keys]) + "\n" + ",".join(["0123456789", *(["1"] * many)]) + "\n"

    await desk.imports(columns(0, 193))
    with pytest.raises(InvalidInput, match="194 different attributes"):
        await desk.imports(columns(193, 1))
    with pytest.raises(InvalidInput, match="at most 200"):
        await desk.imports(columns(0, 200))


async def test_an_import_says_that_the_devices_leads_changed_and_wakes_the_planner(desk: Desk) -> None:
    async with listening(desk.runtime.redis, desk.runtime.keys, PLANNER) as ears:
        await ears.next(5)
        await desk.imports("phone\n0123456789\n")
        heard = [await ears.next(5) for _ in range(2)]  # the first answer is the subscription's own
    assert {"campaigns": []} in heard
    assert await desk.value("SELECT leads_version FROM devices WHERE id = $1", desk.device) == 1


async def test_a_person_on_two_devices_is_marked_on_both(desk: Desk) -> None:
    other = await add_device(desk.runtime, desk.workspace, "Berta")
    stranger = await create_workspace(desk.runtime, "Strangers")
    theirs = await add_device(desk.runtime, stranger.id, "Anna")
    await import_leads(desk.runtime, stranger.id, theirs.id, desk.file("phone\n0123456781\n"))
    await desk.imports("phone\n0123456781\n0123456782\n")
    assert await desk.value("SELECT count(*) FROM leads WHERE shared") == 0
    await import_leads(desk.runtime, desk.workspace, other.id, desk.file("phone\n0123456782\n0123456783\n"))
    assert await desk.value(
        "SELECT array_agg(phone || ' ' || device_id ORDER BY device_id) FROM leads WHERE shared"
    ) == [f"+60123456782 {desk.device}", f"+60123456782 {other.id}"]


async def test_f20_a_device_of_another_workspace_is_not_found_and_nothing_is_written(desk: Desk) -> None:
    stranger = await create_workspace(desk.runtime, "Strangers")
    with pytest.raises(NotFound):
        await import_leads(desk.runtime, stranger.id, desk.device, desk.file("phone\n0123456789\n"))
    assert await desk.value("SELECT count(*) FROM leads") == 0


async def test_f20_the_same_person_in_two_workspaces_is_two_leads_that_never_touch(desk: Desk) -> None:
    stranger = await create_workspace(desk.runtime, "Strangers")
    theirs = await add_device(desk.runtime, stranger.id, "Anna")
    await desk.imports("phone,name,city\n0123456789,Ours,Ipoh\n")
    await import_leads(desk.runtime, stranger.id, theirs.id, desk.file("phone,name,age\n0123456789,Theirs,4\n"))
    assert (await desk.lead("+60123456789")).lead.name == "Ours"
    async with desk.runtime.db.connection() as connection:
        found = await leads.get_lead(connection, stranger.id, Phone("+60123456789"))
        assert found is not None
        assert found.lead.name == "Theirs"
        assert await leads.attribute_keys(connection, stranger.id) == ["age"]
        assert await leads.count_leads(connection, desk.workspace) == 1
        assert await leads.count_leads(connection, stranger.id, desk.device) == 0


async def test_a_device_that_is_removed_while_the_file_is_read_gets_nothing(desk: Desk) -> None:
    path = desk.file("phone\n0123456789\n")

    async def remove() -> None:
        async with Database(desk.runtime.db.dsn) as db, db.connection() as connection:
            await connection.execute("UPDATE devices SET deleted_at = fleetcast_now() WHERE id = $1", desk.device)

    def meanwhile(progress: ImportProgress) -> None:
        if progress.merging:
            thread = Thread(target=lambda: asyncio.run(remove()))
            thread.start()
            thread.join()

    with pytest.raises(NotFound, match="was removed while"):
        await import_leads(desk.runtime, desk.workspace, desk.device, path, progress=meanwhile)
    assert await desk.count() == 0


async def test_a_failure_in_the_merge_leaves_no_row_behind(desk: Desk) -> None:
    async with desk.runtime.db.connection() as connection:
        await connection.execute(
            "CREATE FUNCTION refuse_last() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN IF NEW.phone = '+60123456783' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$"
        )
        await connection.execute("CREATE TRIGGER t BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION refuse_last()")
    with pytest.raises(Exception, match="no"):
        await desk.imports("phone,city\n0123456781,x\n0123456782,x\n0123456783,x\n")
    assert await desk.count() == 0
    assert await desk.value("SELECT attribute_keys FROM workspaces WHERE id = $1", desk.workspace) == []
    assert await desk.value("SELECT leads_version FROM devices WHERE id = $1", desk.device) == 0


async def test_rejected_rows_are_written_guarded_and_go_in_once_corrected(desk: Desk) -> None:
    out = desk.folder / "rejected.csv"
    report = await desk.imports(
        "name;phone;city\n=1+1;012;'=x\nok;0123456789;\n\"open;0123456781;a\n", rejected_path=out
    )
    assert report.rejected == 2
    with out.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.reader(lines))
    assert rows[0] == ["rejected_line", "rejected_column", "rejected_reason", "name", "phone", "city"]
    assert rows[1][:2] == ["2", "phone"]
    assert rows[1][3:] == ["'=1+1", "012", "'=x"]
    assert rows[2] == ["4", "", report.problems[1].reason, '"open;0123456781;a']
    corrected = out.read_text("utf-8-sig").splitlines()[:2]
    await desk.imports("\n".join(corrected).replace(",012,", ",0123456782,"))
    lead = (await desk.lead("+60123456782")).lead
    assert (lead.name, lead.attributes) == ("=1+1", {"city": "=x"})


async def test_a_report_file_without_rejected_rows_is_not_left_behind(desk: Desk) -> None:
    out = desk.folder / "rejected.csv"
    await desk.imports("phone\n0123456789\n", rejected_path=out)
    assert not out.exists()
    with pytest.raises(InvalidInput, match="name another one"):
        await desk.imports("phone\n0123456789\n", rejected_path=desk.folder / "leads.csv")
    with pytest.raises(InvalidInput, match="cannot be written"):
        await desk.imports("phone\n0123456789\n", rejected_path=desk.folder / "no" / "rejected.csv")


async def test_a_full_disk_for_rejected_rows_is_told_and_nothing_is_imported(desk: Desk) -> None:
    out = desk.folder / "rejected.csv"
    out.symlink_to("/dev/full")
    with pytest.raises(InvalidInput, match="cannot be written: No space left"):
        await desk.imports("phone\n0123456789\n" + "x\n" * 9_000, rejected_path=out)
    assert await desk.count() == 0
    assert await asyncio.to_thread(Path("/dev/full").is_char_device)


async def test_a_report_holds_the_first_thousand_problems_and_counts_all(desk: Desk) -> None:
    out = desk.folder / "rejected.csv"
    report = await desk.imports("phone\n" + "x\n" * 1500, rejected_path=out)
    assert (report.rejected, len(report.problems)) == (1500, 1000)
    assert len(out.read_text("utf-8-sig").splitlines()) == 1501
    assert await desk.count() == 0


async def test_progress_reaches_the_end_of_the_file(desk: Desk) -> None:
    seen: list[ImportProgress] = []
    text = "phone\n" + "".join(f"+6012{i:07}\n" for i in range(12_000))
    report = await desk.imports(text, progress=seen.append)
    assert report.added == 12_000
    assert len(seen) == 4
    assert [p.rows for p in seen] == [5_000, 10_000, 12_000, 12_000]
    assert (seen[-1].bytes_read, seen[-1].merging) == (seen[-1].size, True)


async def test_a_whole_file_of_one_person_is_one_lead(desk: Desk) -> None:
    text = "phone,name,niche,n\n" + "".join(f"0123456789,N{i},niche {i % 7},{i}\n" for i in range(11_000))
    report = await desk.imports(text)
    assert (report.added, report.duplicates) == (1, 10_999)
    lead = (await desk.lead("+60123456789")).lead
    assert (lead.name, lead.attributes, len(lead.niches)) == ("N10999", {"n": "10999"}, 7)


async def test_an_import_is_audited_with_what_was_attested(desk: Desk) -> None:
    await desk.imports("phone\n0123456789\n", consent_source="fair in June", actor="cli:anna")
    async with desk.runtime.db.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM audit WHERE action = 'leads.import'")
    assert row is not None
    assert (row["workspace_id"], row["actor"], row["subject"]) == (desk.workspace, "cli:anna", "Anna")
    assert row["after"]["consent_source"] == "fair in June"
    assert row["after"]["added"] == 1


async def test_who_refuses_in_a_file_gets_nothing_that_waits(desk: Desk) -> None:
    scene = Scene(desk.runtime, desk.workspace)
    other = await scene.add_device()
    await scene.add_lead(other, "+60123456781")
    await scene.add_lead(other, "+60123456782")
    await scene.launched()
    report = await desk.imports("phone,consent\n0123456781,no\n0123456783,yes\n")
    assert (report.added, report.skipped) == (2, 1)
    rows = await scene.fetch("SELECT recipient, status::text, reason FROM broadcast_messages ORDER BY recipient")
    assert [tuple(row) for row in rows] == [
        ("+60123456781", "skipped", "opt_out"),
        ("+60123456782", "pending", None),
    ]
    [entry] = await scene.fetch("SELECT recipient, source, note FROM suppressions")
    assert tuple(entry) == ("+60123456781", "import", "file leads.csv")


@pytest.mark.parametrize("how", [{"dry_run": True}, {"all_or_nothing": True}])
async def test_a_file_that_is_not_taken_suppresses_nobody(desk: Desk, how: dict[str, bool]) -> None:
    await desk.imports("phone,consent\n0123456781,no\nnone,no\n", **how)
    assert await desk.value("SELECT count(*) FROM suppressions") == 0


async def test_a_long_list_of_refusals_is_taken_whole(desk: Desk) -> None:
    rows = "".join(f"012{n:07},no\n" for n in range(2_500))
    report = await desk.imports(f"phone,consent\n{rows}")
    assert report.added == 2_500
    assert await desk.value("SELECT count(*) FROM suppressions WHERE source = 'import'") == 2_500


async def test_a_blank_consent_source_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="where these people agreed"):
        await desk.imports("phone\n0123456789\n", consent_source=" ")


async def test_a_mapping_decides_which_column_is_what(desk: Desk) -> None:
    report = await desk.imports(
        "Fon;Rufname;Intern\n0123456789;Anna;x\n", mapping={"Fon": "phone", "Rufname": "name", "Intern": "-"}
    )
    assert report.columns == {"Fon": "phone", "Rufname": "name", "Intern": ""}
    lead = (await desk.lead("+60123456789")).lead
    assert (lead.name, lead.attributes) == ("Anna", {})


async def test_all_or_nothing_writes_nothing_when_a_single_row_is_rejected(desk: Desk) -> None:
    out = desk.folder / "rejected.csv"
    report = await desk.imports("phone,city\n0123456781,a\nx,b\n", all_or_nothing=True, rejected_path=out)
    assert (report.refused, report.written, report.added, report.rejected) == (True, False, 1, 1)
    assert report.problems[0].line == 3
    assert len(out.read_text("utf-8-sig").splitlines()) == 2
    assert await desk.count() == 0
    assert await desk.value("SELECT count(*) FROM audit WHERE action = 'leads.import'") == 0
    whole = await desk.imports("phone,city\n0123456781,a\n", all_or_nothing=True)
    assert (whole.refused, whole.added) == (False, 1)
    assert await desk.count() == 1
