"""Use cases of sequences on paper: make, edit, clone, find, list and show.

What sets one in motion or ends it is in `sequence_actions`, its steps in `sequence_steps`, people in `enrolments`.
"""

from dataclasses import dataclass
from typing import Any

from fleetcast.domain.identifiers import SequenceId, WorkspaceId
from fleetcast.domain.sequence import SequenceStatus
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import paging
from fleetcast.services.naming import LONGEST_NAME
from fleetcast.services.sequence_fields import SequenceFields, check_audience, check_sequence
from fleetcast.services.sequence_reports import People, people_of
from fleetcast.store import audit, enrolling, sequence_steps, sequence_tallies, sequences
from fleetcast.store.connection import Connection
from fleetcast.store.enrolling import Run
from fleetcast.store.sequence_steps import Step
from fleetcast.store.sequences import Sequence

__all__ = [
    "People",
    "Run",
    "Sequence",
    "SequenceFields",
    "SequenceShown",
    "Step",
    "clone_sequence",
    "create_sequence",
    "edit_sequence",
    "find_sequence",
    "page_of_sequences",
    "show_sequence",
]

COPY = " (copy)"


@dataclass(frozen=True, slots=True)
class SequenceShown:
    """A sequence, its steps, and how many people are where."""

    sequence: Sequence
    steps: tuple[Step, ...]
    people: People
    at_step: dict[int, int]
    """Step → people for whom it is due, under way or to come."""
    run: Run | None
    """The newest enrolment of many."""


async def create_sequence(
    runtime: Runtime, workspace_id: WorkspaceId, fields: SequenceFields, *, actor: str
) -> Sequence:
    """A new draft without steps. A name is needed. Raises InvalidInputs with every problem, each naming its field."""
    if "name" not in fields:
        raise InvalidInput("name", "a name is needed")
    values = check_sequence(fields, (None, None))
    check_audience(auto_enrol=values.get("auto_enrol", False), niches=values.get("niches", ()))
    async with runtime.db.transaction() as connection:
        made = await get_sequence(connection, workspace_id, await sequences.insert(connection, workspace_id, values))
        await audit.record(connection, workspace_id, actor, "sequence.create", subject(made.id), after=facts(values))
    return made


async def edit_sequence(
    runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId, fields: SequenceFields, *, actor: str
) -> Sequence:
    """Change what is given and nothing else; it holds from now on, also for who is in it.

    Whom it is for concerns who comes in from now on; pace, rules and window the steps that are sent from now on. Raises
    InvalidInputs, NotFound, Conflict when it is archived.
    """
    async with runtime.db.transaction() as connection:
        before = await get_sequence(connection, workspace_id, sequence_id, lock=True)
        refuse_archived(before)
        values = check_sequence(fields, (before.min_delay, before.max_delay))
        held = {name: getattr(before, name) for name in values} | {"niches": list(before.niches)}
        changes = {name: value for name, value in values.items() if value != held[name]}
        check_audience(
            auto_enrol=values.get("auto_enrol", before.auto_enrol), niches=values.get("niches", before.niches)
        )
        await sequences.update(connection, workspace_id, sequence_id, changes)
        after = await get_sequence(connection, workspace_id, sequence_id)
        await audit.record(
            connection,
            workspace_id,
            actor,
            "sequence.edit",
            subject(sequence_id),
            before=facts({name: held[name] for name in changes}),
            after=facts(changes),
        )
    await runtime.nudges.sequences(sequence_id)
    return after


async def clone_sequence(
    runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId, *, actor: str
) -> Sequence:
    """A new draft with the same steps, audience, pace and rules, and nobody in it. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        origin = await get_sequence(connection, workspace_id, sequence_id)
        values: dict[str, Any] = {name: getattr(origin, name) for name in sequences.COLUMN_TYPES}
        values |= {"name": origin.name[: LONGEST_NAME - len(COPY)] + COPY, "niches": list(origin.niches)}
        made_id = await sequences.insert(connection, workspace_id, values)
        for step in await sequence_steps.of_sequence(connection, workspace_id, sequence_id):
            await sequence_steps.insert(connection, workspace_id, made_id, step.timing, step.content.id, before=None)
        made = await get_sequence(connection, workspace_id, made_id)
        after = {"of": subject(sequence_id)}
        await audit.record(connection, workspace_id, actor, "sequence.clone", subject(made_id), after=after)
    return made


async def find_sequence(runtime: Runtime, workspace_id: WorkspaceId, name: str) -> Sequence:
    """The sequence of that name or number. Raises NotFound, InvalidInput when several have the name."""
    wanted = name.strip()
    async with runtime.db.connection() as connection:
        named = await sequences.by_name(connection, workspace_id, wanted)
        if not named and wanted.isdecimal() and len(wanted) < 19:
            found = await sequences.get(connection, workspace_id, SequenceId(int(wanted)))
            named = [found] if found else []
    if not named:
        raise NotFound(f"There is no sequence '{name}'. `fleetcast sequence list` shows all.")
    if len(named) > 1:
        numbers = ", ".join(str(each.id) for each in named[:10])
        raise InvalidInput("sequence", f"{len(named)} sequences are called '{name}'; give a number: {numbers}")
    return named[0]


async def page_of_sequences(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    *,
    status: SequenceStatus | None = None,
    after: str | None = None,
    limit: int = 50,
) -> tuple[list[tuple[Sequence, People]], str | None]:
    """Sequences with how many people are in each, newest first, and where the next page begins.

    Raises InvalidInput for an `after` of another list.
    """
    before = paging.position(after, paging.LAST_ID)
    async with runtime.db.connection() as connection:
        found = await sequences.page(connection, workspace_id, status, before, limit + 1)
        tallies = await sequence_tallies.of_sequences(connection, workspace_id, [s.id for s in found])
    pairs = [(s, people_of([t for t in tallies if t.sequence_id == s.id])) for s in found]
    return paging.cut(pairs, limit, lambda pair: pair[0].id)


async def show_sequence(runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId) -> SequenceShown:
    """Everything about one sequence. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        sequence = await get_sequence(connection, workspace_id, sequence_id)
        steps = await sequence_steps.of_sequence(connection, workspace_id, sequence_id)
        tallies = await sequence_tallies.of_sequences(connection, workspace_id, [sequence_id])
        run = await enrolling.latest_run(connection, workspace_id, sequence_id)
    at_step = {t.step_id: t.n for t in tallies if t.counter == "active" and t.step_id is not None}
    return SequenceShown(sequence, tuple(steps), people_of(tallies), {s.id: at_step.get(s.id, 0) for s in steps}, run)


# -- shared with the use cases beside this one


async def get_sequence(
    connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId, *, lock: bool = False
) -> Sequence:
    """The sequence, perhaps locked. Raises NotFound."""
    ask = sequences.locked if lock else sequences.get
    found = await ask(connection, workspace_id, sequence_id)
    if found is None:
        raise NotFound(f"There is no sequence {sequence_id} in this workspace.")
    return found


def refuse_archived(sequence: Sequence) -> None:
    """Raises Conflict where nothing changes any more."""
    if sequence.status is SequenceStatus.ARCHIVED:
        raise Conflict(f"Sequence '{sequence.name}' is archived: clone it to go on.")


def subject(sequence_id: SequenceId) -> str:
    """What the log of decisions calls a sequence."""
    return f"sequence {sequence_id}"


def facts(values: dict[str, Any]) -> dict[str, Any]:
    """Values as JSON knows them."""
    return {
        name: value if value is None or isinstance(value, str | int | float | bool | list) else str(value)
        for name, value in values.items()
    }
