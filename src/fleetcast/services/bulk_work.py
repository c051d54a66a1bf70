"""One step of a change of many: a chunk of leads of one device, or a device, in a transaction of its own.

Repeatable: whoever takes a step finds the place in the row of the change, locks it, and moves it on in the transaction
that did the work. Leads are gone through device by device, because the last statement of a step notes at their device
that they changed, and a transaction that locked several devices could meet a sender half-way.
"""

from collections.abc import Sequence
from itertools import takewhile

from fleetcast.domain.bulk_edit import EditAction, Things
from fleetcast.domain.identifiers import DeviceId, LeadId
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.errors import NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import devices
from fleetcast.services.leads import forget
from fleetcast.store import bulk_edits, bulk_leads, fleet, lead_merge, lead_search, suppressions
from fleetcast.store.bulk_edits import Work
from fleetcast.store.fleet import DeviceFilter

CHUNK = 500
"""Leads of one step: some ten milliseconds, so that nobody waits long behind it."""


async def take_a_step(runtime: Runtime, edit_id: int) -> bool:
    """The next step of a change; whether there may be more. A step that another process takes counts as taken."""
    async with runtime.db.connection() as connection:
        work = await bulk_edits.work(connection, edit_id)
    if work is None:
        return False
    return await (_leads(runtime, work) if work.things is Things.LEADS else _device(runtime, work))


async def _leads(runtime: Runtime, work: Work) -> bool:
    found, reached = await _following(runtime, work)
    if not found:
        if reached is None:
            return await _finished(runtime, work)
        async with runtime.db.transaction() as connection:
            if await bulk_edits.work(connection, work.id, at=work.place):
                await bulk_edits.advance(connection, work.id, reached)
        return True
    device = found[0][0]
    chosen = [lead for _, lead in takewhile(lambda pair: pair[0] == device, found)]
    if work.action is EditAction.FORGET:
        await _forget(runtime, work, device, chosen)
    elif await _change(runtime, work, device, chosen):
        await runtime.nudges.plan()
    return True


async def _following(
    runtime: Runtime, work: Work
) -> tuple[Sequence[tuple[DeviceId, LeadId]], tuple[DeviceId, LeadId] | None]:
    """The next leads in the order of their devices, and how far was looked; None: to the end."""
    async with runtime.db.connection() as connection:
        if work.undoes is not None:
            found = await bulk_leads.changed_by(connection, work.undoes, work.place, CHUNK)
            return found, found[-1] if found else None
        wanted = LeadFilter.from_json(work.chosen)
        return await lead_search.walk(
            connection, work.workspace_id, wanted, after=work.place, upto=LeadId(work.last_id), limit=CHUNK
        )


async def _change(runtime: Runtime, work: Work, device: DeviceId, chosen: Sequence[LeadId]) -> bool:
    async with runtime.db.transaction() as connection:
        # First what imports take, too: whoever waits for it holds no lead yet.
        await lead_merge.one_at_a_time(connection, work.workspace_id)
        if await bulk_edits.work(connection, work.id, at=work.place) is None:
            return False
        if work.undoes is None:
            changed = await bulk_leads.change(connection, work.workspace_id, work.id, chosen, work.action, work.value)
        else:
            changed = await bulk_leads.take_back(
                connection, work.workspace_id, work.undoes, chosen, work.action, work.value
            )
        await bulk_edits.advance(connection, work.id, (device, chosen[-1]), seen=len(chosen), changed=changed)
        if changed:  # last: senders hold messages while they wait for the device's row
            await lead_merge.bump_version(connection, work.workspace_id, device)
    return changed > 0


async def _forget(runtime: Runtime, work: Work, device: DeviceId, chosen: Sequence[LeadId]) -> None:
    async with runtime.db.transaction() as connection:
        # Plans under way are waited for; those that come later do not see these leads any more.
        await suppressions.lock(connection, work.workspace_id)
        if await bulk_edits.work(connection, work.id, at=work.place) is None:
            return
        found = await bulk_leads.locked(connection, work.workspace_id, chosen)
        skipped = await forget(connection, work.workspace_id, found) if found else 0
        await bulk_edits.advance(
            connection, work.id, (device, chosen[-1]), seen=len(chosen), changed=len(found), skipped=skipped
        )


async def _device(runtime: Runtime, work: Work) -> bool:
    """The next device, by the use case of a single one; only then the place moves on: a step done twice changes
    nothing the second time.
    """
    async with runtime.db.connection() as connection:
        found = await fleet.following(
            connection,
            work.workspace_id,
            DeviceFilter.from_json(work.chosen),
            after=work.place[1],
            upto=work.last_id,
        )
    if found is None:
        return await _finished(runtime, work)
    changed = await _act(runtime, work, found)
    async with runtime.db.transaction() as connection:
        if await bulk_edits.work(connection, work.id, at=work.place):
            await bulk_edits.advance(connection, work.id, (0, found), seen=1, changed=int(changed))
    return True


async def _act(runtime: Runtime, work: Work, device: DeviceId) -> bool:
    where, actor = (runtime, work.workspace_id, device), work.actor
    try:
        if work.action is EditAction.PAUSE:
            return await devices.pause_device(*where, actor=actor, reason=work.value.get("reason", ""))
        if work.action is EditAction.RESUME:
            return await devices.resume_device(*where, actor=actor)
        if work.action is EditAction.PACE:
            await devices.set_pace(*where, work.value["min_delay"], work.value["max_delay"], actor=actor)
        else:
            await devices.remove_device(*where, actor=actor)
    except NotFound:  # removed meanwhile
        return False
    return True


async def _finished(runtime: Runtime, work: Work) -> bool:
    async with runtime.db.connection() as connection:
        await bulk_edits.finish(connection, work.id)
    return False
