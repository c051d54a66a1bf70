"""Changes of many leads or devices at once: counted, confirmed, watched, stopped and taken back.

They are done chunk by chunk by a loop of the scheduler (`bulk_work`), so that nobody waits behind one and whoever asked
for it may go away. What is counted here is what was confirmed: a change that would reach more than that is not begun.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fleetcast.domain.bulk_edit import OF_DEVICES, OF_LEADS, BulkEdit, EditAction, Things
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.lead import LeadStatus, niche_names
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.domain.pacing import Pace
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import lead_search as search
from fleetcast.services import paging
from fleetcast.services.lead_fields import attribute_of
from fleetcast.services.lead_run import check_attributes
from fleetcast.store import audit, bulk_edits, fleet, lead_merge, lead_search
from fleetcast.store.fleet import DeviceFilter

__all__ = [
    "KEPT_FOR",
    "BulkEdit",
    "DeviceFilter",
    "WaitingFor",
    "change_devices",
    "change_leads",
    "checked_value",
    "count_devices",
    "get_edit",
    "page_of_edits",
    "stop_edit",
    "undo_edit",
]

KEPT_FOR = timedelta(days=7)
"""How long a change can be taken back."""
COUNTED_WAITING = 100_000
"""Messages that a removal of devices counts; more are "more than 100,000"."""


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """Devices, and what waits for them."""

    devices: int
    messages: int
    """No more than one beyond `COUNTED_WAITING`."""


def checked_value(action: EditAction, given: Mapping[str, Any]) -> dict[str, Any]:
    """What an action needs, read and checked. Raises InvalidInput that names the field."""
    if action in (EditAction.ADD_NICHE, EditAction.REMOVE_NICHE):
        names = niche_names((str(given.get("niche", "")),))
        if len(names) != 1:
            raise InvalidInput("niche", "name exactly one niche")
        return {"niche": names[0]}
    if action is EditAction.SET_STATUS:
        if given.get("status") not in set(LeadStatus):
            raise InvalidInput("status", "say prospect or customer")
        return {"status": str(given["status"])}
    if action is EditAction.SET_ATTRIBUTE:
        key, text = attribute_of(str(given.get("key", "")), str(given.get("text", "")))
        return {"key": key, "text": text}
    if action is EditAction.PACE:
        pace = Pace(given["min_delay"], given["max_delay"])
        return {"min_delay": pace.min_delay, "max_delay": pace.max_delay}
    if action is EditAction.PAUSE:
        return {"reason": " ".join(str(given.get("reason", "")).split())[:200]}
    return {}


async def change_leads(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    wanted: LeadFilter,
    action: EditAction,
    value: Mapping[str, Any],
    *,
    confirmed: int,
    actor: str,
) -> BulkEdit:
    """Begin to change all leads that are meant; `confirmed`: how many a person was told that these are.

    Leads that come later are not touched. Raises InvalidInput, Conflict when there are more of them now.
    """
    if action not in OF_LEADS:
        raise InvalidInput("action", "this cannot be done to leads")
    checked = checked_value(action, value)
    now = await search.count_leads(runtime, workspace_id, wanted, most=None)
    _compare(now, confirmed, "leads")
    async with runtime.db.transaction() as connection:
        if checked.get("text"):
            await lead_merge.one_at_a_time(connection, workspace_id)
            await check_attributes(connection, workspace_id, [checked["key"]], "key")
            await lead_merge.add_attributes(connection, workspace_id, [checked["key"]])
        made = await bulk_edits.start(
            connection,
            workspace_id,
            Things.LEADS,
            action,
            value=checked,
            chosen=wanted.as_json(),
            last_id=await lead_search.last(connection, workspace_id),
            expected=now,
            actor=actor,
        )
        # What is known of people does not go into a log that nobody can change.
        told = {name: text for name, text in checked.items() if name != "text"}
        facts = {"leads": now, "chosen_by": wanted.named, **told}
        await audit.record(connection, workspace_id, actor, f"leads.{action}", f"change {made}", after=facts)
    assert made is not None
    return await get_edit(runtime, workspace_id, made)


def _compare(now: int, confirmed: int, what: str) -> None:
    if not now:
        raise Conflict(f"There are no such {what} any more.")
    if now > confirmed:
        raise Conflict(f"There are {now:,} {what} now, {now - confirmed:,} more than were confirmed: look again.")


async def count_devices(
    runtime: Runtime, workspace_id: WorkspaceId, wanted: DeviceFilter, *, messages: bool = False
) -> WaitingFor:
    """How many devices are meant; with `messages` also what waits for them: what their removal would skip."""
    async with runtime.db.transaction() as connection:
        devices = await fleet.count(connection, workspace_id, wanted)
        waiting = 0
        if messages:
            waiting = await fleet.waiting(connection, workspace_id, wanted, COUNTED_WAITING + 1)
    return WaitingFor(devices, waiting)


async def change_devices(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    wanted: DeviceFilter,
    action: EditAction,
    value: Mapping[str, Any],
    *,
    confirmed: int,
    actor: str,
) -> BulkEdit:
    """Begin to change all devices that are meant, one after the other, each as if it were alone.

    Raises InvalidInput, Conflict when there are more of them than were confirmed.
    """
    if action not in OF_DEVICES:
        raise InvalidInput("action", "this cannot be done to devices")
    checked = checked_value(action, value)
    async with runtime.db.transaction() as connection:
        now = await fleet.count(connection, workspace_id, wanted)
        _compare(now, confirmed, "devices")
        made = await bulk_edits.start(
            connection,
            workspace_id,
            Things.DEVICES,
            action,
            value=checked,
            chosen=wanted.as_json(),
            last_id=await fleet.last(connection, workspace_id),
            expected=now,
            actor=actor,
        )
        facts = {"devices": now, **checked}
        await audit.record(connection, workspace_id, actor, f"devices.{action}", f"change {made}", after=facts)
    assert made is not None
    return await get_edit(runtime, workspace_id, made)


async def get_edit(runtime: Runtime, workspace_id: WorkspaceId, edit_id: int) -> BulkEdit:
    """How far one is. Raises NotFound."""
    async with runtime.db.connection() as connection:
        found = await bulk_edits.get(connection, workspace_id, edit_id)
    if found is None:
        raise NotFound(f"There is no change {edit_id} in this workspace.")
    return found


async def page_of_edits(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    *,
    things: Things | None = None,
    after: str | None = None,
    limit: int = 50,
) -> tuple[Sequence[BulkEdit], str | None]:
    """The newest first, and where the next page begins. Raises InvalidInput for an `after` of another list."""
    before = paging.position(after, paging.LAST_ID)
    async with runtime.db.connection() as connection:
        found = await bulk_edits.page(connection, workspace_id, things=things, before=before, limit=limit + 1)
    return paging.cut(found, limit, lambda each: each.id)


async def stop_edit(runtime: Runtime, workspace_id: WorkspaceId, edit_id: int, *, actor: str) -> bool:
    """End one that is under way; what it did stays. False when it has ended. Raises NotFound."""
    found = await get_edit(runtime, workspace_id, edit_id)
    async with runtime.db.transaction() as connection:
        if not await bulk_edits.stop(connection, workspace_id, edit_id):
            return False
        facts = {"seen": found.seen, "expected": found.expected}
        await audit.record(
            connection, workspace_id, actor, f"{found.things}.change.stop", f"change {edit_id}", after=facts
        )
    return True


async def undo_edit(runtime: Runtime, workspace_id: WorkspaceId, edit_id: int, *, actor: str) -> BulkEdit:
    """Take one back in every lead that still is as it left it. Raises NotFound, Conflict where that is not possible."""
    found = await get_edit(runtime, workspace_id, edit_id)
    async with runtime.db.transaction() as connection:
        made = None
        if found.can_be_undone:
            made = await bulk_edits.start(
                connection,
                workspace_id,
                found.things,
                found.action,
                value=found.value,
                chosen={},
                last_id=paging.LAST_ID,
                expected=found.changed,
                actor=actor,
                undoes=edit_id,
            )
        if made is None:
            raise Conflict("This change cannot be taken back: it was already, or it was too long ago.")
        facts = {"leads": found.changed}
        await audit.record(connection, workspace_id, actor, "leads.change.undo", f"change {edit_id}", after=facts)
    return await get_edit(runtime, workspace_id, made)


def only_devices(device_ids: Sequence[int]) -> DeviceFilter:
    """Exactly these. Raises InvalidInput for none."""
    if not device_ids:
        raise InvalidInput("devices", "choose at least one device")
    return DeviceFilter(ids=tuple(DeviceId(i) for i in dict.fromkeys(device_ids)))
