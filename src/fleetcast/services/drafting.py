"""A campaign as it is being written: what is wrong with it so far, whom it would reach, what one of them would read.

Nothing here is stored. Separate from `campaigns`, which takes all of a form or nothing: here every part is read for
itself, so that a half-written text does not hide how many people it is for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from fleetcast.domain.campaign import NicheMatch, TargetStatus
from fleetcast.domain.content import ContentError, Template
from fleetcast.domain.identifiers import CampaignId, LeadId, WorkspaceId
from fleetcast.domain.media import StoredMedia
from fleetcast.domain.pacing import Pace
from fleetcast.errors import InvalidInput, InvalidInputs, NotFound, Unavailable
from fleetcast.runtime import Runtime
from fleetcast.services.audience_look import FEW, AudienceLook, LeadCounts, Wish, look_at_audience
from fleetcast.services.campaign_fields import CampaignFields, Checked, check
from fleetcast.services.media import check_text, is_hash, unknown_medium
from fleetcast.store import audience_sample, campaigns, contents, leads, media, overview, workspaces
from fleetcast.store.audience import Audience, variables_of
from fleetcast.store.campaigns import Campaign
from fleetcast.store.connection import Connection
from fleetcast.store.workspaces import Workspace

__all__ = ["DraftLook", "Reading", "known_niches", "look_at_campaign_draft", "look_at_draft"]

NICHES = 60
"""Niches that are suggested."""
_PARTS: tuple[tuple[str, ...], ...] = (
    ("title",),
    ("body",),
    ("niches", "niche_match", "target_status"),
    ("devices", "device_ids"),
    ("min_delay", "max_delay"),
    ("schedule",),
    ("deadline", "when_offline"),
)
_AUDIENCE = ("niches", "niche_match", "target_status", "devices", "device_ids")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one person would read."""

    lead_id: LeadId
    name: str
    phone: str
    text: str | None
    problem: str | None
    """Why there is no text for this person; None where the text itself is wrong."""


@dataclass(frozen=True, slots=True)
class DraftLook:
    """A draft as far as it is written."""

    audience: AudienceLook | None
    """None: what it says of the audience cannot be read, or counting was given up."""
    reading: Reading | None
    """None: nobody is there to read it."""
    medium: StoredMedia | None
    starts_at: datetime | None
    """None: when it is launched."""
    at: datetime
    """Now."""
    problems: tuple[InvalidInput, ...]
    late: bool = False
    """The audience could not be counted in the time that somebody who types will wait."""

    def of(self, *fields: str) -> list[InvalidInput]:
        """What is wrong with these fields."""
        return [p for p in self.problems if p.field in fields]


async def look_at_draft(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    fields: CampaignFields,
    counts: LeadCounts,
    *,
    medium: str | None = None,
    lead_id: int = 0,
    another: bool = False,
) -> DraftLook:
    """Look at what a form says so far. `medium`: the hash of a stored one. `lead_id`: who reads; `another`: somebody
    after them. Raises NotFound, Unavailable.
    """
    async with runtime.db.transaction() as connection:
        workspace, now = await _open(connection, workspace_id)
        problems: list[InvalidInput] = []
        read = Checked()
        for part in _PARTS:
            given: CampaignFields = {name: fields[name] for name in part if name in fields}  # type: ignore[assignment,literal-required]
            try:
                checked = await check(connection, workspace, now, given, (None, None), may_be_empty=True)
            except InvalidInputs as error:
                problems += error.problems
            except InvalidInput as error:
                problems.append(error)
            else:
                read.columns |= checked.columns
                read.template = checked.template or read.template
                read.device_ids = checked.device_ids if checked.device_ids is not None else read.device_ids
        pace = Pace.from_optional(read.columns.get("min_delay"), read.columns.get("max_delay"))
        wish = Wish(
            Audience(
                tuple(read.columns.get("niches", ())),
                NicheMatch(read.columns.get("niche_match", NicheMatch.ANY)),
                TargetStatus(read.columns.get("target_status", TargetStatus.ALL)),
                read.device_ids,
            ),
            read.template.required if read.template else (),
            pace,
            read.columns.get("starts_at"),
        )
        is_known = not any(p.field in _AUDIENCE for p in problems)
        return await _look(
            connection,
            workspace,
            now,
            wish if is_known else None,
            read.template,
            medium,
            counts,
            problems=problems,
            text=fields.get("body"),
            lead_id=lead_id,
            another=another,
        )


async def look_at_campaign_draft(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    campaign_id: CampaignId,
    counts: LeadCounts,
    *,
    exact: bool = False,
    people: bool = True,
    lead_id: int = 0,
    another: bool = False,
) -> DraftLook:
    """The same of a campaign as it is stored. With `exact` everybody is counted; without `people` nobody, and there is
    only the text. Raises NotFound, Unavailable.
    """
    async with runtime.db.transaction() as connection:
        workspace, now = await _open(connection, workspace_id)
        campaign = await campaigns.get(connection, workspace_id, campaign_id)
        if campaign is None:
            raise NotFound(f"There is no campaign {campaign_id} in this workspace.")
        content = await contents.get(connection, workspace_id, campaign.content_id)
        assert content is not None
        pace = Pace.from_optional(campaign.min_delay, campaign.max_delay)
        wish = Wish(campaign.audience, content.required_variables, pace, campaign.starts_at)
        template = Template.parse(content.body)
        if people:
            return await _look(
                connection,
                workspace,
                now,
                wish,
                template,
                content.media_sha256,
                counts,
                exact=exact,
                lead_id=lead_id,
                another=another,
            )
        who = await _recipient(connection, campaign, lead_id, another=another)
        at = campaign.started_at or now
        reading = None if who is None else await read_as(connection, workspace, who, template, at)
        return DraftLook(None, reading, await _medium(connection, workspace, content.media_sha256), None, now, ())


async def _recipient(connection: Connection, campaign: Campaign, lead_id: int, *, another: bool) -> LeadId | None:
    """Who was or will be written to: the lead that was asked for, the next one, or the first."""
    if lead_id and not another and await leads.by_id(connection, campaign.workspace_id, LeadId(lead_id)) is not None:
        return LeadId(lead_id)
    after = lead_id if another else 0
    found = await audience_sample.next_recipient(connection, campaign.workspace_id, campaign.id, after)
    return found if found or not after else await _recipient(connection, campaign, 0, another=False)


async def _medium(connection: Connection, workspace: Workspace, sha256: str | None) -> StoredMedia | None:
    return None if sha256 is None else await media.find(connection, workspace.id, sha256)


async def known_niches(runtime: Runtime, workspace_id: WorkspaceId) -> list[str]:
    """Niches to choose from, the most frequent first; one that few leads have may be missing."""
    async with runtime.db.transaction() as connection:
        await audience_sample.be_quick(connection)
        return await audience_sample.niches(connection, workspace_id, NICHES)


async def _open(connection: Connection, workspace_id: WorkspaceId) -> tuple[Workspace, datetime]:
    workspace = await workspaces.by_id(connection, workspace_id)
    if workspace is None:
        raise NotFound(f"There is no workspace {workspace_id}.")
    return workspace, await overview.now(connection)


async def _look(
    connection: Connection,
    workspace: Workspace,
    now: datetime,
    wish: Wish | None,
    template: Template | None,
    medium: str | None,
    counts: LeadCounts,
    *,
    problems: Iterable[InvalidInput] = (),
    text: str | None = None,
    exact: bool = False,
    lead_id: int,
    another: bool,
) -> DraftLook:
    found = reading = None
    late = False
    if wish is not None:
        try:
            async with audience_sample.in_time(connection):
                found = await look_at_audience(connection, workspace, wish, now, counts, exact=exact)
                who = await _reader(connection, workspace.id, wish.audience, found, lead_id, another=another)
                if who is not None:
                    reading = await read_as(connection, workspace, who, template, wish.starts_at or now)
        except Unavailable:
            if exact:
                raise
            late = True
    stored, wrong = await _medium(connection, workspace, medium), list(problems)
    if stored is None and medium is not None and is_hash(medium):
        wrong.append(unknown_medium(medium))
    elif text is not None:
        try:
            check_text(text, stored, "body")
        except InvalidInput as error:
            wrong.append(error)
    return DraftLook(found, reading, stored, wish.starts_at if wish else None, now, tuple(wrong), late)


async def _reader(
    connection: Connection,
    workspace_id: WorkspaceId,
    wanted: Audience,
    found: AudienceLook,
    lead_id: int,
    *,
    another: bool,
) -> LeadId | None:
    """The lead that was asked for, the next one, or the first of the audience; behind the last the first comes."""
    if lead_id and not another and await leads.by_id(connection, workspace_id, LeadId(lead_id)) is not None:
        return LeadId(lead_id)
    after = lead_id if another else 0
    if not found.is_few:  # some that were seen on the way do as well
        return next((lead for lead in found.readers if lead > after), found.readers[0] if found.readers else None)
    following = await audience_sample.next_of_few(connection, workspace_id, wanted, after)
    return (
        following if following or not after else await audience_sample.next_of_few(connection, workspace_id, wanted, 0)
    )


async def first_reader(connection: Connection, workspace_id: WorkspaceId, campaign: Campaign) -> LeadId | None:
    """One whom a campaign is for, and who may be written to; in a large workspace any such one."""
    if not await audience_sample.has_more_leads_than(connection, workspace_id, FEW):
        return await audience_sample.next_of_few(connection, workspace_id, campaign.audience, 0)
    sampled = await audience_sample.sample(connection, workspace_id, campaign.audience, ())
    if sampled.readers:
        return sampled.readers[0]
    return await audience_sample.next_of_few(connection, workspace_id, campaign.audience, 0)


async def read_as(
    connection: Connection, workspace: Workspace, lead_id: LeadId, template: Template | None, at: datetime
) -> Reading:
    """What a lead of the workspace reads of a text; `at` is the moment that it may print."""
    variables = await variables_of(connection, workspace.id, lead_id)
    text = problem = None
    if template is not None:
        try:
            text = template.render(variables, at.astimezone(ZoneInfo(workspace.time_zone)))
        except ContentError as error:
            problem = str(error)
    return Reading(lead_id, str(variables.get("name") or ""), str(variables.get("phone") or ""), text, problem)
