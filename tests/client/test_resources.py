"""Every resource of the client, against the real application."""

import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetcast.client import Client, Conflict, Device, Forbidden, InvalidInput, NewLead, NotFound, Unauthenticated
from fleetcast.domain.access import Role
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.transports.simulator.control import SimulatorControl
from tests.api import tenants
from tests.client.stage import Network, Time, client, lost_after, says
from tests.domain.test_media import picture
from tests.running import running_fleet, until

PNG = picture("PNG")
PEOPLE = "name,phone,niche\nAda,+60123456701,fitness\nBen,+60123456702,fitness\nCai,nobody,retail\n"


@pytest.fixture
async def device(fleet: Client) -> Device:
    return await fleet.devices.create("Shop", min_delay=0, max_delay=0)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE, encoding="utf-8")
    return path


def phones(number: int, first: int = 0) -> list[NewLead]:
    """So many leads."""
    return [NewLead(phone=f"+6012{3_000_000 + first + n}", name=f"P{n}") for n in range(number)]


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


# --- leads -----------------------------------------------------------------------------------------------------------


async def test_leads_are_added_found_changed_and_removed(fleet: Client, device: Device) -> None:
    new = NewLead(phone="+60123456789", name="Ada", niches=["Fitness"], attributes={"city": "Ipoh"}, consent="given")
    done = await fleet.leads.create_many(device.id, [new, new], consent_source="at the counter")
    assert (done.added, done.duplicates) == (1, 1)
    [lead] = [each async for each in fleet.leads.list(device_id=device.id, niche="fitness", consent="given")]
    assert (lead.name, lead.niches, lead.attributes, lead.consent_source) == (
        "Ada",
        ("fitness",),
        {"city": "Ipoh"},
        "at the counter",
    )
    changed = await fleet.leads.change(lead.id, name="Ada L.", attributes={"city": None, "shop": "KL"})
    assert (changed.name, changed.attributes, changed.niches) == ("Ada L.", {"shop": "KL"}, ("fitness",))
    refused = await fleet.leads.change(lead.id, consent={"state": "refused", "source": "called us"})
    assert (refused.consent, refused.suppressed) == ("refused", True)
    await fleet.leads.remove(lead.id)
    with pytest.raises(NotFound):
        await fleet.leads.show(lead.id)


async def test_many_leads_go_a_thousand_at_a_time_and_a_refusal_counts_over_all_of_them(
    fleet: Client, network: Network, device: Device
) -> None:
    network.requests.clear()
    network.script = [lost_after]
    done = await fleet.leads.create_many(device.id, iter(phones(2_100)))
    assert done.added == 2_100
    assert len(network.requests) == 4, "three requests, one of them twice"
    wrong = [*phones(1_500, 5_000), NewLead(phone="nobody")]
    with pytest.raises(InvalidInput) as refused:
        await fleet.leads.create_many(device.id, wrong)
    assert [error.field for error in refused.value.errors] == ["leads[1500].phone"]


async def test_leads_are_written_to_a_file_that_can_be_imported_again(
    fleet: Client, network: Network, device: Device, tmp_path: Path
) -> None:
    await fleet.leads.create_many(device.id, phones(50))
    network.script = [says(503, {}), lost_after]
    size = await fleet.leads.export(tmp_path / "leads.csv", device_id=device.id)
    assert names(tmp_path) == ["leads.csv"], "nothing half is left"
    assert (tmp_path / "leads.csv").stat().st_size == size
    other = await fleet.devices.create("Other")
    ended = await fleet.imports.wait((await fleet.imports.upload(other.id, tmp_path / "leads.csv")).id)
    assert ended.counts is not None
    assert ended.counts.added == 50


async def test_a_download_that_fails_leaves_the_file_that_was_there(
    fleet: Client, network: Network, tmp_path: Path
) -> None:
    target = tmp_path / "leads.csv"
    target.write_text("of last week")
    network.script = [says(403, {"detail": "No."})]
    with pytest.raises(Forbidden):
        await fleet.leads.export(target)
    assert target.read_text() == "of last week"
    assert names(tmp_path) == ["leads.csv"]


# --- imports ---------------------------------------------------------------------------------------------------------


async def test_a_file_is_looked_at_imported_and_its_refused_rows_are_fetched(
    fleet: Client, device: Device, people: Path, tmp_path: Path
) -> None:
    preview = await fleet.imports.preview(device.id, people, rows=3)
    assert [row.lead.name if row.lead else row.problem for row in preview.rows][:2] == ["Ada", "Ben"]
    assert preview.rows[2].problem is not None
    seen: list[object] = []
    started = await fleet.imports.upload(device.id, people, consent="at the counter")
    ended = await fleet.imports.wait(started.id, progress=seen.append)
    assert started.filename == "people.csv"
    assert seen[-1] == ended
    assert (ended.status, ended.has_ended) == ("done", True)
    assert ended.counts is not None
    assert (ended.counts.added, ended.counts.rejected) == (2, 1)
    assert [(problem.line, problem.column) for problem in ended.problems] == [(4, "phone")]
    await fleet.imports.save_rejected(started.id, tmp_path / "rejected.csv")
    assert "nobody" in (tmp_path / "rejected.csv").read_text(encoding="utf-8-sig")
    assert [each.id async for each in fleet.imports.list(status="done")] == [started.id]
    with pytest.raises(Conflict):
        await fleet.imports.discard(started.id)


async def test_an_upload_whose_answer_was_lost_is_one_import(
    fleet: Client, network: Network, device: Device, people: Path
) -> None:
    network.script = [lost_after, says(502, "<html>")]
    started = await fleet.imports.upload(device.id, people, columns={"name": "name"}, all_or_nothing=True)
    ended = await fleet.imports.wait(started.id)
    assert (ended.status, ended.counts) == ("failed", None)
    assert ended.error
    assert len([each async for each in fleet.imports.list()]) == 1


async def test_a_large_file_is_read_from_disk_piece_by_piece(
    key: str, device: Device, network: Network, time: Time, tmp_path: Path
) -> None:
    large = tmp_path / "large.csv"
    with large.open("wb") as file:
        file.truncate(200_000_000)
    network.script = [says(413, {"detail": "Too large."})]
    tracemalloc.start()
    try:
        async with client(network, key, time) as fleet:
            with pytest.raises(InvalidInput):
                await fleet.imports.upload(device.id, large)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000
    sent = network.requests[-1]
    assert sent.headers["Content-Length"] == "200000000"
    assert sum([len(piece) async for piece in sent.stream]) == 200_000_000  # type: ignore[union-attr, misc]


async def test_what_cannot_be_read_from_disk_is_said_before_anything_is_asked(
    fleet: Client, network: Network, device: Device, tmp_path: Path
) -> None:
    network.requests.clear()
    with pytest.raises(FileNotFoundError):
        await fleet.imports.upload(device.id, tmp_path / "nothing.csv")
    assert network.requests == []


# --- media, suppressions ---------------------------------------------------------------------------------------------


async def test_media_are_stored_once_and_come_back_byte_by_byte(fleet: Client, tmp_path: Path) -> None:
    path = tmp_path / "offer.png"
    path.write_bytes(PNG)
    stored = await fleet.media.upload(path)
    assert (stored.mime, stored.filename, stored.size) == ("image/png", "offer.png", len(PNG))
    assert (await fleet.media.upload(path)).sha256 == stored.sha256
    assert await fleet.media.show(stored.sha256) == stored
    assert [each.sha256 async for each in fleet.media.list()] == [stored.sha256]
    assert await fleet.media.save(stored.sha256, tmp_path / "again.png") == stored.size
    assert (tmp_path / "again.png").read_bytes() == PNG
    with pytest.raises(InvalidInput):
        await fleet.media.fetch("http://127.0.0.1/offer.png")


async def test_people_are_put_on_the_suppression_list_and_lifted(fleet: Client) -> None:
    done = await fleet.suppressions.add(["+60123456789", "012-345 6780"], "asked for it")
    assert set(done.added) == {"+60123456789", "+60123456780"}
    assert [each.recipient async for each in fleet.suppressions.list(limit=1)] == sorted(done.added)
    assert (await fleet.suppressions.show("+60123456789")).note == "asked for it"
    assert await fleet.suppressions.lift("+60123456789", "asked again") == "+60123456789"
    with pytest.raises(NotFound):
        await fleet.suppressions.show("+60123456789")
    with pytest.raises(InvalidInput) as refused:
        await fleet.suppressions.add(["nobody"])
    assert [error.field for error in refused.value.errors] == ["numbers[0]"]


# --- campaigns and messages ------------------------------------------------------------------------------------------


async def test_a_campaign_is_written_looked_at_changed_and_ended(fleet: Client, device: Device) -> None:
    await fleet.leads.create_many(device.id, phones(3))
    made = await fleet.campaigns.create("Spring", "Hello {{ name }}", deadline="36h", device_ids=[device.id])
    assert (made.status, made.body, made.device_ids) == ("draft", "Hello {{ name }}", (device.id,))
    audience = await fleet.campaigns.audience(made.id)
    assert (audience.recipients, audience.by_device, audience.sample) == (3, {"Shop": 3}, "Hello P0")
    assert (await fleet.campaigns.change(made.id, title="Summer", niches=[])).title == "Summer"
    copy = await fleet.campaigns.clone(made.id)
    assert copy.id != made.id
    later = f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d %H:%M}"
    await fleet.campaigns.change(copy.id, schedule=later, title="Later")
    assert (await fleet.campaigns.launch(copy.id)).status == "scheduled"
    assert (await fleet.campaigns.withdraw(copy.id)).status == "draft"
    assert (await fleet.campaigns.launch(made.id)).status == "running"
    paused = await fleet.campaigns.pause(made.id, "prices were wrong")
    assert (paused.status, paused.paused_reason) == ("paused", "prices were wrong")
    assert (await fleet.campaigns.resume(made.id)).status == "running"
    cancelled = await fleet.campaigns.cancel(made.id)
    assert cancelled.has_ended
    assert await fleet.campaigns.wait(made.id) == await fleet.campaigns.show(made.id)
    assert [each.title async for each in fleet.campaigns.list(status="draft")] == ["Later"]
    with pytest.raises(Conflict):
        await fleet.campaigns.retry(made.id)
    with pytest.raises(InvalidInput) as refused:
        await fleet.campaigns.create("Broken", "Hello {{ name")
    assert refused.value.errors[0].line == 1


async def test_what_was_sent_is_told_in_counts_rows_and_reports(
    runtime: Runtime, network: Network, tmp_path: Path
) -> None:
    async with running_fleet(runtime, tmp_path) as running:
        token = await tenants.key(runtime, running.workspace.id)
        device = await running.device()
        async with Client(tenants.BASE, token, transport=network) as fleet:
            await fleet.leads.create_many(device.id, [NewLead(phone=f"+6012345670{n}", name="Ada") for n in range(4)])
            await fleet.suppressions.add(["+60123456700"])
            campaign = await fleet.campaigns.create("Spring", "Hello {{ name }}")
            await fleet.campaigns.launch(campaign.id)
            seen = []
            ended = await fleet.campaigns.wait(campaign.id, progress=lambda c: seen.append(c.status), every=0.05)
            assert (ended.status, ended.counts.by_status) == ("finished", {"sent": 3})
            assert seen[-1] == "finished"
            rows = [row async for row in fleet.messages.list(campaign_id=campaign.id, limit=2)]
            assert [row.status for row in rows] == ["sent"] * 3
            story = await fleet.messages.show(rows[0].id)
            assert (story.message.id, len(story.attempts), story.timeline[0].what) == (rows[0].id, 1, "planned")
            assert (await fleet.reports.campaign(campaign.id)).counts.planned == 3
            [part] = await fleet.reports.campaign_devices(campaign.id)
            assert (part.device, part.counts.by_status) == (device.name, {"sent": 3})
            assert (await fleet.reports.overview()).fleet.total == 1
            skipped = await fleet.messages.send(device.id, "+60123456700", "Hello")
            assert (skipped.status, skipped.reason) == ("skipped", "opt_out")
            assert [f.reason for f in await fleet.reports.failures()] == ["opt_out"]
            assert [m async for m in fleet.messages.in_doubt()] == []
            assert await fleet.campaigns.retry(campaign.id) == 0


async def test_a_message_is_sent_once_whatever_is_lost(
    fleet: Client, network: Network, device: Device, tmp_path: Path
) -> None:
    network.script = [lost_after, lost_after]
    sent = await fleet.messages.send(device.id, "+60123456789", "Your table is booked.", expires_after="2h")
    size = await fleet.messages.export(tmp_path / "messages.csv", device_id=device.id, status="pending")
    assert (tmp_path / "messages.csv").stat().st_size == size
    assert (tmp_path / "messages.csv").read_text(encoding="utf-8-sig").count("\n") == 2
    [row] = [row async for row in fleet.messages.list(device_id=device.id)]
    assert (row.id, row.campaign_id, row.recipient) == (sent.id, None, "+60123456789")
    assert (await fleet.reports.single_sends(device_id=device.id)).planned == 1
    now = datetime.now(UTC)
    assert [m.id async for m in fleet.messages.list(since=now - timedelta(hours=1), until=now + timedelta(hours=1))]
    for decide in (fleet.messages.confirm_arrived, fleet.messages.give_up, fleet.messages.resend):
        with pytest.raises((Conflict, InvalidInput, NotFound)):
            await decide([sent.id])
    with pytest.raises((Conflict, InvalidInput, NotFound)):
        await fleet.campaigns.retry_unconfirmed(1, [sent.id])


# --- linked to phones ------------------------------------------------------------------------------------------------


async def test_a_device_is_paired_sends_and_is_logged_out(runtime: Runtime, network: Network, tmp_path: Path) -> None:
    async with running_fleet(runtime, tmp_path) as running:
        token = await tenants.key(runtime, running.workspace.id)
        async with Client(tenants.BASE, token, transport=network) as fleet:
            device = await fleet.devices.create("Shop", min_delay=0, max_delay=0, pair_first=True)
            for phone in ("+60123456789", None):
                assert (await fleet.devices.pair(device.id, phone=phone)).phone == phone

                async def shows_a_code() -> bool:
                    return (await fleet.devices.pairing(device.id)).code is not None

                await until(shows_a_code)
                code = (await fleet.devices.pairing(device.id)).code
                assert code is not None
                assert code.text not in repr(code)
                async with SimulatorControl(runtime.simulator_socket) as simulator:
                    await simulator.take_code(code.text)

                async def is_online() -> bool:
                    return (await fleet.devices.show(device.id)).is_ready

                await until(is_online)
                left = await fleet.devices.log_out(device.id)
                assert (left.device.state, left.waiting) == ("logged_out", 0)
            await fleet.devices.pair(device.id)
            await fleet.devices.cancel_pairing(device.id)
            assert (await fleet.devices.pairing(device.id)).state == "logged_out"


# --- who may come in -------------------------------------------------------------------------------------------------


async def test_keys_are_made_shown_once_and_revoked(fleet: Client, network: Network, device: Device) -> None:
    made = await fleet.keys.create("counter", ["read", "send"], device_id=device.id, days=3)
    assert made.token not in repr(made)
    assert made.token not in repr(made.key)
    assert made.key in [key async for key in fleet.keys.list()]
    async with client(network, made.token) as counter:
        me = await counter.workspace.me()
        assert (me.scopes, me.key and me.key.device_id) == (("read", "send"), device.id)
        with pytest.raises(Forbidden):
            await counter.keys.create("more", ["read"])
        await fleet.keys.revoke(made.key.id)
        with pytest.raises(Unauthenticated):
            await counter.workspace.me()
    assert (await fleet.keys.show(made.key.id)).revoked_at is not None


async def test_people_are_invited_seen_and_taken_out(fleet: Client, runtime: Runtime, workspace: WorkspaceId) -> None:
    invited = await fleet.invitations.create("ben@example.org", "viewer")
    assert invited.link.rpartition("/")[2] not in repr(invited)
    assert [i.email async for i in fleet.invitations.list()] == ["ben@example.org"]
    assert await fleet.invitations.show(invited.invitation.id) == invited.invitation
    await fleet.invitations.withdraw(invited.invitation.id)
    await tenants.person(runtime, workspace)
    viewer = await tenants.person(runtime, workspace, Role.VIEWER)
    assert viewer.email in [m.email async for m in fleet.members.list()]
    assert (await fleet.members.change(viewer.user_id, "operator", revoke_keys=True)).role == "operator"
    assert (await fleet.members.show(viewer.user_id)).role == "operator"
    await fleet.members.remove(viewer.user_id, revoke_keys=True)
    with pytest.raises(NotFound):
        await fleet.members.show(viewer.user_id)


async def test_the_workspace_is_changed_and_the_log_says_by_whom(fleet: Client) -> None:
    changed = await fleet.workspace.change(time_zone="Asia/Kuala_Lumpur")
    assert changed.time_zone == (await fleet.workspace.show()).time_zone == "Asia/Kuala_Lumpur"
    [entry] = [e async for e in fleet.audit.list(action="workspace.", since=datetime.now(UTC) - timedelta(hours=1))]
    me = await fleet.workspace.me()
    assert (entry.actor, entry.after) == (me.actor, {"time_zone": "Asia/Kuala_Lumpur"})
