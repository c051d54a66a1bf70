"""What the sequencer does, step by step: each function is one short transaction and may be repeated at any moment.

Whoever takes a step locks what it is about and writes where people are in the transaction that did the work, so a
crash, a second sequencer or a nudge too many can only repeat what changes nothing. The arithmetic of time is the
domain's.
"""

from collections.abc import Sequence as Listed
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog

from fleetcast import failpoints
from fleetcast.domain.identifiers import EnrolmentId, SequenceId, WorkspaceId
from fleetcast.domain.message import MessageStatus, Reason
from fleetcast.domain.sequence import (
    MOST_RETRIES,
    EnrolmentSource,
    EnrolmentState,
    FailureRule,
    SequenceStatus,
    StopReason,
)
from fleetcast.domain.timeline import RETRY_AFTER, Progress, Timeline
from fleetcast.runtime import Runtime
from fleetcast.store import (
    enrolling,
    enrolments,
    overview,
    sequence_steps,
    sequences,
    sequencing,
    transitions,
    workspaces,
)
from fleetcast.store.audience import BY_KEY, SHARE_SUPPRESSIONS
from fleetcast.store.connection import Connection
from fleetcast.store.enrolling import Candidate, Newcomer
from fleetcast.store.sequences import Sequence
from fleetcast.store.sequencing import Ended, Place, Waiting

__all__ = [
    "Came",
    "clear_stopped",
    "come_in",
    "end_archived",
    "expire",
    "follow_ends",
    "hear_news",
    "retime",
    "send_due",
    "take_back",
    "take_run_step",
]

log = structlog.get_logger()

STOP_CHUNK = 5_000
_CAME_OF_IT = frozenset({Reason.EXPIRED, Reason.DEVICE_OFFLINE, Reason.POISON, Reason.CONTENT_CHANGED, Reason.RESTORED})
"""Why a step was not sent that no retry changes: its window is over, the row is at fault, or it may have gone out."""
_STOPS = {
    Reason.OPT_OUT: StopReason.OPTED_OUT,
    Reason.LEAD_REMOVED: StopReason.LEAD_DELETED,
    Reason.DEVICE_REMOVED: StopReason.DEVICE_REMOVED,
}
"""What ends a message because its person, or their number's device, is gone."""


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # this machine's list of zones is another one's
        log.warning("a time zone is not known on this machine: UTC holds in its place", zone=name)
        return ZoneInfo("UTC")


# -- what is due


async def send_due(runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId) -> int:
    """The next due steps of a sequence become messages, or expire, or are tried again. How many people that was."""
    async with runtime.db.transaction() as connection:
        await connection.execute(BY_KEY)
        await connection.execute(SHARE_SUPPRESSIONS, workspace_id)
        sequence = await sequencing.take(connection, sequence_id)
        if sequence is None:
            return 0
        found = await sequencing.due(connection, sequence_id)
        now = await overview.now(connection)
        timeline = await sequence_steps.timeline(connection, workspace_id, sequence_id)
        old = [w for w in found if w.message_id is None and w.revision < sequence.revision]
        # By the timeline as it was they are due; by the one that holds perhaps not.
        await sequencing.place(connection, [_anew(w, timeline, sequence.revision, now) for w in old])
        again = [(w.id, w.message_id) for w in found if w.message_id is not None]
        if again:
            await sequencing.retry(connection, again)
        fresh = [w for w in found if w.message_id is None and w.revision >= sequence.revision]
        late = frozenset(w.id for w in fresh if now > w.moment + sequence.late_by)
        devices = await sequencing.give_birth(connection, [(w.id, w.moment + sequence.late_by) for w in fresh], late)
        if devices:
            await failpoints.passing(failpoints.Point.SEQUENCER_BORN)
    work = sorted({*devices, *(w.device_id for w in found if w.message_id is not None)})
    if work:
        await runtime.nudges.work(work)
    return len(found)


def _so_far(waiting: Waiting) -> Progress:
    return Progress(
        waiting.enrolled_at,
        waiting.anchor,
        _zone(waiting.zone),
        waiting.done_step_id,
        waiting.done_at,
        waiting.done_moment,
    )


def _anew(waiting: Waiting, timeline: Timeline, revision: int, now: datetime) -> Place:
    placed = timeline.again(_so_far(waiting), waiting.step_id, now)
    return Place(
        waiting.id,
        placed.step if placed else None,
        placed.moment if placed else None,
        placed.due_at if placed else None,
        waiting.done_step_id,
        waiting.done_at,
        waiting.done_moment,
        revision,
        state=EnrolmentState.ACTIVE if placed else EnrolmentState.COMPLETED,
    )


# -- what follows


async def follow_ends(runtime: Runtime) -> int:
    """Decide what follows steps that have ended. How many ends were taken."""
    async with runtime.db.transaction() as connection:
        await connection.execute(BY_KEY)
        taken, found = await sequencing.ended(connection)
        timelines = {
            key: await sequence_steps.timeline(connection, *key)
            for key in sorted({(e.workspace_id, e.sequence_id) for e in found})
        }
        places = [_after(e, timelines[e.workspace_id, e.sequence_id]) for e in found]
        await sequencing.place(connection, places)
        if places:
            await failpoints.passing(failpoints.Point.SEQUENCER_FOLLOWED)
    return taken


def _after(ended: Ended, timeline: Timeline) -> Place:
    def over(state: EnrolmentState, reason: StopReason | None = None) -> Place:
        return Place(
            ended.id,
            None,
            None,
            None,
            ended.step_id,
            ended.at,
            ended.moment,
            ended.revision,
            state=state,
            stop_reason=reason,
        )

    if ended.state is not EnrolmentState.ACTIVE:
        return over(ended.state, ended.stop_reason)
    reason = None if ended.reason is None else Reason(ended.reason)
    was_sent = ended.status == MessageStatus.SENT or reason is Reason.UNCONFIRMED
    if not was_sent:
        if reason in _STOPS:
            return over(EnrolmentState.STOPPED, _STOPS[reason])
        if ended.on_failure is FailureRule.STOP:
            return over(EnrolmentState.STOPPED, StopReason.STEP_FAILED)
        if ended.on_failure is FailureRule.RETRY and (retried := _retried(ended, reason)) is not None:
            return retried
    so_far = Progress(ended.enrolled_at, ended.anchor, _zone(ended.zone), ended.step_id, ended.at, ended.moment)
    placed = timeline.following(so_far)
    if placed is None:
        return over(EnrolmentState.COMPLETED)
    return Place(
        ended.id,
        placed.step,
        placed.moment,
        placed.due_at,
        ended.step_id,
        ended.at,
        ended.moment,
        ended.revision,
    )


def _retried(ended: Ended, reason: Reason | None) -> Place | None:
    at = ended.at + RETRY_AFTER
    if ended.tries >= MOST_RETRIES or reason in _CAME_OF_IT or at > ended.moment + ended.late_by:
        return None
    return Place(
        ended.id,
        ended.step_id,
        ended.moment,
        at,
        ended.done_step_id,
        ended.done_at,
        ended.done_moment,
        ended.revision,
        message_id=ended.message_id,
        tries=ended.tries + 1,
    )


async def clear_stopped(runtime: Runtime) -> int:
    """Cancel what waits for people who are in their sequence no more."""
    async with runtime.db.transaction() as connection:
        await connection.execute(BY_KEY)
        return await sequencing.clear_stopped(connection)


async def expire(runtime: Runtime) -> int:
    """Skip messages whose window is over."""
    async with runtime.db.transaction() as connection:
        await connection.execute(BY_KEY)
        return await transitions.expire_steps(connection)


async def take_back(runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId) -> bool:
    """Take back what waits and is not to be sent now; whether there may be more."""
    async with runtime.db.transaction() as connection:
        await connection.execute(BY_KEY)
        await connection.execute(SHARE_SUPPRESSIONS, workspace_id)
        return await sequencing.take_back(connection, sequence_id)


async def retime(runtime: Runtime, sequence_id: SequenceId) -> bool:
    """Place the next people anew after the timeline has changed; whether there may be more."""
    async with runtime.db.transaction() as connection:
        await connection.execute(BY_KEY)
        sequence = await sequencing.take_for_retiming(connection, sequence_id)
        if sequence is None:
            return False
        found = await sequencing.placed_before(connection, sequence)
        timeline = await sequence_steps.timeline(connection, sequence.workspace_id, sequence_id)
        now = await overview.now(connection)
        await sequencing.place(connection, [_anew(w, timeline, sequence.revision, now) for w in found])
    return True


async def end_archived(runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId) -> bool:
    """Stop the next people of an archived sequence; whether there may be more."""
    async with runtime.db.transaction() as connection:
        await connection.execute(BY_KEY)
        done = await enrolments.stop_first(connection, workspace_id, sequence_id, StopReason.BY_PERSON, STOP_CHUNK)
    return done > 0


# -- who comes in


@dataclass(frozen=True, slots=True)
class Came:
    """Who came into a sequence in one transaction."""

    enrolments: list[EnrolmentId]
    is_due: bool
    """Some of them are due at once."""


async def come_in(
    connection: Connection, sequence: Sequence, candidates: Listed[Candidate], source: EnrolmentSource
) -> Came:
    """Enrol people in the caller's transaction, as of now, each by their own clock."""
    timeline = await sequence_steps.timeline(connection, sequence.workspace_id, sequence.id)
    workspace = await workspaces.by_id(connection, sequence.workspace_id)
    assert workspace is not None
    if not candidates or not timeline.live:
        return Came([], is_due=False)
    now = await overview.now(connection)
    begins: dict[str, tuple[date, datetime]] = {}  # a thousand people live in a few zones
    newcomers = []
    for candidate in candidates:
        zone = candidate.zone or workspace.time_zone
        if zone not in begins:
            anchor = timeline.first_day(now, _zone(zone))
            placed = timeline.following(Progress(now, anchor, _zone(zone)))
            assert placed is not None
            begins[zone] = anchor, placed.moment
        newcomers.append(Newcomer(candidate, *begins[zone]))
    made = await enrolling.enrol(connection, sequence, timeline.live[0].id, newcomers, now, source)
    return Came(made, is_due=any(moment <= now for _, moment in begins.values()))


async def hear_news(runtime: Runtime, workspace_id: WorkspaceId) -> int:
    """Stop whose standing has changed, and enrol leads that came into a niche. How many leads were looked at."""
    async with runtime.db.transaction() as connection:
        await connection.execute(BY_KEY)
        await connection.execute(SHARE_SUPPRESSIONS, workspace_id)
        news = await enrolling.take_news(connection, workspace_id)
        if news.converted:
            await enrolments.stop_converted(connection, workspace_id, news.converted)
        for sequence_id in await enrolling.taking(connection, workspace_id):
            sequence = await sequences.locked(connection, workspace_id, sequence_id)
            if sequence is None or sequence.status is not SequenceStatus.ACTIVE:
                continue
            found = await enrolling.fitting_among(connection, sequence, news.leads)
            await come_in(connection, sequence, found, EnrolmentSource.NICHE)
    return len(news.leads)


async def take_run_step(runtime: Runtime, run_id: int) -> bool:
    """Enrol the next people of a run; whether there may be more now. It rests and ends with its sequence."""
    async with runtime.db.transaction() as connection:
        await connection.execute(BY_KEY)
        work = await enrolling.take_run(connection, run_id)
        if work is None:
            return False
        await connection.execute(SHARE_SUPPRESSIONS, work.workspace_id)
        sequence = await sequences.locked(connection, work.workspace_id, work.sequence_id)
        assert sequence is not None
        if sequence.status is SequenceStatus.PAUSED:
            return False
        upto = await enrolling.window(connection, work)
        if sequence.status is SequenceStatus.ARCHIVED or upto is None:
            await enrolling.advance_run(connection, run_id, None, 0)
            return False
        found = await enrolling.fitting_in(connection, sequence, work, upto)
        came = await come_in(connection, sequence, found, EnrolmentSource.EXISTING)
        await enrolling.advance_run(connection, run_id, upto, len(came.enrolments))
    return True
