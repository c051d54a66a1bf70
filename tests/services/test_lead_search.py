"""Looking for leads: what is typed finds who is meant, page by page, each once, whoever else is there."""

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.lead import Consent, LeadStatus
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services import lead_search
from fleetcast.services.lead_search import Asked, count_leads, filter_of, page_of_leads
from fleetcast.store import lead_search as store
from tests.campaign_scene import Scene


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> Scene:
    """Five people of two devices."""
    made = Scene(runtime, workspace)
    first, second = await made.add_device("First"), await made.add_device("Second")
    await made.add_lead(first, "+60123000001", name="Aminah Lim", niches=["tea"], attributes={"city": "Ipoh"})
    await made.add_lead(first, "+60123000002", name="ahmad", status="customer", attributes={"city": "ipoh"})
    await made.add_lead(first, "+60134000003", niches=["tea", "coffee"], consent="given")
    await made.add_lead(second, "+4915112345678", name="Änne 100%", attributes={"city": "Köln"})
    await made.add_lead(second, "+60123000001", name="Aminah L.", consent="refused")
    await made.suppress("+60123000001")
    return made


async def names(scene: Scene, **asked: object) -> list[str]:
    wanted = await filter_of(scene.runtime, scene.workspace, Asked(**asked))  # type: ignore[arg-type]
    found = await page_of_leads(scene.runtime, scene.workspace, wanted)
    assert await count_leads(scene.runtime, scene.workspace, wanted) == len(found.leads)
    assert found.next is None
    return [each.lead.name or each.lead.phone for each in found.leads]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["Aminah Lim", "ahmad", "+60134000003", "Änne 100%", "Aminah L."]),
        ({"text": "am"}, ["Aminah L.", "Aminah Lim"]),
        ({"text": "  AHMAD "}, ["ahmad"]),
        ({"text": "lim"}, []),
        ({"text": "012-300"}, ["Aminah Lim", "Aminah L.", "ahmad"]),
        ({"text": "+60 13"}, ["+60134000003"]),
        ({"text": "6012"}, ["Aminah Lim", "Aminah L.", "ahmad"]),
        ({"text": "0049 15"}, ["Änne 100%"]),
        ({"text": "+49151999"}, []),
        ({"phone": "0123000002"}, ["ahmad"]),
        ({"niche": "Tea "}, ["Aminah Lim", "+60134000003"]),
        ({"niche": "te"}, []),
        ({"target_status": LeadStatus.CUSTOMER}, ["ahmad"]),
        ({"consent": Consent.REFUSED}, ["Aminah L."]),
        ({"opted_out": True}, ["Aminah Lim", "Aminah L."]),
        ({"opted_out": False, "text": "a"}, ["ahmad"]),
        ({"attribute": "city", "value": "IPOH"}, ["Aminah Lim", "ahmad"]),
        ({"attribute": "city", "value": "köln"}, ["Änne 100%"]),
        ({"attribute": "city"}, ["Aminah Lim", "ahmad", "+60134000003", "Änne 100%", "Aminah L."]),
        ({"text": "%"}, []),
        ({"text": "am", "niche": "tea"}, ["Aminah Lim"]),
    ],
)
async def test_what_is_typed_finds_who_is_meant(scene: Scene, asked: dict[str, object], expected: list[str]) -> None:
    assert await names(scene, **asked) == expected


async def test_only_those_of_a_device(scene: Scene) -> None:
    assert await names(scene, device_id=scene.devices[1]) == ["Änne 100%", "Aminah L."]


async def test_nobody_who_was_forgotten_or_is_of_another_workspace_is_found(scene: Scene, runtime: Runtime) -> None:
    await scene.execute("UPDATE leads SET deleted_at = fleetcast_now(), name = '' WHERE name = 'ahmad'")
    assert await names(scene, text="ah") == []
    assert await names(scene, text="0123000002") == []
    async with runtime.db.connection() as connection:
        other = WorkspaceId(
            await connection.fetchval("INSERT INTO workspaces (name) VALUES ('other search') RETURNING id")
        )
    assert (await page_of_leads(runtime, other, await filter_of(runtime, other, Asked(text="am")))).leads == []


@pytest.mark.parametrize("asked", [{"text": "+0"}, {"phone": "nobody"}, {"niche": "a, b"}])
async def test_what_cannot_be_meant_is_refused_by_its_field(scene: Scene, asked: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        await names(scene, **asked)
    assert refused.value.field in asked


@pytest.mark.parametrize("asked", [{}, {"text": "lead"}, {"text": "012"}, {"niche": "rare"}])
async def test_pages_show_everybody_once_in_a_stable_order(
    scene: Scene, asked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when a page may look at a few leads only and so comes back with less than it has room for."""
    monkeypatch.setattr(store, "LOOK", 7)
    device = scene.devices[0]
    await scene.execute("DELETE FROM leads")
    await scene.add_leads(device, 60)
    await scene.execute("UPDATE leads SET niches = '{rare}' WHERE right(phone, 1) = '9'")
    wanted = await filter_of(scene.runtime, scene.workspace, Asked(**asked))  # type: ignore[arg-type]
    seen: list[str] = []
    pages, after = 0, None
    while True:
        page = await page_of_leads(scene.runtime, scene.workspace, wanted, after=after, limit=4)
        assert len(page.leads) <= 4
        assert page.looking == (page.next is not None and len(page.leads) < 4)
        seen += [each.lead.phone for each in page.leads]
        pages, after = pages + 1, page.next
        if after is None:
            break
    assert len(seen) == len(set(seen)) == (6 if "niche" in asked else 60)
    assert pages >= 8
    if "text" in asked and asked["text"].isdigit():
        assert seen == sorted(seen)


async def test_a_count_stops_where_it_is_told_to(scene: Scene) -> None:
    wanted = await filter_of(scene.runtime, scene.workspace, Asked())
    assert await count_leads(scene.runtime, scene.workspace, wanted, most=2) == 3
    assert await count_leads(scene.runtime, scene.workspace, wanted, most=None) == 5


async def test_attributes_are_told_by_name(scene: Scene) -> None:
    await scene.execute("UPDATE workspaces SET attribute_keys = '{city,size}' WHERE id = $1", scene.workspace)
    assert await lead_search.attribute_keys(scene.runtime, scene.workspace) == ["city", "size"]
