"""What a form shows while it is filled in: exact where that is quick, an estimate that says so, each part by itself."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetcast.domain.identifiers import CampaignId, LeadId
from fleetcast.runtime import Runtime
from fleetcast.services import audience_look, campaigns
from fleetcast.services.audience import preview_audience
from fleetcast.services.audience_look import AudienceLook, LeadCounts
from fleetcast.services.drafting import DraftLook, known_niches, look_at_campaign_draft, look_at_draft
from fleetcast.services.workspaces import create_workspace
from fleetcast.store import audience_sample
from tests.campaign_scene import Scene


@pytest.fixture
async def scene(runtime: Runtime) -> Scene:
    return Scene(runtime, (await create_workspace(runtime, "Shop", time_zone="Asia/Kuala_Lumpur", region="MY")).id)


async def look(scene: Scene, **fields: Any) -> DraftLook:
    """At a form with these fields."""
    reader = {name: fields.pop(name) for name in ("lead_id", "another", "medium") if name in fields}
    given: campaigns.CampaignFields = {"title": "Sale", "body": "Hello {{ name }}", **fields}  # type: ignore[typeddict-item]
    return await look_at_draft(scene.runtime, scene.workspace, given, LeadCounts(), **reader)


async def people(scene: Scene, **fields: Any) -> AudienceLook:
    found = (await look(scene, **fields)).audience
    assert found is not None
    return found


async def test_the_people_are_those_that_planning_reaches_and_the_others_are_accounted_for(scene: Scene) -> None:
    one, two = await scene.add_device("One"), await scene.add_device("Two")
    await scene.add_leads(one, 20)
    await scene.add_leads(two, 8, first=15)  # five of them are leads of the first as well
    await scene.execute(
        "UPDATE leads l SET shared = true WHERE (SELECT count(*) FROM leads o WHERE o.phone = l.phone) > 1"
    )
    await scene.add_lead(two, "+60191111111", consent="refused")
    await scene.suppress("+60120000001")
    campaign = await scene.draft(body="Hello")
    found, exact = await people(scene, body="Hello"), await preview_audience(scene.runtime, scene.workspace, campaign)
    assert found.is_exact
    assert (found.recipients, found.suppressed, found.refused) == (exact.recipients, 1, 1) == (22, 1, 1)
    assert found.leads == found.recipients + found.suppressed + found.refused + found.twice == 29
    assert {s.device.name: s.n for s in found.shares} == exact.by_device


async def test_the_last_one_has_it_when_the_slowest_device_is_through(scene: Scene) -> None:
    quick, slow = await scene.add_device("Quick"), await scene.add_device("Slow")
    await scene.execute("UPDATE devices SET min_delay = 10, max_delay = 20 WHERE id = $1", quick)
    await scene.execute("UPDATE devices SET min_delay = 100, max_delay = 100 WHERE id = $1", slow)
    await scene.add_leads(quick, 10)
    await scene.add_leads(slow, 3, first=20)
    found = await people(scene, body="x")
    assert found.slowest is not None
    assert (found.slowest.device.name, found.seconds) == ("Slow", 300)
    paced = await people(scene, body="x", min_delay=200.0, max_delay=200.0)
    assert paced.slowest is not None
    assert (paced.slowest.device.name, paced.seconds) == ("Quick", 2_000)


async def test_what_stands_in_the_way_is_said_beforehand(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.add_leads(await scene.add_device("On"), 3)
    await scene.add_leads(await scene.add_device("Off", state="offline"), 4, first=10)
    found = await people(scene, body="x", schedule="2031-05-05 12:00")
    assert [(s.device.name, s.n) for s in found.held] == [("Off", 4)]
    assert (found.at_night, found.busiest) == (0, None)
    assert (await people(scene, body="x", schedule="2031-05-05 22:00")).at_night == 7
    await scene.execute("UPDATE leads SET time_zone = 'America/New_York' WHERE phone = '+60120000000'")
    assert (await people(scene, body="x", schedule="2031-05-05 12:00")).at_night == 1, "midnight where that one lives"
    monkeypatch.setattr(audience_look, "MUCH_A_DAY", 3)
    busiest = (await people(scene, body="x", min_delay=0.0, max_delay=0.0)).busiest
    assert busiest is not None
    assert (busiest.device.name, busiest.a_day) == ("Off", 4)


@pytest.fixture
async def crowd(scene: Scene) -> Scene:
    """More than a sample of every lead in a stratum: 30,000 on three devices, a third of them customers, few vegans."""
    for _ in range(3):
        await scene.add_device()
    await scene.execute(
        """INSERT INTO leads (workspace_id, device_id, phone, name, niches, target_status, consent)
        SELECT $1, ($2::bigint[])[1 + i % 3], '+6012' || lpad(i::text, 7, '0'),
          CASE WHEN i % 5 > 0 THEN 'A' || i ELSE '' END,
          CASE WHEN i % 1000 = 7 THEN ARRAY['vegan'] WHEN i % 2 = 0 THEN ARRAY['beauty'] ELSE '{}' END,
          (CASE WHEN i % 3 = 0 THEN 'customer' ELSE 'prospect' END)::lead_status,
          (CASE WHEN i % 10 = 0 THEN 'refused' ELSE 'unknown' END)::lead_consent
        FROM generate_series(0, 29999) i""",
        scene.workspace,
        scene.devices,
    )
    await scene.execute("UPDATE devices SET leads_version = leads_version + 1")
    await scene.execute(
        "INSERT INTO suppressions (workspace_id, recipient, effective_at, source) "
        "SELECT $1, phone, fleetcast_now(), 'person' FROM leads WHERE id % 20 = 1",
        scene.workspace,
    )
    await scene.execute("ANALYZE leads")
    return scene


@pytest.mark.parametrize("wish", [{}, {"target_status": "customer"}, {"niches": ["beauty"]}, {"body": "x"}])
async def test_a_crowd_is_estimated_and_the_estimate_is_near(crowd: Scene, wish: dict[str, Any]) -> None:
    found = await people(crowd, **wish)
    campaign = await crowd.draft(**{"body": "Hello {{ name }}", **wish})
    exact = await look_at_campaign_draft(crowd.runtime, crowd.workspace, campaign, LeadCounts(), exact=True)
    assert exact.audience is not None
    assert (found.is_exact, exact.audience.is_exact) == (False, True)
    for name in ("leads", "recipients", "suppressed", "refused", "lacking"):
        wanted = getattr(exact.audience, name)
        assert getattr(found, name) == pytest.approx(wanted, rel=0.15, abs=60), name
    assert found.seconds == pytest.approx(exact.audience.seconds, rel=0.2), "customers are all of one device"


async def test_counting_a_crowd_is_remembered_until_more_than_a_few_leads_were_added_or_time_is_up(
    crowd: Scene,
) -> None:
    counts, now = LeadCounts(), datetime(2026, 3, 2, 12, tzinfo=UTC)
    async with crowd.runtime.db.connection() as connection:

        async def counted(at: datetime = now) -> int:
            return sum((await counts.of(connection, crowd.workspace, at)).values())

        async def add(first: int, n: int) -> None:
            await crowd.execute(
                "INSERT INTO leads (workspace_id, device_id, phone) "
                "SELECT $1, $2, '+6013' || lpad(i::text, 7, '0') FROM generate_series($3::bigint, $4) i",
                crowd.workspace,
                crowd.devices[0],
                first,
                first + n - 1,
            )
            await crowd.execute("UPDATE devices SET leads_version = leads_version + 1 WHERE id = $1", crowd.devices[0])

        before = await counted()
        await add(0, 10)
        assert await counted() == before, "ten of 30,000 do not show"
        assert await counted(now + timedelta(minutes=11)) == before + 10
        await add(10, 1_000)
        assert await counted(now + timedelta(minutes=11)) == before + 1_010, "a file that was just imported does"


async def test_who_types_does_not_wait_for_a_slow_count_and_the_text_is_still_looked_at(
    crowd: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience_sample, "QUICK", timedelta(milliseconds=1))
    found = await look(crowd, body="Hello {{ nam }}")
    assert (found.audience, found.late) == (None, True)
    assert [p.field for p in found.problems] == ["body"]


async def test_few_among_many_are_counted_one_by_one(crowd: Scene) -> None:
    found = await people(crowd, niches=["vegan"], body="x")
    assert (found.is_exact, found.leads) == (True, 30)
    [device, *_] = crowd.devices
    chosen = await people(crowd, device_ids=[device], niches=["vegan", "beauty"], niche_match="all", body="x")
    assert (chosen.is_exact, chosen.recipients) == (True, 0)


async def test_a_removed_device_has_no_share(crowd: Scene) -> None:
    await crowd.execute("UPDATE devices SET deleted_at = fleetcast_now() WHERE id = $1", crowd.devices[0])
    found = await people(crowd, body="x")
    assert {s.device.id for s in found.shares} == set(crowd.devices[1:])
    assert sum(s.n for s in found.shares) == pytest.approx(found.recipients, abs=2)


async def test_the_shares_of_an_estimate_follow_the_leads(crowd: Scene) -> None:
    counts = LeadCounts()
    fields: campaigns.CampaignFields = {"title": "Sale", "body": "x"}
    await look_at_draft(crowd.runtime, crowd.workspace, fields, counts)
    await crowd.add_leads(crowd.devices[0], 5_000, first=5_000_000)
    found = (await look_at_draft(crowd.runtime, crowd.workspace, fields, counts)).audience
    assert found is not None
    assert found.shares[0].device.id == crowd.devices[0]
    assert found.shares[0].n > found.shares[1].n * 1.3


async def test_how_the_numbers_of_the_leads_lie_does_not_matter(crowd: Scene) -> None:
    """Other workspaces' leads lie between: a far one more must not blow up what is estimated."""
    before = await people(crowd, body="x")
    await crowd.execute("SELECT setval(pg_get_serial_sequence('leads', 'id'), 90000000)")
    await crowd.add_leads(crowd.devices[0], 10, first=8_000_000)
    after = await people(crowd, body="x")
    assert not after.is_exact
    assert after.recipients == pytest.approx(before.recipients, rel=0.15)


# -- the text


async def test_one_reads_with_their_own_data_then_another_then_the_first_again(scene: Scene) -> None:
    device = await scene.add_device()
    await scene.add_lead(device, "+60120000001", name="Aminah")
    await scene.add_lead(device, "+60120000002", name="Refuser", consent="refused")
    await scene.add_lead(device, "+60120000003", name="Ben", niches=["tea"])
    read: Sequence[str] = []
    reader = 0
    for _ in range(3):
        reading = (await look(scene, lead_id=reader, another=bool(reader))).reading
        assert reading is not None
        read = [*read, reading.text or ""]
        reader = reading.lead_id
    assert read == ["Hello Aminah", "Hello Ben", "Hello Aminah"]
    tea = (await look(scene, niches=["tea"])).reading
    assert tea is not None
    assert tea.text == "Hello Ben"


async def test_a_half_written_text_does_not_hide_the_people(scene: Scene) -> None:
    await scene.add_leads(await scene.add_device(), 3)
    found = await look(scene, body="Hello\n  {{ nam }}", deadline="soon", schedule="2001-01-01 10:00")
    assert found.audience is not None
    assert found.audience.recipients == 3
    [body] = found.of("body")
    assert (body.line, body.column) == (2, 6)
    assert 'Did you mean "name"' in body.problem
    assert [p.field for p in found.problems] == ["body", "schedule", "deadline"]
    assert found.reading is not None
    assert (found.reading.text, found.reading.problem) == (None, None)


async def test_a_lead_that_lacks_something_says_what(scene: Scene) -> None:
    await scene.add_lead(await scene.add_device(), "+60120000001")
    found = await look(scene)
    assert found.audience is not None
    assert (found.audience.recipients, found.audience.lacking) == (1, 1)
    assert found.reading is not None
    assert found.reading.text is None
    assert '"name"' in (found.reading.problem or "")


async def test_an_audience_that_cannot_be_read_is_not_counted(scene: Scene) -> None:
    await scene.add_leads(await scene.add_device(), 3)
    wishes: list[dict[str, object]] = [{"device_ids": [999]}, {"niche_match": "some"}, {"device_ids": []}]
    for wrong in wishes:
        found = await look(scene, **wrong)
        assert (found.audience, found.reading) == (None, None)
        assert found.problems


async def test_niches_that_leads_have_are_suggested_the_most_frequent_first(crowd: Scene) -> None:
    assert await known_niches(crowd.runtime, crowd.workspace) == ["beauty", "vegan"]
    other = await create_workspace(crowd.runtime, "Other")
    assert await known_niches(crowd.runtime, other.id) == []


async def test_a_lead_of_others_is_never_read(scene: Scene, crowd: Scene) -> None:
    other = Scene(scene.runtime, (await create_workspace(scene.runtime, "Other", region="MY")).id)
    foreign = await other.add_lead(await other.add_device("Theirs"), "+60190000001", name="Secret")
    found = await look(crowd, lead_id=foreign)
    assert found.reading is not None
    assert "Secret" not in json.dumps([found.reading.text, found.reading.name])
    assert found.reading.lead_id != LeadId(foreign)


async def test_a_stored_draft_looks_as_its_form_did(scene: Scene) -> None:
    await scene.add_leads(await scene.add_device(), 3)
    made = await scene.draft(body="Hello {{ name }}", schedule="2031-05-05 12:00")
    stored = await look_at_campaign_draft(scene.runtime, scene.workspace, CampaignId(made), LeadCounts())
    typed = await look(scene, schedule="2031-05-05 12:00")
    assert (stored.audience, stored.reading, stored.starts_at) == (typed.audience, typed.reading, typed.starts_at)
    assert stored.starts_at is not None
    assert stored.starts_at - stored.at > timedelta(days=1)
