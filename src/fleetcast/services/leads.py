"""Use cases of single leads and of a few at a time: show, add, change, remove. Lists are `lead_search`'s.

A refusal that a person records ends what waits for that person, in the same transaction and by the suppression list,
because that list is what planning and every claim ask. Only somebody who may lift suppressions records that a person
who refused has agreed again, and the suppression stays until it is lifted by itself.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fleetcast.domain.identifiers import DeviceId, LeadId, Phone, WorkspaceId
from fleetcast.domain.lead import Consent, Lead, StoredLead
from fleetcast.domain.phone import mask
from fleetcast.domain.sequence import StopReason
from fleetcast.errors import Forbidden, InvalidInput, InvalidInputs, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.lead_fields import LeadFields, NewLeadFields, changed, new_lead
from fleetcast.services.lead_run import check_attributes
from fleetcast.services.lead_staging import staged
from fleetcast.services.suppressions import LONGEST_NOTE, suppress, suppress_refusals
from fleetcast.store import audit, bulk_leads, enrolments, lead_merge, leads, suppressions, transitions
from fleetcast.store.connection import Connection

MOST_AT_ONCE = 1_000
"""Leads in one request; more are a file."""


@dataclass(frozen=True, slots=True)
class LeadShown:
    """A lead, and whether anything can reach the person at all."""

    stored: StoredLead
    suppressed: bool
    """The person is on the workspace's suppression list."""


@dataclass(frozen=True, slots=True)
class LeadsAdded:
    """What became of the leads of one request."""

    added: int
    """New leads."""
    merged: int
    """Stored leads that changed."""
    unchanged: int
    """Stored leads that were already so."""
    duplicates: int
    """Went into another one of the same request with the same phone."""


@dataclass(frozen=True, slots=True)
class ConsentGiven:
    """What a person said about being written to, and where."""

    consent: Consent
    """Given or refused."""
    source: str


async def show_lead(
    runtime: Runtime, workspace_id: WorkspaceId, lead_id: LeadId, *, device_id: DeviceId | None = None
) -> LeadShown:
    """One lead; with `device_id` of that device only. Raises NotFound."""
    async with runtime.db.connection() as connection:
        return await _shown(connection, workspace_id, await _found(connection, workspace_id, lead_id, device_id))


async def _found(
    connection: Connection,
    workspace_id: WorkspaceId,
    lead_id: LeadId,
    device_id: DeviceId | None,
    *,
    lock: bool = False,
) -> StoredLead:
    found = await leads.by_id(connection, workspace_id, lead_id, lock=lock)
    if found is None or device_id not in (None, found.device_id):
        raise NotFound(f"There is no lead {lead_id} in this workspace.")
    return found


async def _shown(connection: Connection, workspace_id: WorkspaceId, found: StoredLead) -> LeadShown:
    return LeadShown(found, await suppressions.one(connection, workspace_id, found.lead.phone) is not None)


async def add_leads(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    device_id: DeviceId,
    given: Sequence[NewLeadFields],
    *,
    consent_source: str | None = None,
    actor: str,
) -> LeadsAdded:
    """Add leads to a device, or merge them with those it has, by the rule of `fleetcast.store.lead_merge`.

    All or nothing, but who refuses is put on the suppression list whatever becomes of the rest. `consent_source` is
    stored with every consent that changes. Raises InvalidInputs that name every lead at fault like `leads[3].phone`,
    NotFound for a device that is not in this workspace.
    """
    source = _source(consent_source, "consent_source") if consent_source is not None else None
    if source is None and any(fields.get("consent", Consent.UNKNOWN) is not Consent.UNKNOWN for fields in given):
        raise InvalidInput("consent_source", "a lead says yes or no: say where these people did")
    async with runtime.db.connection() as connection:
        device = await lead_merge.destination(connection, workspace_id, device_id)
    if device is None:
        raise NotFound(_NO_DEVICE)
    read = await asyncio.to_thread(_read_all, given, device.region)
    keys = sorted({key for lead in read for key in lead.attributes})
    refusing = sorted({lead.phone for lead in read if lead.consent is Consent.REFUSED})
    if refusing:  # first and by itself: nothing may follow the statement that says since when it holds
        async with runtime.db.transaction() as connection:
            await suppress_refusals(connection, workspace_id, refusing, source or "")
    async with runtime.db.transaction() as connection:
        await lead_merge.one_at_a_time(connection, workspace_id)
        await check_attributes(connection, workspace_id, keys, "leads")
        table = await lead_merge.stage_here(connection, [staged(place, lead) for place, lead in enumerate(read)])
        people = await lead_merge.fold(connection, table)
        done = await lead_merge.merge(connection, table, workspace_id, device_id, consent_source=source or "")
        await lead_merge.add_attributes(connection, workspace_id, keys)
        report = LeadsAdded(done.added, done.merged, people - done.added - done.merged, len(read) - people)
        facts = {"added": report.added, "merged": report.merged, "unchanged": report.unchanged}
        await audit.record(
            connection, workspace_id, actor, "leads.add", device.name, after=facts | {"consent_source": source}
        )
        if not await lead_merge.bump_version(connection, workspace_id, device_id):
            raise NotFound(_NO_DEVICE)
    await runtime.nudges.plan()
    return report


_NO_DEVICE = "There is no such device in this workspace."


def _read_all(given: Sequence[NewLeadFields], region: str) -> list[Lead]:
    read, problems = [], []
    for place, fields in enumerate(given):
        try:
            read.append(new_lead(fields, region))
        except InvalidInput as error:
            problems.append(InvalidInput(f"leads[{place}].{error.field}", error.problem))
    if problems:
        raise InvalidInputs(problems)
    return read


def _source(text: str, field: str) -> str:
    """Where somebody agreed or refused, as it is kept."""
    clean = " ".join(text.split())
    if not clean or "\0" in clean:
        raise InvalidInput(field, "say in words where this was said, for example: form at the counter, May 2026")
    if len(clean) > LONGEST_NOTE:
        raise InvalidInput(field, f"at most {LONGEST_NOTE} characters, this has {len(clean)}")
    return clean


async def change_lead(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    lead_id: LeadId,
    fields: LeadFields,
    *,
    consent: ConsentGiven | None = None,
    device_id: DeviceId | None = None,
    may_lift: bool,
    actor: str,
) -> LeadShown:
    """Change what is given of a lead, and nothing else; `device_id`: only a lead of that device.

    A refusal puts the person on the suppression list of the workspace and skips what waits for them. `may_lift`: who
    asks may record that somebody who refused has agreed again; the list keeps the person until it is lifted there.
    Raises InvalidInput, NotFound, Forbidden.
    """
    if consent is not None:
        consent = ConsentGiven(consent.consent, _source(consent.source, "consent.source"))
    refuses = consent is not None and consent.consent is Consent.REFUSED
    async with runtime.db.transaction() as connection:
        # Whoever waits for one of these holds no lead yet: imports take the first one so, removals the second one.
        # Whoever activates a sequence has it, too: what changes here is either seen by them or told to the sequence.
        if fields.get("attributes") or "niches" in fields or "target_status" in fields:
            await lead_merge.one_at_a_time(connection, workspace_id)
        if refuses:
            await suppressions.lock(connection, workspace_id)
        before = await _found(connection, workspace_id, lead_id, device_id, lock=True)
        await _change(connection, workspace_id, before, changed(before.lead, fields), actor)
        if consent is not None:
            await _consent(connection, workspace_id, before, consent, may_lift=may_lift, actor=actor)
        after = await _shown(connection, workspace_id, await _found(connection, workspace_id, lead_id, None))
        if refuses:  # last: nothing may follow the statement that says since when it holds
            assert consent is not None
            await suppress(connection, workspace_id, before.lead.phone, "person", note=consent.source)
            return replace(after, suppressed=True)
        # Also last, and not with a refusal: senders hold messages while they wait for the device's row.
        await lead_merge.bump_version(connection, workspace_id, before.device_id)
    await runtime.nudges.plan()
    return after


async def _change(
    connection: Connection, workspace_id: WorkspaceId, before: StoredLead, after: Lead, actor: str
) -> None:
    names = [name for name in LeadFields.__annotations__ if getattr(before.lead, name) != getattr(after, name)]
    if not names:
        return
    if "attributes" in names:
        keys = sorted(after.attributes)
        await check_attributes(connection, workspace_id, keys, "attributes")
        await lead_merge.add_attributes(connection, workspace_id, keys)
    await leads.write(connection, workspace_id, before.id, after)
    # What is known of a person does not go into a log that nobody can change.
    await audit.record(connection, workspace_id, actor, "lead.change", subject(before), after={"fields": names})


async def _consent(
    connection: Connection,
    workspace_id: WorkspaceId,
    before: StoredLead,
    said: ConsentGiven,
    *,
    may_lift: bool,
    actor: str,
) -> None:
    refused = before.lead.consent is Consent.REFUSED
    if said.consent is Consent.UNKNOWN:
        raise InvalidInput("consent.state", "record what the person said: given or refused")
    if refused and said.consent is Consent.GIVEN and not may_lift:
        raise Forbidden("This person refused. To record that they agreed again needs the scope 'manage'.")
    await leads.write_consent(connection, workspace_id, before.id, said.consent, said.source)
    was = {"consent": before.lead.consent.value, "source": before.consent_source}
    now = {"consent": said.consent.value, "source": said.source}
    await audit.record(connection, workspace_id, actor, "lead.consent", subject(before), was, now)


async def remove_lead(
    runtime: Runtime, workspace_id: WorkspaceId, lead_id: LeadId, *, device_id: DeviceId | None = None, actor: str
) -> int:
    """Forget a lead; returns how many of its messages waited and are skipped now (`lead_removed`).

    Its number stays with the messages that were sent, a refusal stays too, and what is on its way arrives. Raises
    NotFound.
    """
    async with runtime.db.transaction() as connection:
        # Plans under way are waited for; those that come later do not see it any more.
        await suppressions.lock(connection, workspace_id)
        found = await _found(connection, workspace_id, lead_id, device_id, lock=True)
        skipped = await forget(connection, workspace_id, {lead_id: found.lead.phone})
        await audit.record(connection, workspace_id, actor, "lead.remove", subject(found), after={"skipped": skipped})
    return skipped


async def forget(connection: Connection, workspace_id: WorkspaceId, found: Mapping[LeadId, Phone]) -> int:
    """Forget leads that are locked, plans under way having been waited for; returns how many messages they skip."""
    await leads.remove(connection, workspace_id, list(found))
    await bulk_leads.forget_changes(connection, workspace_id, list(found))
    skipped = await transitions.skip_leads(connection, workspace_id, found)
    await enrolments.stop_leads(connection, workspace_id, found, StopReason.LEAD_DELETED)
    return skipped


def subject(lead: StoredLead) -> str:
    """What the log of decisions calls a lead; by it what was decided of one is found."""
    return f"{lead.id} {mask(lead.lead.phone)}"
