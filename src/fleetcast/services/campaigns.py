"""Use cases of campaigns as drafts and on paper: make, edit, clone, find, list and report.

What sets a campaign in motion or stops it is in `campaign_actions`, whom it reaches in `audience`.
"""

from dataclasses import dataclass
from typing import Any

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.domain.pacing import Pace, effective
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import media, paging
from fleetcast.services.campaign_fields import (
    ANY_TIME,
    BEFORE_THE_START,
    MADE_ANEW,
    CampaignFields,
    Checked,
    check,
    media_source,
)
from fleetcast.services.contents import after_edit
from fleetcast.services.naming import LONGEST_NAME
from fleetcast.store import audit, campaigns, contents, devices, overview, workspaces
from fleetcast.store.campaigns import Campaign, Counts
from fleetcast.store.connection import Connection
from fleetcast.store.contents import Content
from fleetcast.store.devices import Device

__all__ = [
    "Campaign",
    "CampaignFields",
    "CampaignReport",
    "Counts",
    "clone_campaign",
    "create_campaign",
    "edit_campaign",
    "find_campaign",
    "list_campaigns",
    "page_of_campaigns",
    "show_campaign",
]

COPY = " (copy)"
_UNSTARTED = frozenset({CampaignStatus.DRAFT, CampaignStatus.SCHEDULED})
_ENDED = frozenset({CampaignStatus.FINISHED, CampaignStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class CampaignReport:
    """A campaign and where it stands."""

    campaign: Campaign
    content: Content
    device_names: tuple[str, ...] | None
    """None: all devices."""
    counts: Counts
    seconds_left: float | None
    """Until the slowest device is through at its mean pace, if all were online; None: nothing is waiting, or it was
    not asked."""


async def create_campaign(
    runtime: Runtime, workspace_id: WorkspaceId, fields: CampaignFields, *, actor: str
) -> Campaign:
    """A new draft. A title is needed, and a text or audio; nothing is stored unless everything fits.

    Raises InvalidInputs with every problem, each naming its field.
    """
    source = media_source(fields)
    for name, what in (("title", "a title"), ("body", "a text")):
        if name not in fields and (name == "title" or source is None):
            raise InvalidInput(name, f"{what} is needed")
    fields = {"body": "", **fields}
    async with runtime.db.transaction() as connection:
        checked = await _check(connection, workspace_id, fields, (None, None), may_be_empty=source is not None)
    medium = None if source is None else await media.take(runtime, workspace_id, source, actor=actor)
    media.check_text(fields["body"], medium, "body")
    async with runtime.db.transaction() as connection:
        assert checked.template is not None
        required = list(checked.template.required)
        sha256 = None if medium is None else medium.sha256
        content_id = await contents.insert(connection, workspace_id, fields["body"], required, sha256)
        values = {**checked.columns, "content_id": content_id}
        campaign_id = await campaigns.insert(connection, workspace_id, values)
        if checked.device_ids is not None:
            await campaigns.set_devices(connection, workspace_id, campaign_id, checked.device_ids)
        made = await _get(connection, workspace_id, campaign_id)
        await audit.record(
            connection, workspace_id, actor, "campaign.create", _subject(made), after=_facts(checked.columns)
        )
    return made


async def edit_campaign(
    runtime: Runtime, workspace_id: WorkspaceId, campaign_id: CampaignId, fields: CampaignFields, *, actor: str
) -> Campaign:
    """Change what is given and nothing else.

    Before the start everything may change; while it runs title, pace and deadline; while it is paused content and
    audience too: what was never attempted is then planned anew, and resuming waits for that.
    Raises InvalidInputs, NotFound, Conflict when the campaign is not in a state for it.
    """
    source = media_source(fields)
    async with runtime.db.transaction() as connection:
        # Everything is asked before a medium is fetched, and again once the campaign is locked.
        before = await _get(connection, workspace_id, campaign_id)
        _allow(before, fields)
        pace = before.min_delay, before.max_delay
        keeps = "media" not in fields and await _has_medium(connection, before)
        await _check(connection, workspace_id, fields, pace, may_be_empty=keeps or source is not None)
    medium = None if source is None else await media.take(runtime, workspace_id, source, actor=actor)
    async with runtime.db.transaction() as connection:
        before = await _get(connection, workspace_id, campaign_id, lock=True)
        _allow(before, fields)
        pace = before.min_delay, before.max_delay
        checked = await _check(connection, workspace_id, fields, pace, may_be_empty=True)
        changes = _changes(before, checked)
        if before.status is CampaignStatus.SCHEDULED and "schedule" in fields and changes.get("starts_at", 0) is None:
            changes["starts_at"] = await overview.now(connection)
        anew = before.started_at is not None and _is_anew(before, checked, changes)
        held = await contents.get(connection, workspace_id, before.content_id)
        assert held is not None
        content_id = await after_edit(connection, workspace_id, held, fields, checked.template, medium, copy=anew)
        if content_id != before.content_id:
            changes["content_id"] = content_id
            anew = before.started_at is not None
        await campaigns.update(connection, workspace_id, campaign_id, changes)
        if "all_devices" in checked.columns and checked.device_ids != before.device_ids:
            await campaigns.set_devices(connection, workspace_id, campaign_id, checked.device_ids or ())
        if before.started_at is not None and "deadline_after" in changes:
            await campaigns.renew_deadline(connection, workspace_id, campaign_id)
        if anew:
            await campaigns.plan_anew(connection, workspace_id, campaign_id)
        after = await _get(connection, workspace_id, campaign_id)
        await audit.record(
            connection,
            workspace_id,
            actor,
            "campaign.edit",
            _subject(after),
            before=_facts({name: getattr(before, name, None) for name in changes}),
            after=_facts(changes),
        )
    await runtime.nudges.plan(campaign_id)
    await runtime.nudges.campaigns(campaign_id)
    return after


async def clone_campaign(
    runtime: Runtime, workspace_id: WorkspaceId, campaign_id: CampaignId, *, actor: str
) -> Campaign:
    """A new draft with the same content, audience, pace and schedule. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        origin = await _get(connection, workspace_id, campaign_id)
        values = {
            name: getattr(origin, name) for name in campaigns.COLUMN_TYPES if name not in ("title", "all_devices")
        }
        values |= {
            "title": origin.title[: LONGEST_NAME - len(COPY)] + COPY,
            "niches": list(origin.niches),
            "all_devices": origin.device_ids is None,
        }
        if origin.schedule_local is None:
            values["starts_at"] = None
        made_id = await campaigns.insert(connection, workspace_id, values)
        if origin.device_ids is not None:
            await campaigns.set_devices(connection, workspace_id, made_id, origin.device_ids)
        made = await _get(connection, workspace_id, made_id)
        await audit.record(
            connection, workspace_id, actor, "campaign.clone", _subject(made), after={"of": _subject(origin)}
        )
    return made


async def find_campaign(runtime: Runtime, workspace_id: WorkspaceId, name: str) -> Campaign:
    """The campaign of that title or number. Raises NotFound, InvalidInput when several have the title."""
    wanted = name.strip()
    async with runtime.db.connection() as connection:
        titled = await campaigns.by_title(connection, workspace_id, wanted)
        if not titled and wanted.isdecimal() and len(wanted) < 19:
            found = await campaigns.get(connection, workspace_id, CampaignId(int(wanted)))
            titled = [found] if found else []
    if not titled:
        raise NotFound(f"There is no campaign '{name}'. `fleetcast campaign list` shows all.")
    if len(titled) > 1:
        numbers = ", ".join(str(c.id) for c in titled[:10])
        raise InvalidInput("campaign", f"{len(titled)} campaigns are called '{name}'; give a number: {numbers}")
    return titled[0]


async def list_campaigns(
    runtime: Runtime, workspace_id: WorkspaceId, *, limit: int = 100
) -> list[tuple[Campaign, Counts]]:
    """The newest campaigns with their counts, newest first."""
    found, _ = await page_of_campaigns(runtime, workspace_id, limit=limit)
    return found


async def page_of_campaigns(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    *,
    status: CampaignStatus | None = None,
    after: str | None = None,
    limit: int = 50,
) -> tuple[list[tuple[Campaign, Counts]], str | None]:
    """Campaigns with their counts, newest first, and where the next page begins.

    Raises InvalidInput for an `after` of another list.
    """
    before = paging.position(after, paging.LAST_ID)
    async with runtime.db.connection() as connection:
        found = await campaigns.page(connection, workspace_id, status, before, limit + 1)
        counts = await campaigns.counts(connection, [c.id for c in found])
    return paging.cut([(c, counts[c.id]) for c in found], limit, lambda pair: pair[0].id)


async def show_campaign(
    runtime: Runtime, workspace_id: WorkspaceId, campaign_id: CampaignId, *, estimate: bool = True
) -> CampaignReport:
    """Everything about one campaign. Raises NotFound.

    The estimate counts open messages by device: some hundred milliseconds for a million.
    """
    async with runtime.db.transaction() as connection:
        campaign = await _get(connection, workspace_id, campaign_id)
        content = await contents.get(connection, workspace_id, campaign.content_id)
        assert content is not None
        counts = (await campaigns.counts(connection, [campaign_id]))[campaign_id]
        open_ones = any(counts.by_status.get(status) for status in _OPEN)
        waiting = {}
        if estimate and open_ones:
            waiting = await campaigns.waiting_by_device(connection, workspace_id, campaign_id)
        needed = {*waiting, *(campaign.device_ids or ())}
        every = {d.id: d for d in await devices.some(connection, workspace_id, needed)}
    names = None
    if campaign.device_ids is not None:
        names = tuple(every[d].name for d in campaign.device_ids if d in every)
    lengths = [n * mean_gap(campaign, every[d]) for d, n in waiting.items() if d in every]
    return CampaignReport(campaign, content, names, counts, max(lengths, default=None))


_OPEN = ("pending", "queued", "sending", "in_doubt")


def mean_gap(campaign: Campaign, device: Device) -> float:
    """Seconds between two messages of this campaign from this device, on average."""
    own = Pace(device.min_delay, device.max_delay)
    return effective(Pace.from_optional(campaign.min_delay, campaign.max_delay), own).mean


async def _get(
    connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId, *, lock: bool = False
) -> Campaign:
    ask = campaigns.locked if lock else campaigns.get
    found = await ask(connection, workspace_id, campaign_id)
    if found is None:
        raise NotFound(f"There is no campaign {campaign_id} in this workspace.")
    return found


async def _has_medium(connection: Connection, campaign: Campaign) -> bool:
    held = await contents.get(connection, campaign.workspace_id, campaign.content_id)
    return held is not None and held.media_sha256 is not None


async def _check(
    connection: Connection,
    workspace_id: WorkspaceId,
    fields: CampaignFields,
    pace: tuple[float | None, float | None],
    *,
    may_be_empty: bool,
) -> Checked:
    workspace = await workspaces.by_id(connection, workspace_id)
    if workspace is None:
        raise NotFound(f"There is no workspace {workspace_id}.")
    now = await overview.now(connection)
    return await check(connection, workspace, now, fields, pace, may_be_empty=may_be_empty)


def _allow(campaign: Campaign, fields: CampaignFields) -> None:
    """Whether the campaign's state allows changing these fields. Raises Conflict."""
    if campaign.status in _UNSTARTED:
        return
    asked = set(fields)
    if campaign.status in _ENDED:
        raise Conflict(f"Campaign '{campaign.title}' is {campaign.status}: clone it to send something else.")
    if late := sorted(asked & BEFORE_THE_START):
        raise Conflict(f"Campaign '{campaign.title}' has started: {', '.join(late)} can no longer change.")
    if campaign.status is CampaignStatus.RUNNING and (held := sorted(asked - ANY_TIME)):
        raise Conflict(f"Campaign '{campaign.title}' is running: pause it to change {', '.join(held)}.")


def _changes(before: Campaign, checked: Checked) -> dict[str, Any]:
    """The columns whose value differs from what holds."""
    held: dict[str, Any] = {name: getattr(before, name, None) for name in checked.columns}
    held |= {"niches": list(before.niches), "all_devices": before.device_ids is None}
    return {name: value for name, value in checked.columns.items() if value != held[name]}


def _is_anew(before: Campaign, checked: Checked, changes: dict[str, Any]) -> bool:
    if checked.device_ids is not None and checked.device_ids != before.device_ids:
        return True
    return bool((MADE_ANEW | {"all_devices"}) & set(changes))


def _subject(campaign: Campaign) -> str:
    return f"campaign {campaign.id}"


def _facts(values: dict[str, Any]) -> dict[str, Any]:
    """Values as JSON knows them."""
    return {
        name: value if value is None or isinstance(value, str | int | float | bool | list) else str(value)
        for name, value in values.items()
    }
