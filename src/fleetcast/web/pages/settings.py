"""What is decided for the whole workspace: name and clock, members, keys, who must not be written to, and the log."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from fleetcast.domain.access import SCOPES, KeyId, Role, Scope, UserId
from fleetcast.errors import Conflict, FleetcastError, Forbidden, InvalidInput
from fleetcast.services import audit, doctor, suppressions, workspaces
from fleetcast.services.accounts import keys, membership
from fleetcast.web import rendering
from fleetcast.web.place import Looking, Managing, Owning, Place, Sending
from fleetcast.web.vendored import vendored

router = APIRouter()

SECTION = "settings"
PAGE = 50

Line = Annotated[str, Form(max_length=500)]
Given = Annotated[Role, Form()]
Scopes = Annotated[list[Scope], Form(alias="scope", max_length=10)]
After = Annotated[str, Query(max_length=40)]
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]


def _page(
    request: Request,
    here: Place,
    template: str,
    heading: str,
    *,
    trouble: FleetcastError | None = None,
    **facts: object,
) -> HTMLResponse:
    status = 200 if trouble is None else 409 if isinstance(trouble, Conflict) else 422
    return rendering.page(
        request,
        here,
        f"settings/{template}.html",
        SECTION,
        heading,
        status=status,
        tab=template,
        trouble=trouble,
        **facts,
    )


# -- the workspace


@router.get("/settings")
async def show_workspace(request: Request, here: Looking) -> HTMLResponse:
    """Its name, its clock, its country."""
    given = {"name": here.workspace.name, "time_zone": here.workspace.time_zone, "region": here.workspace.region}
    return _page(request, here, "workspace", "Settings", given=given)


@router.post("/settings")
async def edit_workspace(
    request: Request, here: Managing, name: Line = "", time_zone: Line = "", region: Line = ""
) -> Response:
    """Change them."""
    try:
        await workspaces.edit_workspace(
            here.runtime,
            here.workspace.id,
            name=name,
            time_zone=time_zone.strip(),
            region=region.strip(),
            actor=here.access.actor,
        )
    except InvalidInput as error:
        given = {"name": name, "time_zone": time_zone, "region": region}
        return _page(request, here, "workspace", "Settings", trouble=error, given=given)
    return here.to("/settings", "workspace-edit")


# -- members


@router.get("/settings/members")
async def list_members(request: Request, here: Managing) -> HTMLResponse:
    """Who may do what here."""
    return await _members(request, here)


async def _members(
    request: Request, here: Place, *, trouble: FleetcastError | None = None, link: str = "", email: str = ""
) -> HTMLResponse:
    found, _ = await membership.list_members(here.runtime, here.workspace.id)
    invited, _ = await membership.list_invitations(here.runtime, here.workspace.id)
    return _page(
        request, here, "members", "Members", trouble=trouble, members=found, invited=invited, link=link, email=email
    )


def _allow(here: Place, role: Role) -> None:
    if not here.access.may_give(SCOPES[role]):
        raise Forbidden("Nobody gives or takes what they do not have themselves.")


@router.post("/settings/members")
async def invite(request: Request, here: Managing, email: Line = "", role: Given = Role.VIEWER) -> Response:
    """Invite somebody; the link is shown once."""
    _allow(here, role)
    try:
        made = await membership.invite(here.runtime, here.workspace.id, email, role, actor=here.access.actor)
    except (InvalidInput, Conflict) as error:
        return await _members(request, here, trouble=error, email=email)
    home = (here.runtime.settings.url or str(request.base_url)).rstrip("/")
    return await _members(request, here, link=f"{home}/invitations/{made.token}", email=made.invitation.email)


@router.post("/settings/members/{user_id}/role")
async def change_role(request: Request, here: Managing, user_id: Id, role: Given) -> Response:
    """Give a member another role; their sessions end."""
    member = await membership.get_member(here.runtime, here.workspace.id, UserId(user_id))
    _allow(here, member.role)
    _allow(here, role)
    try:
        await membership.change_role(here.runtime, here.workspace.id, UserId(user_id), role, actor=here.access.actor)
    except Conflict as error:
        return await _members(request, here, trouble=error)
    return here.to("/settings/members", "member-role")


@router.post("/settings/members/{user_id}/remove")
async def remove_member(request: Request, here: Managing, user_id: Id) -> Response:
    """Take somebody out; their sessions end."""
    member = await membership.get_member(here.runtime, here.workspace.id, UserId(user_id))
    _allow(here, member.role)
    try:
        await membership.remove_member(here.runtime, here.workspace.id, UserId(user_id), actor=here.access.actor)
    except Conflict as error:
        return await _members(request, here, trouble=error)
    return here.to("/settings/members", "member-removed")


@router.post("/settings/invitations/{invitation_id}/withdraw")
async def withdraw(here: Managing, invitation_id: Id) -> Response:
    """End an invitation."""
    await membership.withdraw(here.runtime, here.workspace.id, invitation_id, actor=here.access.actor)
    return here.to("/settings/members", "invitation-withdrawn")


# -- keys


@router.get("/settings/keys")
async def list_keys(request: Request, here: Managing) -> HTMLResponse:
    """What programs come in with."""
    return await _keys(request, here)


async def _keys(
    request: Request, here: Place, *, trouble: FleetcastError | None = None, token: str = "", name: str = ""
) -> HTMLResponse:
    found, _ = await keys.list_keys(here.runtime, here.workspace.id)
    return _page(request, here, "keys", "API keys", trouble=trouble, keys=found, token=token, name=name)


@router.post("/settings/keys")
async def make_key(
    request: Request,
    here: Managing,
    name: Line = "",
    scopes: Scopes = [],  # noqa: B006
    days: Line = "",
) -> Response:
    """Make a key; its token is shown once."""
    if not here.access.may_give(frozenset(scopes)):
        raise Forbidden("Nobody gives what they do not have themselves.")
    try:
        made = await keys.create_key(
            here.runtime, here.workspace.id, name, frozenset(scopes), days=_days(days), actor=here.access.actor
        )
    except InvalidInput as error:
        return await _keys(request, here, trouble=error, name=name)
    return await _keys(request, here, token=made.token, name=made.key.name)


def _days(text: str) -> int | None:
    if not text.strip():
        return None
    if not (text.strip().isascii() and text.strip().isdigit()):
        raise InvalidInput("days", f"'{text.strip()[:40]}' is no number of days")
    return int(text.strip()[:9])


@router.post("/settings/keys/{key_id}/revoke")
async def revoke_key(here: Managing, key_id: Id) -> Response:
    """End a key at once."""
    await keys.revoke_key(here.runtime, here.workspace.id, KeyId(key_id), actor=here.access.actor)
    return here.to("/settings/keys", "key-revoked")


# -- who must not be written to


@router.get("/settings/suppressions")
async def list_suppressions(
    request: Request, here: Looking, after: After = "", number: Annotated[str, Query(max_length=60)] = ""
) -> HTMLResponse:
    """Who is never written to from here."""
    return await _suppressions(request, here, after=after, number=number)


async def _suppressions(
    request: Request, here: Place, *, after: str = "", number: str = "", trouble: FleetcastError | None = None
) -> HTMLResponse:
    found, following = [], None
    if number.strip():
        try:
            entry = await suppressions.find_suppression(here.runtime, here.workspace, number)
            found = [entry] if entry else []
        except InvalidInput as error:
            trouble = trouble or error
    else:
        found = await suppressions.list_suppressions(here.runtime, here.workspace.id, after=after, limit=PAGE + 1)
        following = found[PAGE - 1].recipient if len(found) > PAGE else None
    return _page(
        request,
        here,
        "suppressions",
        "Suppressions",
        trouble=trouble,
        rows=found[:PAGE],
        next=following,
        after=after,
        number=number.strip(),
    )


@router.post("/settings/suppressions")
async def add_suppression(request: Request, here: Sending, number: Line = "", note: Line = "") -> Response:
    """Somebody asked for no more messages."""
    try:
        await suppressions.add_suppression(
            here.runtime, here.workspace, number, actor=here.access.actor, note=note.strip()
        )
    except InvalidInput as error:
        return await _suppressions(request, here, trouble=error)
    return here.to("/settings/suppressions", "suppression-added")


@router.post("/settings/suppressions/lift")
async def lift_suppression(here: Managing, number: Line = "") -> Response:
    """Somebody agreed again."""
    await suppressions.lift_suppression(here.runtime, here.workspace, number, actor=here.access.actor)
    return here.to("/settings/suppressions", "suppression-lifted")


# -- the log


@router.get("/settings/audit")
async def show_audit(
    request: Request,
    here: Managing,
    after: After = "",
    action: Annotated[str, Query(max_length=60)] = "",
) -> HTMLResponse:
    """Who decided what, and when."""
    found, following = await audit.list_entries(
        here.runtime, here.workspace.id, action=action.strip() or None, after=after or None, limit=PAGE
    )
    return _page(request, here, "audit", "Audit log", rows=found, next=following, after=after, action=action.strip())


# -- about


@router.get("/settings/about")
async def show_about(request: Request, here: Owning) -> HTMLResponse:
    """What is installed, where, and whether anything works against us soon."""
    return _page(
        request,
        here,
        "about",
        "About",
        about=await doctor.about(here.runtime),
        vendored=vendored(),
    )
