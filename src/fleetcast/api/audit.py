"""The audit log: who decided what, when. It is only ever appended to."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from fleetcast.api.guard import Caller, GuardedRoute, Open, needs
from fleetcast.api.paging import After, Limit, Page
from fleetcast.domain.access import Scope
from fleetcast.services import audit

router = APIRouter(route_class=GuardedRoute, tags=["audit"])

Moment = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), le=datetime(2100, 1, 1, tzinfo=UTC))]
"""With an offset: a time without one means another instant on every machine."""


class Entry(BaseModel):
    """One decision."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    at: datetime
    actor: str = Field(
        description="Who decided: `user:…`, `key:…`, `cli:…`, `system`, or `address:…` where nobody was known.",
        examples=["user:ann@example.org"],
    )
    action: str = Field(examples=["device.pause"])
    subject: str = Field(description="What it was done to.", examples=["Shop KL"])
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@router.get("/audit", **needs(Scope.MANAGE))
async def list_entries(
    access: Caller,
    runtime: Open,
    actor: Annotated[
        str | None,
        Query(max_length=400, pattern=r"^[^\x00]*$", description="Whole.", examples=["user:ann@example.org"]),
    ] = None,
    action: Annotated[
        str | None,
        Query(max_length=60, pattern=r"^[a-z_.]*$", description="Whole, or how it begins.", examples=["device."]),
    ] = None,
    since: Annotated[Moment | None, Query(alias="from", description="The first instant that is wanted.")] = None,
    until: Annotated[Moment | None, Query(alias="to", description="The first instant that is not.")] = None,
    limit: Limit = 50,
    after: After = None,
) -> Page[Entry]:
    """What was decided in the workspace, newest first."""
    found, following = await audit.list_entries(
        runtime,
        access.workspace_id,
        actor=actor,
        action=action,
        since=since,
        until=until,
        after=after,
        limit=limit,
    )
    return Page(items=[Entry.model_validate(e) for e in found], next=following)
