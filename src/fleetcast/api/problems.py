"""Errors as RFC 9457 problem details: one form for every refusal, and the field at fault by name."""

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from fleetcast.errors import (
    ConfigurationError,
    Conflict,
    FleetcastError,
    Forbidden,
    InvalidInput,
    InvalidInputs,
    NotFound,
    TooMany,
    Unauthenticated,
    Unavailable,
    Uncertain,
)
from fleetcast.services.idempotency import KeyInUse

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"


class FieldProblem(BaseModel):
    """One field that cannot be accepted."""

    field: str = Field(description="As it is called in the request.", examples=["max_delay"])
    detail: str = Field(examples=["must be at least min_delay"])
    line: int | None = Field(default=None, description="1-based, in a text or file.")
    column: int | None = Field(default=None, description="1-based, in a text.")


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str = Field(description="What kind of problem; programs decide by it.", examples=["urn:fleetcast:not-found"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(description="What is wrong and what to do, for a person.")
    errors: list[FieldProblem] | None = Field(default=None, description="Every field at fault, of a request's content.")


_KINDS: tuple[tuple[type[FleetcastError], int, str, str], ...] = (
    (Unauthenticated, 401, "unauthenticated", "Not signed in"),
    (Forbidden, 403, "forbidden", "Not allowed"),
    (NotFound, 404, "not-found", "Not found"),
    (KeyInUse, 409, "request-under-way", "Under way"),
    (Conflict, 409, "conflict", "Not possible in this state"),
    (InvalidInput, 422, "invalid-input", "Invalid input"),
    (TooMany, 429, "too-many", "Too many requests"),
    (Uncertain, 500, "uncertain", "It is not known whether this was done"),
    (Unavailable, 503, "unavailable", "A server is away"),
    (ConfigurationError, 500, "configuration", "Wrongly set up"),
)


def problem(
    status: int,
    kind: str,
    title: str,
    detail: str,
    *,
    errors: list[FieldProblem] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """The answer for one problem."""
    for field in errors or ():
        field.field, field.detail = _utf8(field.field), _utf8(field.detail)
    body = ProblemDetails(type=f"urn:fleetcast:{kind}", title=title, status=status, detail=_utf8(detail), errors=errors)
    return JSONResponse(body.model_dump(exclude_none=True), status, headers, media_type=MEDIA_TYPE)


def _utf8(text: str) -> str:
    """A sentence may quote what was asked for, and JSON can say halves of characters that no answer can."""
    return text.encode(errors="replace").decode()


def of_error(error: FleetcastError) -> JSONResponse:
    """The answer for an error of the services."""
    status, kind, title = next(
        ((s, k, t) for cls, s, k, t in _KINDS if isinstance(error, cls)), (400, "refused", "Refused")
    )
    if isinstance(error, ConfigurationError):
        log.error("the API met a fault of the set-up", error=str(error))
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="fleetcast"'
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unavailable) and not isinstance(error, Uncertain):
        headers["Retry-After"] = "5"
    if isinstance(error, KeyInUse):
        headers["Retry-After"] = "1"
    fields = None
    if isinstance(error, InvalidInput):
        found = error.problems if isinstance(error, InvalidInputs) else [error]
        fields = [FieldProblem(field=e.field, detail=e.problem, line=e.line, column=e.column) for e in found]
    return problem(status, kind, title, str(error), errors=fields, headers=headers)


def of_validation(error: RequestValidationError) -> JSONResponse:
    """The answer for a request that does not fit the description."""
    fields = [FieldProblem(field=_place(e["type"], e["loc"]), detail=_sentence(e)) for e in error.errors()]
    return problem(
        422, "invalid-input", "Invalid input", "; ".join(f"{f.field}: {f.detail}" for f in fields[:5]), errors=fields
    )


def _place(kind: str, location: tuple[Any, ...]) -> str:
    """`body.leads.3.phone` as people write it: `leads[3].phone`."""
    if kind == "json_invalid":
        return "body"
    told = ""
    for part in location[1:] if location and location[0] in {"body", "query", "path", "header"} else location:
        told += f"[{part}]" if isinstance(part, int) else f"{'.' if told else ''}{part}"
    return told or "body"


def _sentence(error: dict[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"the content is no JSON: at character {error['loc'][-1]}, {error['ctx']['error']}"[:300]
    if error["type"] == "model_attributes_type" and error["loc"] == ("body",):
        return "send an object of JSON, with the header Content-Type: application/json"
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    return str(error["msg"]).removeprefix("Value error, ")[:300]


async def known(request: Request, error: Exception) -> JSONResponse:
    """Handler of the errors that services raise."""
    assert isinstance(error, FleetcastError)
    return of_error(error)


async def invalid(request: Request, error: Exception) -> JSONResponse:
    """Handler of requests that do not fit the description."""
    assert isinstance(error, RequestValidationError)
    return of_validation(error)


async def http(request: Request, error: Exception) -> JSONResponse:
    """Handler of what the framework itself refuses: no such route, no such method."""
    status = error.status_code if isinstance(error, HTTPException) else 400
    title = _TITLES.get(status) or HTTPStatus(status).phrase
    sentences = {
        400: "The content cannot be read: send JSON in UTF-8, all of it.",
        404: "There is nothing at this address. The description of the API is at /api/v1/docs.",
        405: "This address does not know this method.",
        408: str(getattr(error, "detail", "")),
        413: str(getattr(error, "detail", "")),
    }
    headers = dict(getattr(error, "headers", None) or {})
    return problem(status, title.lower().replace(" ", "-"), title, sentences.get(status, title + "."), headers=headers)


_TITLES = {408: "Too slow", 413: "Too large"}
"""In words that are the same in every version of Python, since programs decide by them."""


async def unforeseen(request: Request, error: Exception) -> JSONResponse:
    """Handler of faults of Fleetcast: says nothing of what happened, the log does."""
    return problem(
        500,
        "fault",
        "A fault",
        "This is a fault of Fleetcast, not of the request. The log of the process has the details.",
    )


async def refusal(request: Request, error: FleetcastError | RequestValidationError | HTTPException) -> JSONResponse:
    """The answer for whatever refuses a request, where headers are still to be added to it."""
    if isinstance(error, FleetcastError):
        return of_error(error)
    return of_validation(error) if isinstance(error, RequestValidationError) else await http(request, error)


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemDetails, "description": title, "content": {MEDIA_TYPE: {}}}
    for status, title in (
        (401, "No key, or one that is not known, revoked or expired"),
        (403, "The key may not do this"),
        (404, "No such thing in this workspace"),
        (422, "Something in the request cannot be accepted; `errors` names the fields"),
        (429, "Too many requests; `Retry-After` says when to ask again"),
        (503, "A server is away; `Retry-After` says when to ask again"),
    )
}
"""What every route may answer."""
CONTENT: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemDetails, "description": title, "content": {MEDIA_TYPE: {}}}
    for status, title in (
        (400, "The content cannot be read"),
        (408, "The content came too slowly"),
        (413, "The content is larger than this address takes"),
    )
}
"""What every route with content may answer."""
CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"model": ProblemDetails, "description": "Not possible in this state", "content": {MEDIA_TYPE: {}}}
}
