"""Changes of many at once: everybody who was meant and nobody else, whatever interrupts them, and the way back."""

import asyncio
from typing import Any

import pytest

from fleetcast.domain.bulk_edit import BulkEdit, EditAction, EditStatus
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.engine.bulk_editor import BulkEditor
from fleetcast.engine.retention import Retention
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import bulk_work, devices
from fleetcast.services.bulk_edits import (
    DeviceFilter,
    change_devices,
    change_leads,
    count_devices,
    get_edit,
    page_of_edits,
    stop_edit,
    undo_edit,
)
from fleetcast.services.leads import remove_lead
from fleetcast.store.invariants import broken_invariants
from tests.campaign_scene import Scene

ACTOR = "user:tests"
TEA = {"niche": "tea"}


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> Scene:
    """Ten leads on each of three devices; of each device four are customers."""
    made = Scene(runtime, workspace)
    for n in range(3):
        device = await made.add_device()
        await made.add_leads(device, 10, first=10 * n)
    await made.execute("UPDATE leads SET target_status = 'customer' WHERE right(phone, 1) < '4'")
    return made


CUSTOMERS = LeadFilter.from_json({"target_status": "customer"})


async def begin(
    scene: Scene,
    action: EditAction,
    value: dict[str, Any],
    wanted: LeadFilter = CUSTOMERS,
    *,
    confirmed: int = 12,
) -> BulkEdit:
    return await change_leads(scene.runtime, scene.workspace, wanted, action, value, confirmed=confirmed, actor=ACTOR)


async def through(scene: Scene, edit: BulkEdit) -> BulkEdit:
    """Let the loop work until nothing is left."""
    editor = BulkEditor(scene.runtime)
    while await editor.run_once():
        pass
    return await get_edit(scene.runtime, scene.workspace, edit.id)


async def count(scene: Scene, which: str) -> int:
    return int(await scene.value(f"SELECT count(*) FROM leads WHERE deleted_at IS NULL AND {which}"))


async def test_everybody_who_was_meant_is_changed_and_nobody_else(scene: Scene) -> None:
    versions = await scene.fetch("SELECT id, leads_version FROM devices ORDER BY id")
    edit = await through(scene, await begin(scene, EditAction.ADD_NICHE, {"niche": " Tea "}))
    assert (edit.status, edit.expected, edit.seen, edit.changed) == (EditStatus.DONE, 12, 12, 12)
    assert await count(scene, "niches = '{tea}' AND target_status = 'customer'") == 12
    assert await count(scene, "niches <> '{}'") == 12
    after = await scene.fetch("SELECT id, leads_version FROM devices ORDER BY id")
    assert all(now["leads_version"] > was["leads_version"] for was, now in zip(versions, after, strict=True))


@pytest.mark.parametrize(
    ("action", "value", "which"),
    [
        (EditAction.ADD_NICHE, TEA, "niches @> '{tea}'"),
        (EditAction.SET_STATUS, {"status": "prospect"}, "target_status = 'prospect'"),
        (EditAction.SET_ATTRIBUTE, {"key": "city", "text": "Ipoh"}, "attributes ->> 'city' = 'Ipoh'"),
    ],
)
async def test_it_is_taken_back_where_nobody_has_changed_it_since(
    scene: Scene, action: EditAction, value: dict[str, str], which: str
) -> None:
    before = await scene.fetch("SELECT id, niches, target_status, attributes FROM leads ORDER BY id")
    already = await count(scene, which)
    edit = await through(scene, await begin(scene, action, value))
    assert edit.can_be_undone
    assert await count(scene, which) == already + 12
    await scene.execute(
        "UPDATE leads SET niches = '{}', target_status = 'customer', attributes = '{\"city\": \"Miri\"}' "
        "WHERE id = (SELECT min(id) FROM leads)"
    )
    back = await through(scene, await undo_edit(scene.runtime, scene.workspace, edit.id, actor=ACTOR))
    assert (back.status, back.undoes, back.seen, back.changed) == (EditStatus.DONE, edit.id, 12, 11)
    after = await scene.fetch("SELECT id, niches, target_status, attributes FROM leads ORDER BY id")
    assert [tuple(row) for row in after[1:]] == [tuple(row) for row in before[1:]]
    assert after[0]["attributes"] == {"city": "Miri"}, "what a person did since stays"
    again = await get_edit(scene.runtime, scene.workspace, edit.id)
    assert (again.undone_by, again.can_be_undone) == (back.id, False)
    with pytest.raises(Conflict):
        await undo_edit(scene.runtime, scene.workspace, edit.id, actor=ACTOR)


async def test_a_value_that_was_there_comes_back(scene: Scene) -> None:
    await scene.execute("UPDATE leads SET niches = '{tea,x}', attributes = '{\"city\": \"Miri\"}'")
    niche = await through(scene, await begin(scene, EditAction.REMOVE_NICHE, TEA, LeadFilter(), confirmed=30))
    city = await through(
        scene, await begin(scene, EditAction.SET_ATTRIBUTE, {"key": "city", "text": ""}, LeadFilter(), confirmed=30)
    )
    assert await count(scene, "niches = '{x}' AND attributes = '{}'") == 30
    for edit in (niche, city):
        await through(scene, await undo_edit(scene.runtime, scene.workspace, edit.id, actor=ACTOR))
    assert await count(scene, "niches = '{tea,x}' AND attributes ->> 'city' = 'Miri'") == 30


async def test_only_those_that_were_chosen(scene: Scene) -> None:
    ids = [row["id"] for row in await scene.fetch("SELECT id FROM leads ORDER BY id LIMIT 3")]
    edit = await begin(scene, EditAction.ADD_NICHE, TEA, LeadFilter(ids=tuple(ids)), confirmed=3)
    assert (await through(scene, edit)).changed == 3
    assert await count(scene, "niches = '{tea}'") == 3


async def test_who_comes_later_and_who_is_already_so_is_left_alone(scene: Scene) -> None:
    await scene.execute("UPDATE leads SET niches = '{tea}', updated_at = '2020-01-01' WHERE right(phone, 1) = '0'")
    edit = await begin(scene, EditAction.ADD_NICHE, TEA)
    await scene.add_lead(scene.devices[0], "+60130000000", status="customer")
    done = await through(scene, edit)
    assert (done.seen, done.changed) == (12, 9)
    assert await count(scene, "niches = '{}' AND phone = '+60130000000'") == 1
    assert await count(scene, "updated_at = '2020-01-01'") == 3


async def test_two_loops_and_a_loop_that_was_killed_do_nothing_twice(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_work, "CHUNK", 3)
    edit = await begin(scene, EditAction.ADD_NICHE, TEA)
    editors = [BulkEditor(scene.runtime) for _ in range(3)]
    step = asyncio.create_task(editors[0].run_once())
    await asyncio.sleep(0)
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    while any(await asyncio.gather(*(editor.run_once() for editor in editors))):
        pass
    done = await get_edit(scene.runtime, scene.workspace, edit.id)
    assert (done.status, done.seen, done.changed) == (EditStatus.DONE, 12, 12)


async def test_forgetting_many_skips_what_waits_for_them_and_keeps_every_promise(scene: Scene) -> None:
    campaign = await scene.launched()
    edit = await through(scene, await begin(scene, EditAction.FORGET, {}))
    assert (edit.changed, edit.skipped, edit.can_be_undone) == (12, 12, False)
    assert await count(scene, "true") == 18
    skipped = await scene.value(
        "SELECT count(*) FROM broadcast_messages WHERE campaign_id = $1 AND reason = 'lead_removed'", campaign
    )
    assert skipped == 12
    async with scene.runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []
    with pytest.raises(Conflict):
        await undo_edit(scene.runtime, scene.workspace, edit.id, actor=ACTOR)


async def test_of_who_is_forgotten_nothing_is_kept_that_they_were(scene: Scene) -> None:
    await scene.execute('UPDATE leads SET attributes = \'{"city": "Miri"}\'')
    await through(scene, await begin(scene, EditAction.SET_ATTRIBUTE, {"key": "city", "text": "Ipoh"}))
    lead = await scene.value("SELECT min(lead_id) FROM bulk_edit_changes")
    await remove_lead(scene.runtime, scene.workspace, lead, actor=ACTOR)
    assert await scene.value("SELECT count(*) FROM bulk_edit_changes WHERE lead_id = $1", lead) == 0
    assert await scene.value("SELECT count(*) FROM bulk_edit_changes") == 11


async def test_it_is_stopped_where_it_is_and_can_be_taken_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_work, "CHUNK", 2)
    edit = await begin(scene, EditAction.ADD_NICHE, TEA)
    await BulkEditor(scene.runtime).run_once()
    assert await stop_edit(scene.runtime, scene.workspace, edit.id, actor=ACTOR)
    assert not await stop_edit(scene.runtime, scene.workspace, edit.id, actor=ACTOR)
    stopped = await through(scene, edit)
    assert (stopped.status, stopped.changed) == (EditStatus.STOPPED, 2)
    await through(scene, await undo_edit(scene.runtime, scene.workspace, edit.id, actor=ACTOR))
    assert await count(scene, "niches = '{}'") == 30


async def test_more_than_was_confirmed_is_not_begun(scene: Scene) -> None:
    with pytest.raises(Conflict, match="2 more than were confirmed"):
        await begin(scene, EditAction.FORGET, {}, confirmed=10)
    await scene.execute("UPDATE leads SET target_status = 'prospect'")
    with pytest.raises(Conflict, match="no such"):
        await begin(scene, EditAction.FORGET, {})
    assert (await page_of_edits(scene.runtime, scene.workspace))[0] == []


@pytest.mark.parametrize(
    ("action", "value", "field"),
    [
        (EditAction.ADD_NICHE, {"niche": "a, b"}, "niche"),
        (EditAction.SET_STATUS, {"status": "friend"}, "status"),
        (EditAction.SET_ATTRIBUTE, {"key": "phone", "text": "x"}, "key"),
        (EditAction.SET_ATTRIBUTE, {"key": "Not a key", "text": "x"}, "key"),
        (EditAction.PAUSE, {}, "action"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_field(
    scene: Scene, action: EditAction, value: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await begin(scene, action, value)
    assert refused.value.field == field


async def test_the_log_has_the_decision_and_nothing_of_people(scene: Scene) -> None:
    edit = await begin(scene, EditAction.SET_ATTRIBUTE, {"key": "city", "text": "a secret place"})
    [entry] = await scene.fetch("SELECT * FROM audit WHERE action = 'leads.set_attribute'")
    assert (entry["subject"], entry["actor"]) == (f"change {edit.id}", ACTOR)
    assert entry["after"] == {"leads": 12, "chosen_by": ["target_status"], "key": "city"}


async def test_what_was_there_before_is_forgotten_after_a_week(scene: Scene) -> None:
    edit = await through(scene, await begin(scene, EditAction.ADD_NICHE, TEA))
    await Retention(scene.runtime).run_once(asyncio.Event())
    assert await scene.value("SELECT count(*) FROM bulk_edit_changes") == 12
    await scene.execute("UPDATE bulk_edits SET finished_at = finished_at - interval '8 days'")
    await Retention(scene.runtime).run_once(asyncio.Event())
    assert await scene.value("SELECT count(*) FROM bulk_edit_changes") == 0
    assert not (await get_edit(scene.runtime, scene.workspace, edit.id)).can_be_undone


async def test_another_workspaces_change_is_not_there(scene: Scene, runtime: Runtime) -> None:
    edit = await begin(scene, EditAction.ADD_NICHE, TEA)
    async with runtime.db.connection() as connection:
        other = WorkspaceId(
            await connection.fetchval("INSERT INTO workspaces (name) VALUES ('other bulk') RETURNING id")
        )
    for ask in (get_edit, stop_edit, undo_edit):
        with pytest.raises(NotFound):
            await ask(runtime, other, edit.id, **({} if ask is get_edit else {"actor": ACTOR}))


# -- devices


async def test_devices_are_paused_paced_resumed_and_removed(scene: Scene) -> None:
    await scene.launched()
    runtime, workspace = scene.runtime, scene.workspace
    every = DeviceFilter()
    waiting = await count_devices(runtime, workspace, every, messages=True)
    assert (waiting.devices, waiting.messages) == (3, 30)

    async def do(action: EditAction, value: dict[str, Any], wanted: DeviceFilter = every, n: int = 3) -> BulkEdit:
        made = await change_devices(runtime, workspace, wanted, action, value, confirmed=n, actor=ACTOR)
        return await through(scene, made)

    assert (await do(EditAction.PAUSE, {"reason": "lunch"})).changed == 3
    assert {d.paused_reason for d in await devices.list_devices(runtime, workspace)} == {"lunch"}
    assert (await do(EditAction.PAUSE, {})).changed == 0
    assert (await do(EditAction.RESUME, {}, DeviceFilter(standing="paused"))).changed == 3
    first = (await devices.list_devices(runtime, workspace))[0]
    one = DeviceFilter(ids=(first.id,))
    await do(EditAction.PACE, {"min_delay": 3.0, "max_delay": 4.0}, one, 1)
    assert (await devices.get_device(runtime, workspace, first.id)).max_delay == 4
    assert (await do(EditAction.REMOVE, {}, one, 1)).changed == 1
    assert len(await devices.list_devices(runtime, workspace)) == 2


async def test_a_pace_that_cannot_be_begins_nothing(scene: Scene) -> None:
    with pytest.raises(InvalidInput):
        await change_devices(
            scene.runtime,
            scene.workspace,
            DeviceFilter(),
            EditAction.PACE,
            {"min_delay": 9.0, "max_delay": 2.0},
            confirmed=3,
            actor=ACTOR,
        )
