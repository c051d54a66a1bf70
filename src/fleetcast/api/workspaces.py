"""Workspaces: those of the person who is signed in, further ones by the installation's owner, and changes of one."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from fleetcast.api.guard import Caller, GuardedRoute, Open, needs
from fleetcast.api.paging import After, Limit, Page
from fleetcast.domain.access import Role, Scope
from fleetcast.services import workspaces

router = APIRouter(route_class=GuardedRoute, tags=["workspaces"])


class WorkspaceFacts(BaseModel):
    """What people may change of a workspace."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str = Field(examples=["Shop KL"])
    time_zone: str = Field(description="IANA name; schedules and reports use it.", examples=["Asia/Kuala_Lumpur"])
    region: str = Field(description="Two letters; reads numbers without a country code.", examples=["MY"])


class OwnWorkspace(WorkspaceFacts):
    """A workspace, and what the person who asks is there."""

    role: Role


class NewWorkspace(BaseModel):
    """What a workspace is made of."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=200, examples=["Shop KL"])
    time_zone: str = Field(default="UTC", max_length=100, examples=["Asia/Kuala_Lumpur"])
    region: str = Field(default="MY", max_length=10, examples=["MY"])


class WorkspaceChange(BaseModel):
    """What may change. What is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, max_length=200, examples=["Shop KL"])
    time_zone: str | None = Field(default=None, max_length=100, examples=["Asia/Kuala_Lumpur"])
    region: str | None = Field(default=None, max_length=10, examples=["MY"])


@router.get("/workspaces", **needs(Scope.READ, sessions_only=True))
async def list_workspaces(access: Caller, runtime: Open, limit: Limit = 50, after: After = None) -> Page[OwnWorkspace]:
    """The workspaces of the person who is signed in, oldest first. The header Fleetcast-Workspace chooses one."""
    assert access.user_id is not None
    found, following = await workspaces.own_workspaces(runtime, access.user_id, after=after, limit=limit)
    return Page(items=[OwnWorkspace.model_validate(w) for w in found], next=following)


@router.post("/workspaces", status_code=201, **needs(Scope.READ, sessions_only=True))
async def create_workspace(new: NewWorkspace, access: Caller, runtime: Open) -> WorkspaceFacts:
    """Make a workspace, by the owner of the installation, who owns it too."""
    assert access.user_id is not None
    made = await workspaces.create_own_workspace(
        runtime, access.user_id, new.name, time_zone=new.time_zone, region=new.region
    )
    return WorkspaceFacts.model_validate(made)


@router.patch("/workspace", **needs(Scope.MANAGE))
async def change_workspace(change: WorkspaceChange, access: Caller, runtime: Open) -> WorkspaceFacts:
    """Change this workspace. Schedules already set keep their instants; numbers already read stay as they are."""
    changed = await workspaces.edit_workspace(
        runtime,
        access.workspace_id,
        name=change.name,
        time_zone=change.time_zone,
        region=change.region,
        actor=access.actor,
    )
    return WorkspaceFacts.model_validate(changed)
