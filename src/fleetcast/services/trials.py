"""A test of a campaign: what one of its people would read goes to a number of one's own, as a message by itself.

It takes the way of every other single message, so it proves the device as well as the text, and it belongs to no
campaign: no count of one ever holds it.
"""

from zoneinfo import ZoneInfo

from fleetcast.domain.content import ContentError, Template
from fleetcast.domain.identifiers import CampaignId, DeviceId, LeadId, WorkspaceId
from fleetcast.domain.phone import parse_phone
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.drafting import first_reader
from fleetcast.services.single_sends import SingleSend, send_message
from fleetcast.store import audience_sample, audit, campaigns, contents, devices, leads, overview, workspaces
from fleetcast.store.audience import variables_of
from fleetcast.store.connection import Connection
from fleetcast.store.messages import MessageRow
from fleetcast.store.workspaces import Workspace

EXPIRES_AFTER = "1h"
"""A test that comes tomorrow tests nothing."""


async def send_test(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    campaign_id: CampaignId,
    *,
    to: str,
    device_id: int,
    reader: str = "",
    once: str | None = None,
    actor: str,
) -> MessageRow:
    """Send what a lead would read of the campaign to the number `to`, through a device that can send now.

    `reader` is the number of a lead; without one it is the first of the audience. What was asked for under the key
    `once` is sent once. Raises InvalidInput naming `to`, `device_id` or `reader`; NotFound.
    """
    async with runtime.db.transaction() as connection:
        workspace = await workspaces.by_id(connection, workspace_id)
        campaign = await campaigns.get(connection, workspace_id, campaign_id)
        if workspace is None or campaign is None:
            raise NotFound(f"There is no campaign {campaign_id} in this workspace.")
        content = await contents.get(connection, workspace_id, campaign.content_id)
        assert content is not None
        device = await devices.by_id(connection, workspace_id, DeviceId(device_id))
        if device is None:
            raise InvalidInput("device_id", "choose a device that can send now")
        if not device.is_ready:
            state = "paused" if device.paused_at else str(device.state).replace("_", " ")
            raise InvalidInput("device_id", f"'{device.name}' is {state} and cannot send now: choose another device")
        await audience_sample.be_quick(connection)
        lead_id = await _reader(connection, workspace, reader)
        if lead_id is None:
            lead_id = await first_reader(connection, workspace_id, campaign)
        variables = {} if lead_id is None else await variables_of(connection, workspace_id, lead_id)
        now = await overview.now(connection)
        try:
            text = Template.parse(content.body).render(variables, now.astimezone(ZoneInfo(workspace.time_zone)))
        except ContentError as error:
            raise InvalidInput("reader", str(error)) from None
    asked = SingleSend(device.id, to, text, content.media_sha256, EXPIRES_AFTER)
    sent = await send_message(runtime, workspace_id, asked, actor=actor, once=once)
    async with runtime.db.transaction() as connection:
        await audit.record(
            connection, workspace_id, actor, "campaign.test", f"campaign {campaign_id}", after={"message": sent.id}
        )
    return sent


async def _reader(connection: Connection, workspace: Workspace, number: str) -> LeadId | None:
    if not number.strip():
        return None
    try:
        phone = parse_phone(number, workspace.region)
    except InvalidInput as error:
        raise InvalidInput("reader", error.problem) from None
    found = await leads.get_lead(connection, workspace.id, phone)
    if found is None:
        raise InvalidInput("reader", "no lead has this number; leave it empty to take the first of the audience")
    return found.id
