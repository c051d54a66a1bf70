"""Every transition of a message as a function: the only way to change a message's status.

What each does and guards is said beside its statement, in `store.transition_statements` and, for T7, in
`store.ending_statements`; here are the types. A function
returns what it moved: whatever its guard refused is simply not in the answer. Callers own the transaction. What is made
once a message is a named tuple: a frozen dataclass takes several times as long to make.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter, itemgetter
from typing import NamedTuple

from fleetcast.domain.identifiers import LeadId, Phone
from fleetcast.domain.message import MessageStatus, Outcome, Reason, Resolution
from fleetcast.store import ending_statements as ending
from fleetcast.store import transition_statements as sql
from fleetcast.store.connection import Connection

CHUNK = 5_000
"""Rows a bulk transition moves in one transaction: some tens of milliseconds, so that nobody waits long behind it."""
LONG_SECONDS = 300.0
"""What moves every queued row of a campaign or a shard at once may take; a hundred thousand rows take some seconds."""

_ID = attrgetter("id")


class Queued(NamedTuple):
    """A row that T1 put into its device's window; `campaign` is its turn: minus a sequence, 0 or `ANSWERS` for a row of
    neither.
    """

    shard: int
    device: int
    id: int
    campaign: int


class Claim(NamedTuple):
    """What a sender asks for in T2. `gap_ms` is the delay drawn before this attempt.

    Device and campaign decided when: a row that has others is not the one that was meant.
    """

    id: int
    shard: int
    device: int
    campaign: int
    """Minus its sequence, where it has one; 0 or `ANSWERS` for a message of neither."""
    gap_ms: int


class Claimed(NamedTuple):
    """A row in `sending`, committed: one attempt by this sender is allowed now."""

    id: int
    workspace: int
    device: int
    attempt: int
    epoch: int
    recipient: str
    content: int
    variables: dict[str, object]
    planned_at: float
    """The frozen `now` of its text, in Unix seconds."""
    payload_sha256: bytes | None
    """Of the first attempt, if there was one: a retry must render to the same."""
    now: float
    """Database time of the claim, in Unix seconds: to read a date takes a microsecond, to write one two."""
    is_answer: bool
    """To somebody who wrote lately: it goes out even while WhatsApp lets the device begin nothing new."""


class SentResult(NamedTuple):
    """T3a: the transport accepted the attempt."""

    id: int
    attempt: int
    epoch: int
    provider_id: str
    finished_at: float
    """End of the attempt by database time, in Unix seconds."""
    payload_sha256: bytes


@dataclass(frozen=True, slots=True)
class OtherResult:
    """T3b (failed), T3c (pending, after `delay` seconds) or T3d (in_doubt)."""

    id: int
    attempt: int
    epoch: int
    after: MessageStatus
    reason: Reason
    outcome: Outcome
    code: str
    finished_at: float
    """End of the attempt by database time, in Unix seconds."""
    detail: str = ""
    delay: float = 0.0
    payload_sha256: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Proof that an attempt was accepted, from elsewhere than its answer."""

    id: int
    attempt: int
    provider_id: str | None
    """None where only a person says so."""
    at: datetime


async def top_up(connection: Connection, devices: Sequence[int], rooms: Sequence[int]) -> list[Queued]:
    """T1 for these devices: at most `rooms[i]` due rows of `devices[i]`, in order of priority, turn and time."""
    rows = await connection.fetch(sql.TOP_UP, devices, rooms)
    return [Queued(*row) for row in rows]


async def claim(
    connection: Connection, claims: Sequence[Claim], epochs: Mapping[int, int], sender: str, install: str
) -> list[Claimed]:
    """T2. Run it outside a transaction: when it returns, the claim and its attempt rows are durable.

    `epochs`: shard → epoch under which the sender holds it, for every shard of `claims`.
    """
    claims = sorted(claims, key=_ID)
    shards = {c.shard for c in claims}
    rows = await connection.fetch(
        sql.CLAIM,
        [c.id for c in claims],
        [c.shard for c in claims],
        [c.gap_ms for c in claims],
        sender,
        list(shards),
        [epochs[shard] for shard in shards],
        install,
        [c.device for c in claims],
        [c.campaign for c in claims],
    )
    return [Claimed(*row) for row in rows]


async def record_sent(connection: Connection, results: Sequence[SentResult], paced: Iterable[int]) -> int:
    """T3a for a batch; returns how many matched. The others are in the inbox as evidence when this returns."""
    results = sorted(results, key=_ID)
    count: int = await connection.fetchval(
        sql.SENT,
        [r.id for r in results],
        [r.attempt for r in results],
        [r.epoch for r in results],
        [r.provider_id for r in results],
        [r.finished_at for r in results],
        [r.payload_sha256 for r in results],
        list(paced),
    )
    return count


async def record_other(connection: Connection, results: Sequence[OtherResult], paced: Iterable[int]) -> int:
    """T3b, T3c and T3d for a batch; returns how many matched."""
    results = sorted(results, key=_ID)
    count: int = await connection.fetchval(
        sql.SETTLED,
        [r.id for r in results],
        [r.attempt for r in results],
        [r.epoch for r in results],
        [r.after for r in results],
        [r.reason for r in results],
        [r.outcome for r in results],
        [r.code for r in results],
        [r.detail for r in results],
        [r.finished_at for r in results],
        list(paced),
        [r.delay for r in results],
        [r.payload_sha256 for r in results],
    )
    return count


async def requeue_campaign(connection: Connection, campaign_id: int, limit: int | None = None) -> int:
    """T4 for the queued rows of a campaign that is being paused, edited or cancelled: all of them, or `limit`."""
    count: int = await connection.fetchval(sql.REQUEUE_CAMPAIGN, campaign_id, limit, timeout=LONG_SECONDS)
    return count


async def requeue_device(connection: Connection, device_id: int) -> int:
    """T4 for all queued rows of a device that stops being ready."""
    count: int = await connection.fetchval(sql.REQUEUE_DEVICE, device_id, None)
    return count


async def requeue_strays(connection: Connection, within: timedelta) -> int:
    """T4 for rows that were being queued at the very moment at which their device stopped being ready."""
    count: int = await connection.fetchval(sql.REQUEUE_STRAYS, within, CHUNK)
    return count


async def requeue_held(connection: Connection, messages: Sequence[int]) -> int:
    """T4 for those of these queued rows whose person has another message in doubt: they wait until that is settled."""
    count: int = await connection.fetchval(sql.REQUEUE_HELD, messages, None)
    return count


async def requeue_shards(connection: Connection, shards: Sequence[int]) -> int:
    """T4 for shards that nobody owns."""
    count: int = await connection.fetchval(sql.REQUEUE_SHARDS, shards, None, timeout=LONG_SECONDS)
    return count


async def orphaned(connection: Connection, shards: Sequence[int], grace: dict[str, float]) -> list[int]:
    """T5. `grace`: seconds by transport. Returns the messages now in doubt."""
    rows = await connection.fetch(sql.ORPHANED, shards, list(grace), list(grace.values()))
    return [row["id"] for row in rows]


async def confirm_sent(connection: Connection, evidence: Sequence[Evidence], resolution: Resolution) -> list[int]:
    """T5a and T6. Returns the messages that are sent by this evidence; for the others it changed nothing."""
    rows = await connection.fetch(
        sql.CONFIRMED,
        [e.id for e in evidence],
        [e.attempt for e in evidence],
        [e.provider_id for e in evidence],
        [e.at for e in evidence],
        resolution,
    )
    return [row["id"] for row in rows]


async def settle_doubt(
    connection: Connection, decisions: Sequence[tuple[int, int, MessageStatus, Reason | None]]
) -> list[int]:
    """T5b (failed) and T5c (pending): message, the attempt that was decided about, status and reason of each.

    Returns the devices of the rows that were moved.
    """
    decisions = sorted(decisions, key=itemgetter(0))
    rows = await connection.fetch(
        sql.DOUBT_SETTLED,
        [d[0] for d in decisions],
        [d[1] for d in decisions],
        [d[2] for d in decisions],
        [d[3] for d in decisions],
    )
    return [row["device_id"] for row in rows]


async def fail_later(connection: Connection, ids: Sequence[int]) -> int:
    """T6, failure after acceptance."""
    count: int = await connection.fetchval(sql.FAILED_LATER, ids)
    return count


async def cancel_campaign(connection: Connection, campaign_id: int, limit: int = CHUNK) -> int:
    """T7 for at most `limit` rows of a cancelled campaign."""
    count: int = await connection.fetchval(ending.CANCEL_CAMPAIGN, campaign_id, limit)
    return count


async def expire_campaign(connection: Connection, campaign_id: int, limit: int = CHUNK) -> int:
    """T7 for at most `limit` rows of a campaign past its deadline."""
    count: int = await connection.fetchval(ending.EXPIRE_CAMPAIGN, campaign_id, limit)
    return count


async def skip_offline(connection: Connection, campaign_id: int, limit: int = CHUNK) -> int:
    """T7 for rows whose device is offline, where the campaign chose not to wait."""
    count: int = await connection.fetchval(ending.SKIP_OFFLINE, campaign_id, limit)
    return count


async def skip_removed(connection: Connection, device_id: int, limit: int = CHUNK) -> int:
    """T7 for at most `limit` rows of a removed device."""
    count: int = await connection.fetchval(ending.SKIP_REMOVED, device_id, limit)
    return count


async def skip_missing_variable(connection: Connection, ids: Sequence[int]) -> int:
    """T7 for rows just planned whose lead lacks a variable."""
    count: int = await connection.fetchval(ending.SKIP_MISSING_VARIABLE, ids, len(ids))
    return count


async def expire_single(connection: Connection, limit: int = CHUNK) -> int:
    """T7 for at most `limit` rows without a campaign whose own time is over."""
    count: int = await connection.fetchval(ending.EXPIRE_SINGLE, limit)
    return count


async def skip_unwanted(connection: Connection, ids: Sequence[int]) -> int:
    """T7 for rows just made without a plan whose people may not be written to."""
    count: int = await connection.fetchval(ending.SKIP_UNWANTED, ids, len(ids))
    return count


async def skip_people(connection: Connection, workspace_id: int, phones: Sequence[str]) -> int:
    """T7 for all waiting rows of these people, in the transaction that suppresses them."""
    count: int = await connection.fetchval(ending.SKIP_PEOPLE, workspace_id, None, phones)
    return count


async def skip_restored(connection: Connection, limit: int = CHUNK) -> int:
    """T7 for at most `limit` rows without a campaign that waited when a backup was made."""
    count: int = await connection.fetchval(ending.SKIP_RESTORED, limit)
    return count


async def skip_leads(connection: Connection, workspace_id: int, leads: Mapping[LeadId, Phone]) -> int:
    """T7 for the waiting rows of leads (id → phone), in the transaction that removes them."""
    count: int = await connection.fetchval(ending.SKIP_LEADS, workspace_id, None, list(leads.values()), list(leads))
    return count


async def skip_stopped(connection: Connection, within: timedelta) -> int:
    """T7 for rows that were on their way when their person was suppressed, not longer ago than this, and came back."""
    count: int = await connection.fetchval(ending.SKIP_STOPPED, within, CHUNK)
    return count


async def expire_steps(connection: Connection, limit: int = CHUNK) -> int:
    """T7 for at most `limit` rows of sequences whose window is over."""
    count: int = await connection.fetchval(ending.EXPIRE_STEPS, limit)
    return count


async def skip_late(connection: Connection, ids: Sequence[int]) -> int:
    """T7 for rows of sequences that are made too late to be sent."""
    count: int = await connection.fetchval(ending.SKIP_LATE, ids, len(ids))
    return count


async def cancel_steps(connection: Connection, ids: Sequence[int]) -> int:
    """T7 for waiting rows of people who are in their sequence no more."""
    count: int = await connection.fetchval(ending.CANCEL_STEPS, ids, len(ids))
    return count


async def retry_steps(connection: Connection, ids: Sequence[int]) -> list[int]:
    """T8 by a sequence's rule, for what certainly was not sent. Returns the rows that wait again."""
    rows = await connection.fetch(sql.RETRY_STEPS, ids)
    return [row["id"] for row in rows]


async def retry_certain(
    connection: Connection, workspace_id: int, campaign_id: int, device_id: int | None = None
) -> list[int]:
    """T8 for what certainly was not sent. Returns the device of each row that waits again."""
    rows = await connection.fetch(sql.RETRY_CERTAIN, workspace_id, campaign_id, device_id)
    return [row["device_id"] for row in rows]


async def retry_unconfirmed(connection: Connection, workspace_id: int, ids: Sequence[int]) -> list[int]:
    """T8u by a confirmed list; a copy may arrive twice. Returns the device of each row that waits again."""
    rows = await connection.fetch(sql.RETRY_UNCONFIRMED, workspace_id, ids)
    return [row["device_id"] for row in rows]
