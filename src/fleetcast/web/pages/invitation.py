"""Accepting an invitation: by who has no account yet, or by who is signed in as the one who is invited.

Opening the link changes nothing: programs that look at links before people do would use it up.
"""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from fleetcast.errors import Conflict, FleetcastError, InvalidInput, NotFound, TooMany, Unauthenticated
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import membership, sign_in
from fleetcast.services.accounts.entrance import Visitor, visitor
from fleetcast.web import rendering
from fleetcast.web.door import browser, sign_in_at, token, with_session

router = APIRouter()


async def _who(request: Request) -> Visitor | None:
    try:
        return await visitor(request.app.state.runtime, token(request))
    except Unauthenticated:
        return None


@router.get("/invitations/{token}")
async def look(request: Request) -> Response:
    """Who invites whom into what."""
    return await _page(request, await _who(request))


async def _page(
    request: Request, who: Visitor | None, *, name: str = "", trouble: FleetcastError | None = None, status: int = 200
) -> Response:
    link: str = request.path_params["token"]
    try:
        invitation, known = await membership.show_invitation(request.app.state.runtime, link)
    except NotFound as error:
        return HTMLResponse(rendering.notice_page("This invitation is over", str(error)), 404)
    return HTMLResponse(
        rendering.invitation_page(
            invitation, link=link, known=known, email=who.email if who else None, name=name, trouble=trouble
        ),
        status,
    )


@router.post("/invitations/{token}")
async def accept(
    request: Request,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=2_000)] = "",
) -> Response:
    """Become a member, with a new account or as who is signed in."""
    runtime: Runtime = request.app.state.runtime
    link: str = request.path_params["token"]
    who = await _who(request)
    try:
        if who is not None:
            joined = await membership.accept_as(runtime, link, who.user_id)
            return RedirectResponse(f"/?workspace={joined.workspace_id}", 303)
        invitation, _ = await membership.show_invitation(runtime, link)
        joined = await membership.accept_as_new(runtime, link, name, password)
    except InvalidInput as error:
        return await _page(request, who, name=name, trouble=error, status=422)
    except Conflict as error:
        return await _page(request, who, name=name, trouble=error, status=409)
    except NotFound:
        return await _page(request, who)
    there = f"/?workspace={joined.workspace_id}"
    try:
        done = await sign_in.sign_in(runtime, invitation.email, password, browser(request))
    except TooMany:  # others behind the same address have guessed; the account is made all the same
        return RedirectResponse(sign_in_at(there), 303)
    return with_session(RedirectResponse(there, 303), request, done.token)
