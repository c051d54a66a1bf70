"""The story of one person in a workspace: how they came, what they got, what they said, what people decided."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.lead import StoredLead
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services.leads import subject
from fleetcast.store import lead_timeline
from fleetcast.store.lead_timeline import Happened
from fleetcast.store.messages import time_limit

__all__ = ["Happened", "LeadStory", "story_of"]

PAGE = 30
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(9999, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class LeadStory:
    """A page of it, newest first."""

    happened: list[Happened]
    next: str | None
    """Hand it back as `before`; None: this was the beginning."""


async def story_of(
    runtime: Runtime, workspace_id: WorkspaceId, stored: StoredLead, *, before: str | None = None, limit: int = PAGE
) -> LeadStory:
    """What happened to a person. Things of one instant are never torn apart. Raises InvalidInput, Unavailable."""
    until = _END if before is None else _instant(before)
    async with runtime.db.transaction() as connection, time_limit(connection):
        found = await lead_timeline.of_person(
            connection, workspace_id, stored.id, stored.lead.phone, subject(stored), before=until, limit=limit + 1
        )
    if len(found) <= limit:
        return LeadStory(found, None)
    last = found[limit - 1].at
    shown = [each for each in found if each.at >= last]
    return LeadStory(shown, str((last - _EPOCH) // _MICROSECOND) if len(shown) < len(found) else None)


def _instant(text: str) -> datetime:
    if not (text.isascii() and text.isdigit() and len(text) < 17):
        raise InvalidInput("before", f"'{text[:40]}' does not belong to this list; take it from the page before")
    return _EPOCH + int(text) * _MICROSECOND
