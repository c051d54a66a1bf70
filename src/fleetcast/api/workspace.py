"""The workspace that a key or a session is for."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from fleetcast.api.guard import Caller, GuardedRoute, Open, needs
from fleetcast.domain.access import Scope
from fleetcast.services.workspaces import get_workspace

router = APIRouter(route_class=GuardedRoute, tags=["workspace"])


class Workspace(BaseModel):
    """One tenant of the installation."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str = Field(examples=["My shop"])
    time_zone: str = Field(description="IANA name; schedules are in it.", examples=["Asia/Kuala_Lumpur"])
    region: str = Field(description="Two letters; reads numbers without a country code.", examples=["MY"])
    attribute_keys: list[str] = Field(
        description="Every attribute that some lead has: what a text may name besides name, phone and the like.",
        examples=[["city"]],
    )


@router.get("/workspace", **needs(Scope.READ, device_keys=True))
async def show_workspace(access: Caller, runtime: Open) -> Workspace:
    """The workspace of whoever asks."""
    return Workspace.model_validate(await get_workspace(runtime, access.workspace_id))
