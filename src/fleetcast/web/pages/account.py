"""Who is signed in, about themselves: name, password, second factor, and where else they are signed in."""

from typing import Annotated

import segno
from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import HTMLResponse, Response

from fleetcast.domain.access import SessionId
from fleetcast.errors import Conflict, FleetcastError, InvalidInput, TooMany, Unauthenticated
from fleetcast.services.accounts import people, second_factor, sign_in
from fleetcast.web import rendering
from fleetcast.web.place import Looking, Place

router = APIRouter()

SECTION = "me"
Secret = Annotated[str, Form(max_length=2_000)]
Code = Annotated[str, Form(max_length=100)]
_STATUSES = {Conflict: 409, TooMany: 429}
_REFUSALS = (InvalidInput, Unauthenticated, Conflict, TooMany)


@router.get("/me")
async def show_account(request: Request, here: Looking) -> HTMLResponse:
    """Yourself."""
    return await _page(request, here)


async def _page(
    request: Request,
    here: Place,
    *,
    trouble: FleetcastError | None = None,
    where: str = "",
    enrolment: second_factor.Enrolment | None = None,
    codes: list[str] | None = None,
) -> HTMLResponse:
    """`where`: the form that the trouble belongs to. `enrolment`, `codes`: shown this once."""
    user_id = here.visitor.user_id
    sessions, _ = await sign_in.list_sessions(here.runtime, user_id)
    status = 200 if trouble is None else _STATUSES.get(type(trouble), 422)
    return rendering.page(
        request,
        here,
        "account.html",
        SECTION,
        "You",
        status=status,
        person=await people.get_user(here.runtime, user_id),
        codes_left=await second_factor.recovery_codes_left(here.runtime, user_id),
        sessions=sessions,
        trouble=trouble,
        where=where,
        enrolment=enrolment,
        picture=None if enrolment is None else _as_picture(enrolment.uri),
        codes=codes,
    )


def _as_picture(text: str) -> str:
    """A QR code as the address of an image: black on white in any light, with the quiet zone that cameras need."""
    return segno.make(text, error="m", micro=False).svg_data_uri(scale=5, border=4, dark="#000", light="#fff")


@router.post("/me/name")
async def rename(request: Request, here: Looking, name: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Change how the others see you."""
    try:
        await people.rename(here.runtime, here.visitor.user_id, name)
    except InvalidInput as error:
        return await _page(request, here, trouble=error, where="name")
    return here.to("/me", "me-name")


@router.post("/me/password")
async def change_password(
    request: Request, here: Looking, password: Secret = "", new_password: Secret = ""
) -> Response:
    """Change your password; your other sessions end."""
    try:
        await people.change_password(
            here.runtime, here.visitor.user_id, password, new_password, keep=here.visitor.session_id
        )
    except _REFUSALS as error:
        return await _page(request, here, trouble=_of_form(error), where="password")
    return here.to("/me", "me-password")


@router.post("/me/second-factor")
async def begin(request: Request, here: Looking, password: Secret = "") -> Response:
    """Prepare a second factor."""
    try:
        made = await second_factor.begin(here.runtime, here.visitor.user_id, password)
    except _REFUSALS as error:
        return await _page(request, here, trouble=_of_form(error), where="second-factor")
    return await _page(request, here, enrolment=made)


@router.post("/me/second-factor/confirm")
async def confirm(request: Request, here: Looking, code: Code = "") -> Response:
    """Turn it on with its first code."""
    try:
        codes = await second_factor.confirm(here.runtime, here.visitor.user_id, code, keep=here.visitor.session_id)
    except _REFUSALS as error:
        return await _page(request, here, trouble=_of_form(error), where="confirm")
    return await _page(request, here, codes=codes)


@router.post("/me/second-factor/recovery-codes")
async def renew(request: Request, here: Looking, password: Secret = "", code: Code = "") -> Response:
    """New recovery codes in place of the old ones."""
    try:
        codes = await second_factor.renew_recovery_codes(here.runtime, here.visitor.user_id, password, code)
    except _REFUSALS as error:
        return await _page(request, here, trouble=_of_form(error), where="codes")
    return await _page(request, here, codes=codes)


@router.post("/me/second-factor/off")
async def turn_off(request: Request, here: Looking, password: Secret = "", code: Code = "") -> Response:
    """Sign in with the password alone from now on."""
    try:
        await second_factor.turn_off(here.runtime, here.visitor.user_id, password, code)
    except _REFUSALS as error:
        return await _page(request, here, trouble=_of_form(error), where="codes")
    return here.to("/me", "me-second-factor-off")


@router.post("/me/sessions/end-others")
async def end_others(here: Looking) -> Response:
    """Sign out everywhere else."""
    n = await sign_in.sign_out_everywhere(here.runtime, here.visitor.user_id, keep=here.visitor.session_id)
    return here.to("/me", "me-sessions" if n else "nothing", n)


@router.post("/me/sessions/{session_id}/end")
async def end_one(here: Looking, session_id: Annotated[int, Path(ge=1, le=2**63 - 1)]) -> Response:
    """Sign out one browser."""
    await sign_in.end_session(here.runtime, here.visitor.user_id, SessionId(session_id))
    return here.to("/me", "me-sessions", 1)


def _of_form(error: FleetcastError) -> FleetcastError:
    """A wrong password in a form is a mistake in a field, and no reason to be led to the door."""
    return InvalidInput("password", str(error)) if isinstance(error, Unauthenticated) else error
