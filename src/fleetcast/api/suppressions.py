"""Suppressions: the people that a workspace does not write to."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from fleetcast.api.guard import Caller, GuardedRoute, Open, needs
from fleetcast.api.paging import STORABLE, After, Limit, Page, with_plus, without_plus
from fleetcast.domain.access import Scope
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.services import paging, suppressions
from fleetcast.services.suppressions import LARGEST_LIST, LONGEST_NOTE
from fleetcast.services.workspaces import get_workspace

router = APIRouter(route_class=GuardedRoute, tags=["suppressions"])

Number = Annotated[str, Field(max_length=100, examples=["+60123456789"])]
NumberInPath = Annotated[
    str, Path(max_length=100, description="A number; write its + as %2B.", examples=["+60123456789"])
]
Note = Annotated[str, Field(max_length=LONGEST_NOTE, pattern=STORABLE, examples=["asked for it at the counter"])]


class Suppression(BaseModel):
    """One person on the list."""

    model_config = ConfigDict(from_attributes=True)

    recipient: str = Field(description="E.164.", examples=["+60123456789"])
    effective_at: datetime = Field(description="No attempt to this person starts after it.")
    created_at: datetime
    source: str = Field(description="reply, person, import or provider", examples=["reply"])
    note: str


class NewSuppressions(BaseModel):
    """People to be written to no more: all of them, or none if one number cannot be read."""

    model_config = ConfigDict(extra="forbid")

    numbers: list[Number] = Field(min_length=1, max_length=LARGEST_LIST)
    note: Note = ""


class Suppressed(BaseModel):
    """What it did."""

    model_config = ConfigDict(from_attributes=True)

    added: list[str] = Field(description="Numbers that are on the list now and were not before.")
    known: list[str] = Field(description="Numbers that were on it already.")
    skipped: int = Field(description="Messages that waited for these people and are skipped.")


class Lift(BaseModel):
    """Why, for whoever asks later."""

    model_config = ConfigDict(extra="forbid")

    note: Note = ""


class Lifted(BaseModel):
    """Who may be written to again."""

    recipient: str


@contextmanager
def _naming(field: str) -> Iterator[None]:
    """A number in the address is called as the address calls it."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(field, error.problem) from None


@router.get("/suppressions", **needs(Scope.READ))
async def list_suppressions(
    access: Caller, runtime: Open, limit: Limit = 100, after: After = None
) -> Page[Suppression]:
    """The list, by number."""
    place = with_plus(after)
    if place is not None and not (place[1:].isascii() and place[1:].isdigit()):
        raise InvalidInput("after", f"'{place[1:40]}' does not belong to this list; take it from the page before")
    found = await suppressions.list_suppressions(runtime, access.workspace_id, after=place or "", limit=limit + 1)
    some, following = paging.cut(found, limit, lambda s: s.recipient)
    return Page(items=[Suppression.model_validate(s) for s in some], next=without_plus(following))


@router.post("/suppressions", **needs(Scope.SEND))
async def add_suppressions(new: NewSuppressions, access: Caller, runtime: Open) -> Suppressed:
    """Write to these people no more. What waits for them is skipped; nothing of it leaves after this."""
    workspace = await get_workspace(runtime, access.workspace_id)
    done = await suppressions.add_suppressions(runtime, workspace, new.numbers, actor=access.actor, note=new.note)
    return Suppressed.model_validate(done)


@router.get("/suppressions/{number}", **needs(Scope.READ))
async def show_suppression(number: NumberInPath, access: Caller, runtime: Open) -> Suppression:
    """Whether a person is on the list, since when and why."""
    workspace = await get_workspace(runtime, access.workspace_id)
    with _naming("number"):
        found = await suppressions.find_suppression(runtime, workspace, number)
    if found is None:
        raise NotFound("This number is not on the suppression list of the workspace.")
    return Suppression.model_validate(found)


@router.post("/suppressions/{number}/lift", **needs(Scope.MANAGE))
async def lift_suppression(number: NumberInPath, access: Caller, runtime: Open, why: Lift | None = None) -> Lifted:
    """Take a person off the list. What was skipped stays skipped until somebody retries it."""
    workspace = await get_workspace(runtime, access.workspace_id)
    note = why.note if why else ""
    with _naming("number"):
        lifted = await suppressions.lift_suppression(runtime, workspace, number, actor=access.actor, note=note)
    return Lifted(recipient=lifted)
