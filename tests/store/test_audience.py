"""Whom a campaign reaches: what the preview counts is what planning makes, whatever the leads are."""

from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetcast.domain.campaign import NicheMatch, TargetStatus
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.audience import preview_audience
from tests.campaign_scene import Scene

NICHES = ("fitness", "fitness pro", "x", "x2")
PHONES = tuple(f"+6012000000{i}" for i in range(8))


@dataclass(frozen=True)
class Somebody:
    device: int
    phone: str
    niches: tuple[str, ...]
    status: str
    consent: str
    has_city: bool


people = st.builds(
    Somebody,
    device=st.integers(0, 2),
    phone=st.sampled_from(PHONES),
    niches=st.lists(st.sampled_from(NICHES), unique=True, max_size=3).map(tuple),
    status=st.sampled_from(["prospect", "customer"]),
    consent=st.sampled_from(["unknown", "unknown", "given", "refused"]),
    has_city=st.booleans(),
)
crowds = st.lists(people, max_size=20, unique_by=lambda p: (p.device, p.phone))
wishes = st.fixed_dictionaries(
    {
        "niches": st.lists(st.sampled_from(NICHES), unique=True, max_size=2),
        "niche_match": st.sampled_from([m.value for m in NicheMatch]),
        "target_status": st.sampled_from([s.value for s in TargetStatus]),
        "devices": st.sampled_from([["all"], ["device 1"], ["device 2", "device 3"]]),
    }
)


def fits(person: Somebody, wish: dict[str, object], suppressed: set[str]) -> bool:
    """The rule, told a second time in Python."""
    niches, match = set(wish["niches"]), wish["niche_match"]  # type: ignore[call-overload]
    return (
        person.consent != "refused"
        and person.phone not in suppressed
        and wish["target_status"] in ("all", person.status)
        and (wish["devices"] == ["all"] or f"device {person.device + 1}" in wish["devices"])  # type: ignore[operator]
        and (not niches or (niches <= set(person.niches) if match == "all" else bool(niches & set(person.niches))))
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(crowd=crowds, wish=wishes, suppressed=st.sets(st.sampled_from(PHONES), max_size=2))
async def test_f27_the_preview_counts_exactly_whom_planning_reaches(
    runtime: Runtime, workspace: WorkspaceId, crowd: list[Somebody], wish: dict[str, object], suppressed: set[str]
) -> None:
    scene = Scene(runtime, workspace)
    await scene.execute(
        "TRUNCATE leads, broadcast_messages, campaigns, devices, suppressions, campaign_tallies CASCADE"
    )
    await scene.execute("UPDATE workspaces SET attribute_keys = '{city}' WHERE id = $1", workspace)
    for _ in range(3):
        await scene.add_device()
    for p in crowd:
        await scene.add_lead(
            scene.devices[p.device],
            p.phone,
            niches=p.niches,
            status=p.status,
            consent=p.consent,
            attributes={"city": "Ipoh"} if p.has_city else {},
        )
    for phone in suppressed:
        await scene.suppress(phone)
    campaign = await scene.draft(body="Hello {{ city }}", **wish)
    preview = await preview_audience(runtime, workspace, campaign)
    expected = {p.phone for p in crowd if fits(p, wish, suppressed)}
    assert preview.recipients == len(expected) == sum(preview.by_device.values())
    if not expected:
        assert preview.sample is None
        return
    await scene.launch(campaign)
    await scene.plan()
    rows = await scene.rows(campaign)
    assert {r["recipient"] for r in rows} == expected
    assert len(rows) == preview.recipients
    skipped = [r for r in rows if r["reason"] == "missing_variable"]
    assert len(skipped) == preview.lacking
    assert {r["status"] for r in rows if r not in skipped} <= {"pending"}
    names = {d: f"device {i + 1}" for i, d in enumerate(scene.devices)}
    planned: dict[str, int] = {}
    for r in rows:
        planned[names[DeviceId(r["device_id"])]] = planned.get(names[DeviceId(r["device_id"])], 0) + 1
    assert planned == preview.by_device
    assert preview.sample == (None if len(skipped) == len(rows) else "Hello Ipoh")
    addressed = {p.phone for p in crowd if fits(Somebody(**{**vars(p), "consent": "given"}), wish, set())}
    assert preview.suppressed == len(addressed & suppressed)
    assert preview.refused == len(addressed - suppressed - expected)
    await scene.check_counts(campaign)


async def test_f27_a_niche_is_a_whole_name_never_a_part_of_one(runtime: Runtime, workspace: WorkspaceId) -> None:
    scene = Scene(runtime, workspace)
    device = await scene.add_device()
    for phone, niches in (("+60120000001", ["x"]), ("+60120000002", ["x2"]), ("+60120000003", ["a", "x"])):
        await scene.add_lead(device, phone, niches=niches)
    campaign = await scene.launched(niches=["X "])
    assert await scene.recipients(campaign) == ["+60120000001", "+60120000003"]


async def test_f27_all_means_prospects_and_customers(runtime: Runtime, workspace: WorkspaceId) -> None:
    scene = Scene(runtime, workspace)
    device = await scene.add_device()
    await scene.add_lead(device, "+60120000001", status="prospect")
    await scene.add_lead(device, "+60120000002", status="customer")
    assert len(await scene.recipients(await scene.launched(target_status="all"))) == 2
    assert await scene.recipients(await scene.launched(target_status="customer")) == ["+60120000002"]


async def test_f20_leads_of_another_workspace_are_never_reached(runtime: Runtime, workspace: WorkspaceId) -> None:
    scene = Scene(runtime, workspace)
    await scene.add_lead(await scene.add_device(), "+60120000001")
    other = Scene(
        runtime, WorkspaceId(await scene.value("INSERT INTO workspaces (name) VALUES ('Other') RETURNING id"))
    )
    await other.add_lead(await other.add_device(), "+60120000002")
    await other.suppress("+60120000001")
    campaign = await scene.draft()
    assert (await preview_audience(runtime, workspace, campaign)).recipients == 1
    await scene.launch(campaign)
    await scene.plan()
    assert await scene.recipients(campaign) == ["+60120000001"]
    await scene.check_counts(campaign)


async def test_leads_of_a_removed_device_are_not_reached(runtime: Runtime, workspace: WorkspaceId) -> None:
    scene = Scene(runtime, workspace)
    kept, removed = await scene.add_device(), await scene.add_device()
    await scene.add_lead(kept, "+60120000001")
    await scene.add_lead(removed, "+60120000002")
    await scene.execute("UPDATE devices SET deleted_at = fleetcast_now() WHERE id = $1", removed)
    assert await scene.recipients(await scene.launched()) == ["+60120000001"]
