"""Coming in and going out: e-mail address and password, the code of the second factor, and signing out."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from fleetcast.errors import FleetcastError, TooMany, Unauthenticated
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import sign_in
from fleetcast.services.accounts.entrance import visitor
from fleetcast.services.accounts.sign_in import CODE_SECONDS
from fleetcast.web import rendering
from fleetcast.web.door import SIGN_IN, browser, inside, sign_in_at, token, with_session, without_session

router = APIRouter()

Next = Annotated[str | None, Query(alias="next", max_length=2_000)]
NextField = Annotated[str | None, Form(alias="next", max_length=2_000)]

CODE = f"{SIGN_IN}/code"


@router.get(SIGN_IN)
async def form(request: Request, following: Next = None) -> Response:
    """The form; who is signed in already goes on."""
    try:
        await visitor(request.app.state.runtime, token(request))
    except Unauthenticated:
        return HTMLResponse(rendering.sign_in_page(following=inside(following)))
    return RedirectResponse(inside(following), 303)


@router.post(SIGN_IN)
async def enter(
    request: Request,
    email: Annotated[str, Form(max_length=320)] = "",
    password: Annotated[str, Form(max_length=2_000)] = "",
    following: NextField = None,
) -> Response:
    """Prove a password."""
    runtime: Runtime = request.app.state.runtime
    try:
        done = await sign_in.sign_in(runtime, email, password, browser(request), before=token(request))
    except (Unauthenticated, TooMany) as error:
        page = rendering.sign_in_page(following=inside(following), email=email, trouble=str(error))
        return HTMLResponse(page, _status(error), _headers(error))
    if done.needs_code:
        asked = RedirectResponse(f"{CODE}?next={quote(inside(following))}", 303)
        return with_session(asked, request, done.token, seconds=CODE_SECONDS)
    return with_session(RedirectResponse(inside(following), 303), request, done.token)


@router.get(CODE)
async def code_form(following: Next = None) -> Response:
    """The form of the second factor."""
    return HTMLResponse(rendering.code_page(following=inside(following)))


@router.post(CODE)
async def enter_code(
    request: Request, code: Annotated[str, Form(max_length=100)] = "", following: NextField = None
) -> Response:
    """Prove the second factor."""
    runtime: Runtime = request.app.state.runtime
    try:
        opened = await sign_in.enter_code(runtime, token(request) or "", code, browser(request))
    except (Unauthenticated, TooMany) as error:
        again = rendering.sign_in_page if isinstance(error, sign_in.Lapsed) else rendering.code_page
        return HTMLResponse(again(following=inside(following), trouble=str(error)), _status(error), _headers(error))
    return with_session(RedirectResponse(inside(following), 303), request, opened)


@router.post("/sign-out")
async def leave(request: Request, following: NextField = None) -> Response:
    """End this session, or one that is over already."""
    await sign_in.sign_out(request.app.state.runtime, token(request) or "")
    return without_session(RedirectResponse(sign_in_at(inside(following)), 303), request)


def _status(error: FleetcastError) -> int:
    return 429 if isinstance(error, TooMany) else 401


def _headers(error: FleetcastError) -> dict[str, str]:
    return {"Retry-After": str(error.retry_after)} if isinstance(error, TooMany) else {}
