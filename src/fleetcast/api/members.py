"""Members of the workspace, and invitations to become one."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from fleetcast.api.guard import Caller, GuardedRoute, Open, allow_giving, needs
from fleetcast.api.paging import After, Id, Limit, Page
from fleetcast.domain.access import SCOPES, Role, Scope, UserId
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import membership
from fleetcast.services.accounts.people import LONGEST_EMAIL

router = APIRouter(route_class=GuardedRoute, tags=["members"])

Revoke = Annotated[bool, Query(description="Also revoke the keys that they made.")]


class Member(BaseModel):
    """Somebody in the workspace."""

    model_config = ConfigDict(from_attributes=True)

    user_id: int
    email: str = Field(examples=["ann@example.org"])
    name: str = Field(examples=["Ann"])
    role: Role
    since: datetime
    seen_at: datetime | None = Field(description="When they last used the dashboard, to the minute.")
    second_factor: bool = Field(description="Whether they sign in with a code besides the password.")


class RoleChange(BaseModel):
    """What may change of a member."""

    model_config = ConfigDict(extra="forbid")

    role: Role
    revoke_keys: bool = Field(default=False, description="Also revoke the keys that they made.")


class Invitation(BaseModel):
    """An offer to become a member, which can still be accepted."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    email: str = Field(examples=["ben@example.org"])
    role: Role
    invited_by: str = Field(examples=["user:ann@example.org"])
    created_at: datetime
    expires_at: datetime


class NewInvitation(BaseModel):
    """Who is invited as what."""

    model_config = ConfigDict(extra="forbid")

    email: str = Field(max_length=LONGEST_EMAIL, examples=["ben@example.org"])
    role: Role = Field(default=Role.OPERATOR)


class MadeInvitation(BaseModel):
    """A new invitation and its link."""

    invitation: Invitation
    link: str = Field(
        description="Send it to them yourself; whoever opens it can become this member. It is shown this once.",
        examples=["https://fleetcast.example.org/invitations/fci_…"],
    )


@router.get("/members", **needs(Scope.MANAGE))
async def list_members(access: Caller, runtime: Open, limit: Limit = 50, after: After = None) -> Page[Member]:
    """All members of the workspace, by number."""
    found, following = await membership.list_members(runtime, access.workspace_id, after=after, limit=limit)
    return Page(items=[Member.model_validate(m) for m in found], next=following)


@router.get("/members/{user_id}", **needs(Scope.MANAGE))
async def show_member(user_id: Id, access: Caller, runtime: Open) -> Member:
    """One member."""
    return Member.model_validate(await membership.get_member(runtime, access.workspace_id, UserId(user_id)))


@router.patch("/members/{user_id}", **needs(Scope.MANAGE))
async def change_member(user_id: Id, change: RoleChange, access: Caller, runtime: Open) -> Member:
    """Give them another role. All their sessions end. A workspace always keeps an owner."""
    member = await membership.get_member(runtime, access.workspace_id, UserId(user_id))
    allow_giving(access, SCOPES[member.role] | SCOPES[change.role])
    changed = await membership.change_role(
        runtime,
        access.workspace_id,
        UserId(user_id),
        change.role,
        revoke_keys=change.revoke_keys,
        actor=access.actor,
    )
    return Member.model_validate(changed)


@router.delete("/members/{user_id}", status_code=204, **needs(Scope.MANAGE))
async def remove_member(user_id: Id, access: Caller, runtime: Open, revoke_keys: Revoke = False) -> None:
    """Take them out of the workspace. All their sessions end. A workspace always keeps an owner."""
    member = await membership.get_member(runtime, access.workspace_id, UserId(user_id))
    allow_giving(access, SCOPES[member.role])
    await membership.remove_member(
        runtime, access.workspace_id, UserId(user_id), revoke_keys=revoke_keys, actor=access.actor
    )


@router.get("/invitations", **needs(Scope.MANAGE))
async def list_invitations(access: Caller, runtime: Open, limit: Limit = 50, after: After = None) -> Page[Invitation]:
    """Invitations that can still be accepted, oldest first."""
    found, following = await membership.list_invitations(runtime, access.workspace_id, after=after, limit=limit)
    return Page(items=[Invitation.model_validate(i) for i in found], next=following)


@router.post("/invitations", status_code=201, **needs(Scope.MANAGE))
async def invite(
    new: NewInvitation, access: Caller, runtime: Open, request: Request, response: Response
) -> MadeInvitation:
    """Invite somebody for seven days. Nothing is sent: hand the link on. An earlier one to this address ends."""
    allow_giving(access, SCOPES[new.role])
    made = await membership.invite(runtime, access.workspace_id, new.email, new.role, actor=access.actor)
    response.headers["Location"] = f"invitations/{made.invitation.id}"
    link = f"{_dashboard(runtime, request)}/invitations/{made.token}"
    return MadeInvitation(invitation=Invitation.model_validate(made.invitation), link=link)


@router.get("/invitations/{invitation_id}", **needs(Scope.MANAGE))
async def show_invitation(invitation_id: Id, access: Caller, runtime: Open) -> Invitation:
    """One invitation that can still be accepted."""
    return Invitation.model_validate(await membership.get_invitation(runtime, access.workspace_id, invitation_id))


@router.delete("/invitations/{invitation_id}", status_code=204, **needs(Scope.MANAGE))
async def withdraw_invitation(invitation_id: Id, access: Caller, runtime: Open) -> None:
    """End an invitation at once."""
    await membership.withdraw(runtime, access.workspace_id, invitation_id, actor=access.actor)


def _dashboard(runtime: Runtime, request: Request) -> str:
    """Where people open the dashboard: as it is set, else the address at which the request came in.

    Never the host that the request names: whoever forged that would be sent the invitation.
    """
    if runtime.settings.url is not None:
        return runtime.settings.url
    host, port = request.scope.get("server") or (runtime.settings.host, runtime.settings.port)
    return f"{request.url.scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"
