"""Use cases of the suppression list: add, look, lift, and the stop inside somebody else's transaction.

Only a person lifts a suppression, and that is audited. A stop word, a provider's opt-out and a person's entry all go
through `suppress`, so there is one order of steps to be right.
"""

from dataclasses import dataclass

from fleetcast.domain.identifiers import Phone, WorkspaceId
from fleetcast.domain.phone import parse_phone
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.store import audit, suppressions, transitions
from fleetcast.store.connection import Connection
from fleetcast.store.suppressions import Suppression
from fleetcast.store.workspaces import Workspace

__all__ = [
    "PAGE",
    "Suppressed",
    "Suppression",
    "add_suppression",
    "find_suppression",
    "lift_suppression",
    "list_suppressions",
    "suppress",
]

PAGE = 100
LONGEST_NOTE = 500


@dataclass(frozen=True, slots=True)
class Suppressed:
    """What a suppression did. `skipped` counts the waiting rows it ended."""

    phone: Phone
    added: bool
    """False: the person was on the list already."""
    skipped: int


async def suppress(
    connection: Connection, workspace_id: WorkspaceId, phone: Phone, source: str, note: str = ""
) -> Suppressed:
    """Suppress a person in the caller's transaction; `source` is reply, person, import or provider.

    Waits for plans under way, adds the person, ends their waiting rows and, in the last statement, writes since when it
    holds. A claim that was faster has started its attempt before that instant; no later one can.
    """
    await suppressions.lock(connection, workspace_id)
    added = await suppressions.insert(connection, workspace_id, phone, source, note)
    skipped = await transitions.skip_person(connection, workspace_id, phone)
    if added:
        await suppressions.take_effect(connection, workspace_id, phone)
    return Suppressed(phone, added, skipped)


async def add_suppression(
    runtime: Runtime, workspace: Workspace, number: str, *, actor: str, note: str = "", source: str = "person"
) -> Suppressed:
    """Put a number on the list by a person's decision. Raises InvalidInput for a number that cannot be read."""
    phone = parse_phone(number, workspace.region)
    if len(note) > LONGEST_NOTE:
        raise InvalidInput("note", f"at most {LONGEST_NOTE} characters, this has {len(note)}")
    async with runtime.db.transaction() as connection:
        # The audit row comes first: nothing may follow the statement that says since when the suppression holds.
        await audit.record(connection, workspace.id, actor, "suppression.add", phone, after={"note": note})
        return await suppress(connection, workspace.id, phone, source, note)


async def lift_suppression(runtime: Runtime, workspace: Workspace, number: str, *, actor: str, note: str = "") -> Phone:
    """Take a number off the list. What was skipped stays skipped until a person retries it. Raises NotFound."""
    phone = parse_phone(number, workspace.region)
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
