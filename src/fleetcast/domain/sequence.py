"""What a sequence is, and where a person in one is: the words for both, and which step follows which.

Separate from the timeline, which says when a step is due: these words are also the database's, the API's and people's.
"""

from enum import StrEnum


class SequenceStatus(StrEnum):
    """Where a sequence is. The words are the database's enum `sequence_status`."""

    DRAFT = "draft"
    ACTIVE = "active"
    PAUSED = "paused"
    """Nothing of it is sent. What becomes later than its window meanwhile has expired when it goes on."""
    ARCHIVED = "archived"
    """Over for good; everybody in it was stopped."""


_S = SequenceStatus
SEQUENCE_TRANSITIONS: dict[SequenceStatus, frozenset[SequenceStatus]] = {
    _S.DRAFT: frozenset({_S.ACTIVE, _S.ARCHIVED}),
    _S.ACTIVE: frozenset({_S.PAUSED, _S.ARCHIVED}),
    _S.PAUSED: frozenset({_S.ACTIVE, _S.ARCHIVED}),
    _S.ARCHIVED: frozenset(),
}


class EnrolmentState(StrEnum):
    """Where a person is in a sequence. The words are the database's enum `enrolment_state`."""

    ACTIVE = "active"
    """A step is due, under way or to come. A person is so in a sequence once at a time."""
    COMPLETED = "completed"
    """The last step has ended. A step that is added later does not bring anybody back."""
    STOPPED = "stopped"
    """Nothing more is sent; the reason says why."""


class StopReason(StrEnum):
    """Why somebody gets no more of a sequence."""

    REPLIED = "replied"
    """They wrote, to any number of the workspace."""
    OPTED_OUT = "opted_out"
    """They are on the suppression list, or refused consent."""
    CONVERTED = "converted"
    """Their standing (prospect, customer) changed to one that the sequence is not for."""
    BY_PERSON = "by_person"
    """Somebody took them out, or archived the sequence."""
    LEAD_DELETED = "lead_deleted"
    DEVICE_REMOVED = "device_removed"
    """The number that knows them was removed; nobody else writes in its place."""
    STEP_FAILED = "step_failed"
    """A step was not sent, and the sequence stops then."""


class FailureRule(StrEnum):
    """What follows a step that was not sent: failed, expired, or skipped for what its text lacked."""

    CONTINUE = "continue"
    """The next step, at its own time."""
    RETRY = "retry"
    """The same step again, an hour later and three times at most, as long as its window is open; then the next."""
    STOP = "stop"
    """Nothing more."""


class EnrolmentSource(StrEnum):
    """How somebody came into a sequence."""

    NICHE = "niche"
    """By itself: a lead that came, or came to have the niche, while the sequence was active."""
    EXISTING = "existing"
    """With all leads that fitted when somebody chose so."""
    PERSON = "person"
    """By name: by hand, from a file, through the API."""


MOST_STEPS = 100
MOST_RETRIES = 3
"""Of one step, by the rule `retry`; each is as many attempts as a message has."""
