"""Exporting messages as CSV: what became of each, for a spreadsheet.

Cells that look like formulas, phone numbers included, get a leading apostrophe (`fleetcast.domain.formulas`); times
carry the offset of the workspace's zone, so that they sort and are read alike everywhere. Every export is recorded when
it begins. Separate from `messages`, which shows a page: this goes on for as long as somebody reads.
"""

import asyncio
import codecs
import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from fleetcast.domain.formulas import guarded
from fleetcast.domain.identifiers import CampaignId, DeviceId, MessageId, Phone, WorkspaceId
from fleetcast.domain.message import MessageStatus, Reason
from fleetcast.errors import NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.messages import LARGEST_PAGE, MessagePage, list_messages
from fleetcast.store import audit, campaigns, messages, workspaces
from fleetcast.store.messages import MessageRow

HEADER = (
    "number",
    "name",
    "status",
    "delivery",
    "reason",
    "device",
    "campaign",
    "attempts",
    "planned",
    "sent",
    "delivered",
    "read",
    "ended",
    "message",
)


@dataclass(frozen=True, slots=True)
class WantedMessages:
    """Which messages a list or an export is narrowed to; None: any."""

    campaign_id: CampaignId | None = None
    device_id: DeviceId | None = None
    status: MessageStatus | None = None
    recipient: Phone | None = None
    since: datetime | None = None
    until: datetime | None = None
    reason: Reason | None = None


async def download_messages(
    runtime: Runtime, workspace_id: WorkspaceId, wanted: WantedMessages, *, actor: str
) -> AsyncIterator[bytes]:
    """The messages as a file, piece by piece, read as fast as it is taken, in the order of their list.

    Raises NotFound for a campaign that is not there, InvalidInput, Unavailable: before the first piece.
    """
    subject = "all messages"
    async with runtime.db.transaction() as connection:
        workspace = await workspaces.by_id(connection, workspace_id)
        if workspace is None:
            raise NotFound(f"There is no workspace {workspace_id}.")
        if wanted.campaign_id is not None:
            campaign = await campaigns.get(connection, workspace_id, wanted.campaign_id)
            if campaign is None:
                raise NotFound(f"There is no campaign {wanted.campaign_id} in this workspace.")
            subject = f"campaign {campaign.id}"
    first = await _page(runtime, workspace_id, wanted, None)
    async with runtime.db.transaction() as connection:
        narrowed = {"status": wanted.status, "reason": wanted.reason, "device_id": wanted.device_id}
        facts = {name: value for name, value in narrowed.items() if value is not None}
        await audit.record(connection, workspace_id, actor, "messages.export", subject, after=facts or None)
    zone = ZoneInfo(workspace.time_zone)

    async def pieces() -> AsyncIterator[bytes]:
        yield codecs.BOM_UTF8 + _csv([list(HEADER)])
        page: MessagePage | None = first
        while page is not None:
            if rows := page.messages:  # a page may be empty although others follow
                async with runtime.db.connection() as connection:
                    names = await messages.names(connection, workspace_id, [m.id for m in rows])
                yield await asyncio.to_thread(_rows, rows, names, zone)
            page = None if page.next is None else await _page(runtime, workspace_id, wanted, page.next)

    return pieces()


async def _page(runtime: Runtime, workspace_id: WorkspaceId, wanted: WantedMessages, after: str | None) -> MessagePage:
    return await list_messages(
        runtime,
        workspace_id,
        campaign_id=wanted.campaign_id,
        device_id=wanted.device_id,
        status=wanted.status,
        recipient=wanted.recipient,
        since=wanted.since,
        until=wanted.until,
        reason=wanted.reason,
        after=after,
        limit=LARGEST_PAGE,
    )


def _rows(found: list[MessageRow], names: dict[MessageId, str], zone: ZoneInfo) -> bytes:
    return _csv([cells(m, names.get(m.id, ""), zone) for m in found])


def cells(message: MessageRow, name: str, zone: ZoneInfo) -> list[str]:
    """The row of a message under `HEADER`, guarded."""
    told = (
        message.recipient,
        name,
        message.status.value,
        message.delivery.value,
        message.reason or "",
        message.device,
        message.campaign or "",
        str(message.attempts),
        *(
            "" if at is None else at.astimezone(zone).isoformat(sep=" ", timespec="seconds")
            for at in (message.created_at, message.sent_at, message.delivered_at, message.read_at, message.ended_at)
        ),
        str(message.id),
    )
    return [guarded(text) for text in told]


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
