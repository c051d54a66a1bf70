"""What a campaign, or a step of a sequence, says once it was edited: one rule for both.

Contents never change, so that a retry renders to the same bytes: an edit that changes something makes a row of its own.
"""

from fleetcast.domain.content import Template
from fleetcast.domain.identifiers import ContentId, WorkspaceId
from fleetcast.domain.media import StoredMedia
from fleetcast.services.campaign_fields import CampaignFields
from fleetcast.services.media import check_text
from fleetcast.services.sequence_fields import StepFields
from fleetcast.store import contents, media
from fleetcast.store.connection import Connection
from fleetcast.store.contents import Content


async def after_edit(
    connection: Connection,
    workspace_id: WorkspaceId,
    held: Content,
    fields: CampaignFields | StepFields,
    template: Template | None,
    given: StoredMedia | None,
    *,
    copy: bool = False,
) -> ContentId:
    """The content after the edit: the same row if nothing of it changed. `template`: of the text, `given`: the medium,
    where `fields` has one. `copy`: a row of its own in any case, which tells rows planned anew from older ones.

    Raises InvalidInput where text and medium do not go together.
    """
    body, required = held.body, list(held.required_variables)
    if template is not None:
        body, required = fields["body"], list(template.required)
    medium = given
    if "media" not in fields and held.media_sha256 is not None:
        medium = await media.find(connection, workspace_id, held.media_sha256)
    if {"body", "media"} & set(fields):
        check_text(body, medium, "body")
    sha256 = None if medium is None else medium.sha256
    if not copy and (body, sha256) == (held.body, held.media_sha256):
        return held.id
    return await contents.insert(connection, workspace_id, body, required, sha256)
