"""A change of many leads or devices at once as a thing with a state, which goes on while nobody looks.

Each of the many is changed by the same rule as a single one; what the whole is called, how far it is and whether it can
be taken back is said here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Things(StrEnum):
    """What is changed."""

    LEADS = "leads"
    DEVICES = "devices"


class EditAction(StrEnum):
    """What is done to each of them."""

    ADD_NICHE = "add_niche"
    REMOVE_NICHE = "remove_niche"
    SET_STATUS = "set_status"
    """Prospect or customer."""
    SET_ATTRIBUTE = "set_attribute"
    """An empty text takes it away."""
    FORGET = "forget"
    """As a single lead is removed; cannot be taken back."""
    PAUSE = "pause"
    RESUME = "resume"
    PACE = "pace"
    REMOVE = "remove"
    """Of devices; cannot be taken back."""


OF_LEADS = (
    EditAction.ADD_NICHE,
    EditAction.REMOVE_NICHE,
    EditAction.SET_STATUS,
    EditAction.SET_ATTRIBUTE,
    EditAction.FORGET,
)
OF_DEVICES = (EditAction.PAUSE, EditAction.RESUME, EditAction.PACE, EditAction.REMOVE)
UNDOABLE = frozenset({EditAction.ADD_NICHE, EditAction.REMOVE_NICHE, EditAction.SET_STATUS, EditAction.SET_ATTRIBUTE})
"""What each lead was before is kept for a while. Devices are paused, resumed and paced again instead."""


class EditStatus(StrEnum):
    """Where a change of many stands. The words are the database's enum `bulk_edit_status`."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    """By a person; what was done before stays."""


@dataclass(frozen=True, slots=True)
class BulkEdit:
    """One change of many."""

    id: int
    things: Things
    action: EditAction
    value: Mapping[str, Any]
    """What the action needs: niche, status, key and value, or the two ends of a pace."""
    chosen: Mapping[str, Any]
    """Whom it is done to: a `LeadFilter` as it is stored, or the words by which devices were found."""
    status: EditStatus
    actor: str
    undoes: int | None
    """The one that this one takes back."""
    undone_by: int | None
    """The one that takes this one back."""
    can_be_undone: bool
    """It has ended, what was there before is still known, and nobody has taken it back."""
    expected: int
    """How many were counted when it was confirmed."""
    seen: int
    """How many it has come to."""
    changed: int
    """How many of them it changed; the others were already so."""
    skipped: int
    """Messages that waited for what was removed, and do not leave any more."""
    started_at: datetime
    finished_at: datetime | None

    @property
    def percent(self) -> int:
        """How far it is, 0 to 100."""
        if self.status is EditStatus.DONE:
            return 100
        return min(99, 100 * self.seen // self.expected) if self.expected else 0
