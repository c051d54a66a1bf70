"""Use cases of people in sequences: who fits, enrol, list, look at one, and take out.

Whoever is enrolled by name need not have the sequence's niche, but must be one who may be written to. A person who was
in a sequence before comes in again only where that is asked for.
"""

from collections.abc import Sequence as Listed
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from fleetcast.domain.identifiers import EnrolmentId, LeadId, Phone, SequenceId, WorkspaceId
from fleetcast.domain.phone import parse_phone
from fleetcast.domain.sequence import EnrolmentSource, EnrolmentState, SequenceStatus, StopReason
from fleetcast.errors import Conflict, InvalidInput, InvalidInputs, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import paging
from fleetcast.services.sequence_work import come_in
from fleetcast.services.sequences import get_sequence, subject
from fleetcast.store import audit, enrolling, enrolments, leads, sequence_steps, workspaces
from fleetcast.store.audience import BY_KEY, SHARE_SUPPRESSIONS
from fleetcast.store.enrolling import Run
from fleetcast.store.enrolments import Enrolment, StepMessage, Wanted
from fleetcast.store.sequence_steps import Step
from fleetcast.store.sequences import Sequence

__all__ = [
    "MOST_AT_ONCE",
    "Enrolled",
    "Enrolment",
    "EnrolmentStory",
    "Run",
    "StepStory",
    "Wanted",
    "count_existing",
    "enrol_existing",
    "enrol_people",
    "enrolments_of_person",
    "page_of_enrolments",
    "show_enrolment",
    "stop_enrolments",
]

MOST_AT_ONCE = 1_000
"""People that one request names."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What became of people who were named."""

    enrolled: tuple[EnrolmentId, ...]
    active: int
    """In it already; they stay where they are."""
    before: int
    """Were in it before; say `again` to have them come in once more."""
    unwritable: int
    """On the suppression list, or refused."""
    unknown: int
    """No lead of this workspace."""


@dataclass(frozen=True, slots=True)
class StepStory:
    """One step of one person's way."""

    step: Step
    message: StepMessage | None
    """None: it was not made yet, was taken back, or was kept long enough."""
    at: datetime | None
    """When it is due, was sent or ended; what is not said yet is when it would come. In the person's zone."""


@dataclass(frozen=True, slots=True)
class EnrolmentStory:
    """One person in a sequence, step by step."""

    enrolment: Enrolment
    steps: tuple[StepStory, ...]


async def count_existing(runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId) -> int:
    """How many people there are whom the sequence is for and who never were in it: those whom `enrol_existing` would
    enrol. Raises NotFound, Unavailable.
    """
    async with runtime.db.transaction() as connection:
        return await enrolling.count(connection, await get_sequence(connection, workspace_id, sequence_id))


def refuse_more(people: int, confirmed: int) -> None:
    """Raises Conflict where more people are concerned than somebody was told."""
    if people > confirmed:
        raise Conflict(
            f"{people:,} leads fit now, {people - confirmed:,} more than were confirmed: look again, and confirm them."
        )


async def enrol_existing(
    runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId, *, confirmed: int, actor: str
) -> Run:
    """Begin to enrol all leads that there are and fit, chunk by chunk; `confirmed`: how many a person was told.

    Raises Conflict unless the sequence is active, while an earlier one is under way, or where more fit by now.
    """
    async with runtime.db.transaction() as connection:
        sequence = await get_sequence(connection, workspace_id, sequence_id, lock=True)
        _refuse_idle(sequence)
        people = await enrolling.count(connection, sequence)
        refuse_more(people, confirmed)
        under_way = await enrolling.latest_run(connection, workspace_id, sequence_id)
        if under_way is not None and under_way.finished_at is None:
            raise Conflict("Leads are being enrolled into this sequence just now: wait until that is done.")
        await enrolling.start_run(
            connection, workspace_id, sequence_id, expected=people, changed_since=None, actor=actor
        )
        facts = {"people": people}
        await audit.record(
            connection, workspace_id, actor, "sequence.enrol_existing", subject(sequence_id), after=facts
        )
        begun = await enrolling.latest_run(connection, workspace_id, sequence_id)
        assert begun is not None
    await runtime.nudges.sequences(sequence_id)
    return begun


async def enrol_people(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    *,
    lead_ids: Listed[LeadId] = (),
    phones: Listed[str] = (),
    again: bool = False,
    actor: str,
) -> Enrolled:
    """Enrol people by name: leads, or numbers of leads. Who is in it already stays where they are.

    Raises InvalidInput for leads that are not there, InvalidInputs for numbers that cannot be read (`phones[3]`),
    Conflict unless the sequence is active or
    paused.
    """
    asked = len(lead_ids) + len(phones)
    if not 1 <= asked <= MOST_AT_ONCE:
        raise InvalidInput("phones", f"name 1 to {MOST_AT_ONCE:,} people, not {asked:,}")
    async with runtime.db.transaction() as connection:
        await connection.execute(BY_KEY)
        workspace = await workspaces.by_id(connection, workspace_id)
        if workspace is None:
            raise NotFound(f"There is no workspace {workspace_id}.")
        numbers = _read(phones, workspace.region)
        await connection.execute(SHARE_SUPPRESSIONS, workspace_id)
        sequence = await get_sequence(connection, workspace_id, sequence_id, lock=True)
        _refuse_idle(sequence, or_paused=True)
        if strange := sorted(set(lead_ids) - await leads.existing(connection, workspace_id, lead_ids)):
            raise InvalidInput("lead_ids", f"there is no lead {strange[0]} in this workspace")
        found = await enrolling.named(connection, workspace_id, sequence_id, lead_ids=lead_ids, phones=numbers)
        fit = [n.candidate for n in found if n.writable and not n.is_in and (again or not n.was_in)]
        came = await come_in(connection, sequence, fit, EnrolmentSource.PERSON)
        done = Enrolled(
            tuple(came.enrolments),
            sum(n.is_in for n in found),
            sum(n.writable and n.was_in and not n.is_in for n in found) if not again else 0,
            sum(not n.writable and not n.is_in for n in found),
            len({*lead_ids}) + len({*numbers}) - len(found),
        )
        facts = {"asked": asked, "enrolled": len(done.enrolled), "again": again}
        await audit.record(connection, workspace_id, actor, "sequence.enrol", subject(sequence_id), after=facts)
    await runtime.nudges.sequences(sequence_id)
    return done


def _read(phones: Listed[str], region: str) -> list[Phone]:
    problems, numbers = [], []
    for place, text in enumerate(phones):
        try:
            numbers.append(parse_phone(text, region))
        except InvalidInput as error:
            problems.append(InvalidInput(f"phones[{place}]", error.problem))
    if problems:
        raise InvalidInputs(problems)
    return list(dict.fromkeys(numbers))


def _refuse_idle(sequence: Sequence, *, or_paused: bool = False) -> None:
    if sequence.status is SequenceStatus.ACTIVE or (or_paused and sequence.status is SequenceStatus.PAUSED):
        return
    first = "activate it first" if sequence.status is SequenceStatus.DRAFT else "nobody can be enrolled now"
    raise Conflict(f"Sequence '{sequence.name}' is {sequence.status}: {first}.")


async def page_of_enrolments(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    wanted: Wanted = Wanted(),  # noqa: B008 - frozen
    *,
    after: str | None = None,
    limit: int = 50,
) -> tuple[list[Enrolment], str | None]:
    """Who is or was in a sequence, newest first, and where the next page begins. With a filter besides the state a page
    may have fewer than `limit` although others follow. Raises NotFound, InvalidInput.
    """
    before = paging.position(after, paging.LAST_ID)
    async with runtime.db.connection() as connection:
        await get_sequence(connection, workspace_id, sequence_id)
        found = await enrolments.page(connection, workspace_id, sequence_id, wanted, before, limit + 1)
    some, following = paging.cut(found.enrolments, limit, lambda each: each.id)
    return some, str(found.reached) if following is None and found.reached is not None else following


async def enrolments_of_person(
    runtime: Runtime, workspace_id: WorkspaceId, phone: Phone, *, after: str | None = None, limit: int = 50
) -> tuple[list[Enrolment], str | None]:
    """What a person is and was in, newest first, and where the next page begins."""
    before = paging.position(after, paging.LAST_ID)
    async with runtime.db.connection() as connection:
        found = await enrolments.of_person(connection, workspace_id, phone, before, limit + 1)
    return paging.cut(found, limit, lambda each: each.id)


async def show_enrolment(runtime: Runtime, workspace_id: WorkspaceId, enrolment_id: EnrolmentId) -> EnrolmentStory:
    """One person's way through a sequence, step by step. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        found = await enrolments.get(connection, workspace_id, enrolment_id)
        workspace = await workspaces.by_id(connection, workspace_id)
        if found is None or workspace is None:
            raise NotFound(f"There is no enrolment {enrolment_id} in this workspace.")
        steps = await sequence_steps.of_sequence(connection, workspace_id, found.sequence_id)
        messages = await enrolments.messages(connection, workspace_id, enrolment_id)
    zone = ZoneInfo(found.time_zone or workspace.time_zone)
    told = []
    for step in steps:
        message = messages.get(step.id)
        at = None
        if message is not None:
            at = message.sent_at or message.ended_at or message.not_before
        elif step.id == found.step_id and found.state is EnrolmentState.ACTIVE:
            at = found.due_at or found.moment
        told.append(StepStory(step, message, at.astimezone(zone) if at else None))
    return EnrolmentStory(found, tuple(told))


async def stop_enrolments(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    enrolment_ids: Listed[EnrolmentId],
    *,
    actor: str,
) -> int:
    """Take people out of a sequence; how many were in it. What is on its way to them at this moment arrives.

    Raises NotFound, InvalidInput for one that is not in it, and for more than can be named at once.
    """
    if not 1 <= len(enrolment_ids) <= MOST_AT_ONCE:
        raise InvalidInput("enrolment_ids", f"name 1 to {MOST_AT_ONCE:,} of them, not {len(enrolment_ids):,}")
    wanted = sorted(set(enrolment_ids))
    async with runtime.db.transaction() as connection:
        await get_sequence(connection, workspace_id, sequence_id)
        if strange := sorted(set(wanted) - await enrolments.existing(connection, workspace_id, sequence_id, wanted)):
            raise InvalidInput("enrolment_ids", f"there is no enrolment {strange[0]} in this sequence")
        stopped = await enrolments.stop_some(connection, workspace_id, sequence_id, wanted, StopReason.BY_PERSON)
        facts = {"asked": len(enrolment_ids), "stopped": stopped}
        await audit.record(connection, workspace_id, actor, "sequence.stop", subject(sequence_id), after=facts)
    await runtime.nudges.sequences(sequence_id)
    return stopped
