"""Messages in doubt, decided by a person: it arrived, give it up, or send it again although a copy may arrive twice.

Nobody guesses here: each decision names its messages, is audited, and is made for all of them or for none. Separate
from the reading of messages because these are the only use cases in which a person overrules what the system knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import DeviceId, MessageId, WorkspaceId
from fleetcast.domain.message import MessageStatus, Reason, Resolution
from fleetcast.errors import Conflict, InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services.messages import LARGEST_PAGE, LAST_ID
from fleetcast.store import audit, campaigns, doubt, messages, overview, transitions
from fleetcast.store.audience import SHARE_SUPPRESSIONS
from fleetcast.store.connection import Connection
from fleetcast.store.doubt import Undecided
from fleetcast.store.messages import MessageRow
from fleetcast.store.transitions import Evidence

__all__ = ["LARGEST_DECISION", "Resent", "confirm_arrived", "give_up", "list_doubts", "resend"]

LARGEST_DECISION = 1_000
"""Messages that one decision may name: as many as a person may have read."""


async def list_doubts(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    *,
    after: int = 0,
    limit: int = LARGEST_PAGE,
    device_id: DeviceId | None = None,
) -> list[MessageRow]:
    """Messages in doubt now, by number, those after `after`; at most `limit`, of one device or of all."""
    async with runtime.db.transaction() as connection, messages.time_limit(connection):
        return await messages.in_doubt(connection, workspace_id, after, limit, device_id)


async def confirm_arrived(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    message_ids: Sequence[MessageId],
    *,
    actor: str,
    device_id: DeviceId | None = None,
) -> int:
    """T5a by a person: these messages arrived. Returns how many are `sent` now.

    Raises InvalidInput for a message that is not in doubt, or not of the device where one is given; then nothing is
    changed.
    """
    async with runtime.db.transaction() as connection:
        found = await _undecided(connection, workspace_id, _checked(message_ids), device_id)
        now = await overview.now(connection)
        evidence = [Evidence(m.id, m.attempts, None, now) for m in found]
        sent = await transitions.confirm_sent(connection, evidence, Resolution.PERSON)
        await _note(connection, workspace_id, actor, "message.arrived", found)
    return len(sent)


async def give_up(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    message_ids: Sequence[MessageId],
    *,
    actor: str,
    device_id: DeviceId | None = None,
) -> int:
    """T5b by a person: wait no longer; these messages are failed, unconfirmed. Returns how many.

    Raises InvalidInput for a message that is not in doubt, or not of the device where one is given; then nothing is
    changed.
    """
    async with runtime.db.transaction() as connection:
        found = await _undecided(connection, workspace_id, _checked(message_ids), device_id)
        devices = await _fail(connection, found)
        await _note(connection, workspace_id, actor, "message.give_up", found)
    return len(devices)


@dataclass(frozen=True, slots=True)
class Resent:
    """What became of messages that were to be sent again."""

    waiting: int
    """They wait for their turn again."""
    kept_back: int
    """They are failed, unconfirmed: these people have asked for no more messages."""


async def resend(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    message_ids: Sequence[MessageId],
    *,
    actor: str,
    device_id: DeviceId | None = None,
) -> Resent:
    """T5b and T8u in one transaction: send these again; a copy may arrive twice.

    Raises InvalidInput for a message that is not in doubt, or not of the device where one is given, Conflict where its
    campaign is over; then nothing is changed.
    """
    wanted = _checked(message_ids)
    async with runtime.db.transaction() as connection:
        await connection.execute(SHARE_SUPPRESSIONS, workspace_id)
        # Campaigns are locked before their messages, as everywhere.
        touched = [
            await campaigns.locked(connection, workspace_id, campaign_id)
            for campaign_id in await doubt.campaigns_of(connection, workspace_id, wanted)
        ]
        found = await _undecided(connection, workspace_id, wanted, device_id)
        for campaign in touched:
            if campaign is None or campaign.status not in (CampaignStatus.RUNNING, CampaignStatus.PAUSED):
                raise Conflict(
                    f"Campaign '{campaign.title if campaign else ''}' is over: its messages cannot be sent again. "
                    "Say that they arrived, or give them up."
                )
        await _fail(connection, found)
        await transitions.retry_unconfirmed(connection, workspace_id, wanted)
        after = await doubt.locked(connection, workspace_id, wanted)
        waiting = {m.id for m in after if m.status is MessageStatus.PENDING}
        now = await overview.now(connection)
        again = {m.campaign_id for m in found if m.id in waiting}
        for campaign in touched:
            if campaign is not None and campaign.id in again and campaign.expires_at and campaign.expires_at <= now:
                await campaigns.extend_deadline(connection, workspace_id, campaign.id)
        await _note(connection, workspace_id, actor, "message.resend", [m for m in found if m.id in waiting])
        await _note(connection, workspace_id, actor, "message.give_up", [m for m in found if m.id not in waiting])
    if waiting:
        await runtime.nudges.work(sorted({m.device_id for m in found if m.id in waiting}))
        if single := sorted({m.device_id for m in found if m.id in waiting and m.campaign_id is None}):
            await runtime.nudges.urgent(single)
    return Resent(len(waiting), len(found) - len(waiting))


def _checked(message_ids: Sequence[MessageId]) -> list[MessageId]:
    """Each once, in the order in which rows are locked."""
    wanted = sorted(set(message_ids))
    if not wanted:
        raise InvalidInput("messages", "name at least one message")
    if len(wanted) > LARGEST_DECISION:
        raise InvalidInput("messages", f"at most {LARGEST_DECISION:,} at a time, not {len(wanted):,}")
    for message_id in wanted:
        if not 0 < message_id <= LAST_ID:
            raise InvalidInput("messages", f"there is no message {message_id} in this workspace")
    return wanted


async def _undecided(
    connection: Connection, workspace_id: WorkspaceId, wanted: Sequence[MessageId], device_id: DeviceId | None
) -> list[Undecided]:
    """The messages, locked; every one of them in doubt, and of the device where one is given."""
    found = await doubt.locked(connection, workspace_id, wanted)
    known = {m.id: m for m in found if device_id in (None, m.device_id)}
    for message_id in wanted:
        if message_id not in known:
            raise InvalidInput("messages", f"there is no message {message_id} in this workspace")
        if known[message_id].status is not MessageStatus.IN_DOUBT:
            raise InvalidInput("messages", f"{message_id} is not in doubt but {known[message_id].status}")
    return found


async def _fail(connection: Connection, found: Sequence[Undecided]) -> list[int]:
    decisions = [(m.id, m.attempts, MessageStatus.FAILED, Reason.UNCONFIRMED) for m in found]
    return await transitions.settle_doubt(connection, decisions)


async def _note(
    connection: Connection, workspace_id: WorkspaceId, actor: str, action: str, found: Sequence[Undecided]
) -> None:
    for m in found:
        await audit.record(
            connection, workspace_id, actor, action, f"message {m.id}", before={"status": m.status.value}
        )
