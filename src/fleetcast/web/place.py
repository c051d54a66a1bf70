"""Where a page stands: the workspace that is looked at, who looks, and what they may do there.

Every page of a workspace asks for `Looking`, `Sending` or `Managing`, by what it needs; the workspace is the one named
behind the question mark, or the visitor's oldest. What is of all workspaces asks for `Owning`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from fastapi.responses import RedirectResponse

from fleetcast.domain.access import Access, Scope
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import Forbidden
from fleetcast.runtime import Runtime
from fleetcast.services.accounts.entrance import Visitor
from fleetcast.services.workspaces import Workspace, workspace_now
from fleetcast.web.door import Visiting

Chosen = Annotated[int | None, Query(alias="workspace", ge=1, le=2**63 - 1)]
"""Without it: the oldest workspace."""

_NEEDS: Mapping[Scope, str] = {
    Scope.SEND: "Members who only look may not do this. Ask an owner of the workspace to make you an operator.",
    Scope.MANAGE: "Only owners of the workspace may do this. Ask one of them.",
}


@dataclass(frozen=True, slots=True)
class Place:
    """What a page knows before it is drawn."""

    runtime: Runtime
    workspace: Workspace
    access: Access
    visitor: Visitor
    at: datetime
    """Now, by the database's clock."""

    @property
    def may_send(self) -> bool:
        """Whether who looks may make messages leave or stop."""
        return self.access.may(Scope.SEND)

    @property
    def may_manage(self) -> bool:
        """Whether who looks may decide who does what."""
        return self.access.may(Scope.MANAGE)

    @property
    def owns_installation(self) -> bool:
        """Whether who looks may see and move what is of all workspaces."""
        return self.visitor.installation_owner

    @property
    def named(self) -> int | None:
        """What addresses say of the workspace; None for the visitor's oldest, which is meant without a word."""
        home = self.visitor.memberships[0].workspace_id
        return None if self.workspace.id == home else self.workspace.id

    def href(self, path: str, **query: object) -> str:
        """An address in this workspace; what is None or empty is left out."""
        told = {"workspace": self.named} | query
        given = {name: value for name, value in told.items() if value not in (None, "")}
        return f"{path}?{urlencode(given)}" if given else path

    def to(self, path: str, said: str = "", n: int | None = None, **query: object) -> RedirectResponse:
        """On to a page after something was done. `said`: what it says there, a key of `words.SAID`."""
        return RedirectResponse(self.href(path, said=said, n=n, **query), 303)


async def place(request: Request, who: Visiting, chosen: Chosen = None) -> Place:
    """Where this request is. Raises NotFound where its visitor is no member."""
    runtime: Runtime = request.app.state.runtime
    access = who.access(None if chosen is None else WorkspaceId(chosen))
    workspace, at = await workspace_now(runtime, access.workspace_id)
    return Place(runtime, workspace, access, who, at)


Looking = Annotated[Place, Depends(place)]


def _with(here: Place, scope: Scope) -> Place:
    if not here.access.may(scope):
        raise Forbidden(_NEEDS[scope])
    return here


async def _sending(here: Looking) -> Place:
    return _with(here, Scope.SEND)


async def _managing(here: Looking) -> Place:
    return _with(here, Scope.MANAGE)


Sending = Annotated[Place, Depends(_sending)]
Managing = Annotated[Place, Depends(_managing)]


async def _owning(here: Looking) -> Place:
    if not here.owns_installation:
        raise Forbidden(
            "This is about the whole installation, so it shows more than one workspace may see: only the owner of the "
            "installation may."
        )
    return here


Owning = Annotated[Place, Depends(_owning)]
