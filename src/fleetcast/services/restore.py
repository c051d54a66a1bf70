"""After a restore from a backup: nothing goes out until a person has looked, and what may have gone out is listed.

The database is older than the world then. What it calls waiting may have been sent after the backup was made, and
nobody can tell by looking at it; so every campaign is held, what waits without a campaign is skipped, and what was
under way is in doubt.
"""

from dataclasses import dataclass

from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.errors import Conflict
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import pause_campaign, withdraw_campaign
from fleetcast.services.sequence_actions import pause_sequence
from fleetcast.store import restore, sequences, transitions
from fleetcast.store.restore import Underway

__all__ = ["Restored", "Underway", "after_restore"]

REASON = "restored from a backup"


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done, and what to look at before anything is resumed."""

    paused: list[Underway]
    """Every paused campaign with something left, whether it ran when the backup was made or was resumed later: any
    message that still waits in it may have been sent since."""
    withdrawn: list[Underway]
    """Campaigns whose start has passed meanwhile: they are drafts again now, and may have been sent since."""
    requeued: int
    """Messages taken out of their devices' windows, besides those of the paused campaigns."""
    in_doubt: int
    """Messages that were being sent when the backup was made."""
    skipped: int
    """Messages without a campaign that waited when the backup was made."""
    sequences: int
    """Sequences that were active and are paused: a step that was due since the backup may have gone out."""


async def after_restore(runtime: Runtime, *, actor: str) -> Restored:
    """Make a restored database safe to start from. Safe to repeat, also after it was interrupted; only drafts that an
    interrupted run made are not named again.

    Raises Conflict while a sender works on it.
    """
    async with runtime.db.transaction() as connection:
        if await restore.held(connection):
            raise Conflict("Senders are at work on this database: stop every Fleetcast that uses it, then try again.")
        shards = await restore.supersede(connection)
        await restore.skip_ids(connection)
    due = await _underway(runtime, "scheduled")
    for campaign in due:
        await withdraw_campaign(runtime, WorkspaceId(campaign.workspace_id), CampaignId(campaign.id), actor=actor)
    held = await _pause_sequences(runtime, actor)
    for campaign in await _underway(runtime, "running"):
        await pause_campaign(
            runtime, WorkspaceId(campaign.workspace_id), CampaignId(campaign.id), actor=actor, reason=REASON
        )
    async with runtime.db.transaction() as connection:
        requeued = await transitions.requeue_shards(connection, shards)
        doubtful = await transitions.orphaned(connection, shards, {})
    skipped = await _skip_single(runtime)
    return Restored(await _underway(runtime, "paused"), due, requeued, len(doubtful), skipped, held)


async def _pause_sequences(runtime: Runtime, actor: str) -> int:
    async with runtime.db.connection() as connection:
        active = await sequences.sending(connection)
    for workspace_id, sequence_id in active:
        await pause_sequence(runtime, workspace_id, sequence_id, reason=REASON, actor=actor)
    return len(active)


async def _skip_single(runtime: Runtime) -> int:
    """What belongs to no campaign cannot be held by pausing one."""
    total = 0
    while True:
        async with runtime.db.transaction() as connection:
            moved = await transitions.skip_restored(connection)
        total += moved
        if moved < transitions.CHUNK:
            return total


async def _underway(runtime: Runtime, status: str) -> list[Underway]:
    async with runtime.db.connection() as connection:
        return await restore.underway(connection, status)
