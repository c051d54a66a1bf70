"""Use cases of the suppression list: add, look, lift, and the stop inside somebody else's transaction.

Only a person lifts a suppression, and that is audited. A stop word, a provider's opt-out and a person's entry all go
through `suppress`, so there is one order of steps to be right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetcast.domain.identifiers import Phone, WorkspaceId
from fleetcast.domain.phone import parse_phone
from fleetcast.domain.sequence import StopReason
from fleetcast.errors import InvalidInput, InvalidInputs, NotFound
from fleetcast.runtime import Runtime
from fleetcast.store import audit, enrolments, history, suppressions, transitions
from fleetcast.store.audience import BY_KEY
from fleetcast.store.connection import Connection
from fleetcast.store.suppressions import Suppression
from fleetcast.store.workspaces import Workspace

__all__ = [
    "LARGEST_LIST",
    "LONGEST_NOTE",
    "PAGE",
    "Suppressed",
    "SuppressedMany",
    "Suppression",
    "add_suppression",
    "add_suppressions",
    "find_suppression",
    "lift_suppression",
    "list_suppressions",
    "suppress",
    "suppress_refusals",
]

PAGE = 100
LONGEST_NOTE = 500
LARGEST_LIST = 1_000
"""Numbers that one entry may name."""


@dataclass(frozen=True, slots=True)
class Suppressed:
    """What a suppression did. `skipped` counts the waiting rows it ended."""

    phone: Phone
    added: bool
    """False: the person was on the list already."""
    skipped: int


@dataclass(frozen=True, slots=True)
class SuppressedMany:
    """What one entry of several people did."""

    added: list[Phone]
    known: list[Phone]
    """On the list already."""
    skipped: int


async def suppress(
    connection: Connection, workspace_id: WorkspaceId, phone: Phone, source: str, note: str = ""
) -> Suppressed:
    """Suppress a person in the caller's transaction; `source` is reply, person, import or provider."""
    added, skipped = await _suppress(connection, workspace_id, [phone], source, note)
    return Suppressed(phone, bool(added), skipped)


async def suppress_refusals(
    connection: Connection, workspace_id: WorkspaceId, phones: Sequence[Phone], note: str
) -> int:
    """Suppress people who refused in a list of leads, in the caller's transaction, at most `LARGEST_LIST` at a time.
    Returns how many waiting messages that ended.
    """
    await connection.execute(BY_KEY)
    return (await _suppress(connection, workspace_id, phones, "import", note))[1]


async def _suppress(
    connection: Connection, workspace_id: WorkspaceId, phones: Sequence[Phone], source: str, note: str
) -> tuple[list[Phone], int]:
    """Waits for plans under way, adds the people, ends their waiting rows and their sequences and, in the last
    statement, writes since when it holds. A claim that was faster has started its attempt before that instant; no later
    one can.
    """
    await suppressions.lock(connection, workspace_id)
    added = await suppressions.insert(connection, workspace_id, phones, source, note)
    skipped = await transitions.skip_people(connection, workspace_id, phones)
    await enrolments.stop_people(connection, workspace_id, phones, StopReason.OPTED_OUT)
    if added and source != "import":  # a list of people who refused elsewhere is no answer to what was sent
        await history.note(connection, workspace_id, "opted_out", len(added))
    if added:
        await suppressions.take_effect(connection, workspace_id, added)
    return added, skipped


async def add_suppression(
    runtime: Runtime, workspace: Workspace, number: str, *, actor: str, note: str = "", source: str = "person"
) -> Suppressed:
    """Put a number on the list by a person's decision. Raises InvalidInput for a number that cannot be read."""
    phone = parse_phone(number, workspace.region)
    _check_note(note)
    async with runtime.db.transaction() as connection:
        # The audit row comes first: nothing may follow the statement that says since when the suppression holds.
        await audit.record(connection, workspace.id, actor, "suppression.add", phone, after={"note": note})
        return await suppress(connection, workspace.id, phone, source, note)


async def add_suppressions(
    runtime: Runtime, workspace: Workspace, numbers: Sequence[str], *, actor: str, note: str = ""
) -> SuppressedMany:
    """Put several numbers on the list, all of them or none. Raises InvalidInputs with every number that cannot be read,
    by its place: `numbers[0]`.
    """
    _check_note(note)
    if not 1 <= len(numbers) <= LARGEST_LIST:
        raise InvalidInput("numbers", f"name 1 to {LARGEST_LIST:,} numbers, not {len(numbers):,}")
    problems: list[InvalidInput] = []
    read: dict[Phone, None] = {}
    for place, number in enumerate(numbers):
        try:
            read[parse_phone(number, workspace.region)] = None
        except InvalidInput as error:
            problems.append(InvalidInput(f"numbers[{place}]", error.problem))
    if problems:
        raise InvalidInputs(problems)
    phones = list(read)
    async with runtime.db.transaction() as connection:
        await connection.execute(BY_KEY)
        await audit.record_all(connection, workspace.id, actor, "suppression.add", phones, after={"note": note})
        added, skipped = await _suppress(connection, workspace.id, phones, "person", note)
    return SuppressedMany(sorted(added), sorted(set(phones) - set(added)), skipped)


def _check_note(note: str) -> None:
    if len(note) > LONGEST_NOTE:
        raise InvalidInput("note", f"at most {LONGEST_NOTE} characters, this has {len(note)}")


async def lift_suppression(runtime: Runtime, workspace: Workspace, number: str, *, actor: str, note: str = "") -> Phone:
    """Take a number off the list. What was skipped stays skipped until a person retries it. Raises NotFound."""
    phone = parse_phone(number, workspace.region)
    _check_note(note)
    async with runtime.db.transaction() as connection:
        gone = await suppressions.delete(connection, workspace.id, phone)
        if gone is None:
            raise NotFound(f"{phone} is not on the suppression list of {workspace.name}.")
        before = {"source": gone.source, "since": gone.effective_at.isoformat(), "note": gone.note}
        await audit.record(connection, workspace.id, actor, "suppression.lift", phone, before, {"note": note})
    return phone


async def find_suppression(runtime: Runtime, workspace: Workspace, number: str) -> Suppression | None:
    """The entry of a number, if it is on the list."""
    phone = parse_phone(number, workspace.region)
    async with runtime.db.connection() as connection:
        return await suppressions.one(connection, workspace.id, phone)


async def list_suppressions(
    runtime: Runtime, workspace_id: WorkspaceId, *, after: str = "", limit: int = PAGE
) -> list[Suppression]:
    """A page of the list by number; `after` is the last number of the page before."""
    async with runtime.db.connection() as connection:
        return await suppressions.page(connection, workspace_id, after, limit)
