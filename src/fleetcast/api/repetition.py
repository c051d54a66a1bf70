"""The header Idempotency-Key, for every route that changes something: a request that is sent again is done once.

Separate from the guard, which decides who may ask; this decides whether what is asked was answered already. The
contract is that of `services.idempotency`.
"""

import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import Depends, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message

from fleetcast.api import problems
from fleetcast.domain.access import Access
from fleetcast.errors import (
    FleetcastError,
    Forbidden,
    InvalidInput,
    TooMany,
    Unauthenticated,
    Unavailable,
    Uncertain,
)
from fleetcast.runtime import Runtime
from fleetcast.services import idempotency
from fleetcast.services.idempotency import Answer, Asked, Taken

log = structlog.get_logger()

LARGEST_ANSWER = 1 << 20
"""Bytes of an answer that is kept."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_REFUSALS = (InvalidInput, RequestValidationError, Forbidden, Unauthenticated, TooMany, HTTPException, ClientDisconnect)
"""Nothing was done: the request did not fit, or did not come to its end."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a route's requests can be repeated."""

    streams: bool = False
    """The content is not read at once: at first its length alone recognises it, in the end its hash."""
    repeatable: bool = False
    """The use case knows a repetition by the key itself, so doing it again does no harm."""

    @property
    def abandoned(self) -> float:
        """Seconds after which a request without an answer counts as killed."""
        if self.repeatable:
            return idempotency.ABANDONED_REPEATABLE_SECONDS
        return idempotency.ABANDONED_STREAM_SECONDS if self.streams else idempotency.ABANDONED_SECONDS


async def key_of(
    key: Annotated[
        str | None,
        Header(
            alias=idempotency.HEADER,
            description="Any text made for this request, best a UUID. The same request with the same key within 24 "
            "hours is done once and gets the same answer.",
            max_length=idempotency.LONGEST_KEY,
        ),
    ] = None,
) -> str | None:
    """The key that a request carries."""
    return key


Key = Annotated[str | None, Depends(key_of)]


class _Heard:
    """A request whose content is hashed while the route reads it."""

    def __init__(self, request: Request) -> None:
        self._original = request
        self._told = hashlib.sha256()
        self._complete = False
        self.request = Request(request.scope, self._receive)

    async def _receive(self) -> Message:
        message = await self._original.receive()
        if message["type"] == "http.request":
            self._told.update(message.get("body", b""))
            self._complete = not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read to the end and keep nothing."""
        async for _ in self.request.stream():
            pass

    @property
    def sha256(self) -> bytes | None:
        """Of the whole content; None while there may be more."""
        return self._told.digest() if self._complete else None


async def once(
    runtime: Runtime, access: Access, manner: Manner, request: Request, key: str, handler: Handler
) -> Response:
    """Do what is asked, or answer as it was answered before.

    Raises InvalidInput when the key was used for another request, Conflict while the first is under way, and what the
    handler raises.
    """
    heard = _Heard(request) if manner.streams else None
    body = request.headers.get("Content-Length", "").encode() if heard else await request.body()
    asked = Asked(request.method, request.url.path, request.url.query, body)
    turn = await idempotency.begin(runtime, access, key, asked, manner.abandoned)
    if not isinstance(turn, Taken):
        if heard is not None:
            await heard.drain()
            if not await idempotency.is_same_content(runtime, turn, heard.sha256 or b""):
                raise idempotency.another_request()
        return _replayed(turn.answer)
    try:
        response = await handler(heard.request if heard else request)
    except _REFUSALS:
        await _free(runtime, access, turn)
        raise
    except Unavailable as error:
        if not isinstance(error, Uncertain) or manner.repeatable:
            await _free(runtime, access, turn)
            raise
        response = problems.of_error(error)
    except FleetcastError as error:
        response = problems.of_error(error)
    except Exception as error:
        await _keep(runtime, access, turn, await problems.unforeseen(request, error), None)
        raise
    await _keep(runtime, access, turn, response, heard.sha256 if heard else None)
    return response


async def _free(runtime: Runtime, access: Access, taken: Taken) -> None:
    try:
        await idempotency.release(runtime, access, taken)
    except Unavailable as error:  # what is told is why the request was refused
        log.warning("a key is not freed: the same request would be refused for a while", error=str(error))


def _replayed(answer: Answer) -> Response:
    response = Response(answer.body, answer.status, media_type=answer.media_type)
    if answer.location is not None:
        response.headers["Location"] = answer.location
    response.headers["Idempotent-Replayed"] = "true"
    return response


async def _keep(runtime: Runtime, access: Access, taken: Taken, response: Response, sha256: bytes | None) -> None:
    """Keep an answer, or a word about one that cannot be kept. What was done stays done if this fails."""
    body = getattr(response, "body", None)
    told = response
    if not isinstance(body, bytes) or len(body) > LARGEST_ANSWER:
        told = problems.problem(
            409, "done", "Done already", "This was done when it was first asked. Its answer was too large to be kept."
        )
    answer = Answer(told.status_code, told.headers.get("Content-Type"), told.headers.get("Location"), bytes(told.body))
    try:
        await idempotency.finish(runtime, access, taken, answer, sha256)
    except Unavailable as error:
        log.warning("an answer is not kept: the same request would be refused for a while", error=str(error))
