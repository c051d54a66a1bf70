"""Who may call a route. Every route says what it needs when it is made; one that says nothing cannot be made.

All is asked before the request's content is read: who it is (401), how often they ask (429), whether they may (403).
Then the header Idempotency-Key is honoured, for every route that changes something. Of the content no more is read than
the route takes (413).
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from fleetcast.api import problems
from fleetcast.api.limits import Largest, json_bytes, limited
from fleetcast.domain.access import Access, Scope
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.errors import FleetcastError, Forbidden, InvalidInput, NotFound, TooMany, Unauthenticated, Unavailable
from fleetcast.queue.rate_limits import Allowance, RateLimits
from fleetcast.runtime import Runtime
from fleetcast.services import idempotency
from fleetcast.services.accounts import entrance
from fleetcast.services.accounts.tokens import KEY

REQUESTS_A_MINUTE = 600
"""Of one key or one session."""
WORKSPACE_HEADER = "Fleetcast-Workspace"
_RULE = "x-fleetcast-rule"
_SAFE = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route needs."""

    scope: Scope
    device: str | None = None
    """Name of the path's parameter that is a device: a key for one device may call the route for that device."""
    device_keys: bool = False
    """Keys for one device may call it; the route itself looks at `Access.device_id`."""
    streams: bool = False
    """The request's content is not read at once; its length alone recognises it."""
    sessions_only: bool = False
    """About the person who is signed in: no key may call it."""
    largest: Largest = json_bytes
    """Bytes of the request's content."""


def needs(
    scope: Scope,
    *,
    device: str | None = None,
    device_keys: bool = False,
    streams: bool = False,
    sessions_only: bool = False,
    takes: Sequence[str] = (),
    largest: Largest = json_bytes,
) -> dict[str, Any]:
    """Arguments for a route's decorator: `@router.get("/things", **needs(Scope.READ))`.

    `takes`: media types of a content that is no JSON, for the description.
    """
    rule = Rule(scope, device, device_keys or device is not None, streams, sessions_only, largest)
    extra: dict[str, Any] = {_RULE: rule, "x-scope": scope.value}
    if takes:
        content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in takes}
        extra["requestBody"] = {"required": True, "content": content}
    return {"openapi_extra": extra}


class GuardedRoute(APIRoute):
    """A route with a rule."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **settings: Any) -> None:
        extra = dict(settings.get("openapi_extra") or {})
        if not isinstance(rule := extra.pop(_RULE, None), Rule):
            raise TypeError(f"the route {path} does not say what it needs: add **needs(Scope.…)")
        self.rule: Rule = rule
        settings["openapi_extra"] = extra
        changes = set(settings.get("methods") or ()) - _SAFE
        settings["responses"] = (
            problems.RESPONSES
            | (problems.NOT_FOUND if "{" in path else {})
            | (problems.CONFLICT | problems.CONTENT if changes else {})
            | dict(settings.get("responses") or {})
        )
        if changes:
            dependencies = list(settings.get("dependencies") or [])
            settings["dependencies"] = [*dependencies, Depends(_idempotency_key)]
        super().__init__(path, endpoint, **settings)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind the guard."""
        inner = super().get_route_handler()
        rule = self.rule

        async def guarded(request: Request) -> Response:
            runtime: Runtime = request.app.state.runtime
            access = await admit(runtime, request)
            limits: RateLimits = request.app.state.rate_limits
            allowance = await limits.spend(_who(access), REQUESTS_A_MINUTE)
            if not allowance.allowed:
                refusal = problems.of_error(
                    TooMany(f"At most {allowance.limit:,} requests a minute. Ask again later.", allowance.reset)
                )
                return _with_allowance(refusal, allowance)
            check(rule, access, request)
            request.state.access = access
            request = limited(request, rule.largest(runtime.settings))
            key = request.headers.get(idempotency.HEADER)
            if request.method in _SAFE or key is None:
                response = await inner(request)
            else:
                response = await _once(runtime, access, rule, request, key, inner)
            return _with_allowance(response, allowance)

        return guarded


async def _idempotency_key(
    key: Annotated[
        str | None,
        Header(
            alias=idempotency.HEADER,
            description="Any text made for this request, best a UUID. The same request with the same key within 24 "
            "hours is done once and gets the same answer.",
            max_length=idempotency.LONGEST_KEY,
        ),
    ] = None,
) -> None:
    """For the description only: `GuardedRoute` honours it."""


def _who(access: Access) -> str:
    return f"key:{access.key_id}" if access.key_id is not None else f"user:{access.user_id}"


def _with_allowance(response: Response, allowance: Allowance) -> Response:
    """Headers of draft-ietf-httpapi-ratelimit-headers."""
    response.headers["RateLimit-Policy"] = f'"minute";q={allowance.limit};w=60'
    response.headers["RateLimit"] = f'"minute";r={allowance.remaining};t={allowance.reset}'
    return response


async def admit(runtime: Runtime, request: Request) -> Access:
    """Who asks: by the key of the header Authorization, else by the session of the dashboard.

    Raises Unauthenticated; NotFound for a workspace that the session's user is no member of.
    """
    header = request.headers.get("Authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip().startswith(KEY):
            raise Unauthenticated("Send your key like this: `Authorization: Bearer fck_…`.")
        return await entrance.of_key(runtime, token.strip())
    secure = request.url.scheme == "https" or (runtime.settings.url or "").startswith("https:")
    cookie = request.cookies.get(entrance.cookie_name(secure=secure))
    if cookie is None:
        raise Unauthenticated("Send your key like this: `Authorization: Bearer fck_…`.")
    found = await entrance.visitor(runtime, cookie)
    wanted = request.headers.get(WORKSPACE_HEADER)
    if wanted is not None and not (wanted.isascii() and wanted.isdigit() and len(wanted) < 19):
        raise NotFound("There is no such workspace.")
    return found.access(WorkspaceId(int(wanted)) if wanted else None)


def check(rule: Rule, access: Access, request: Request) -> None:
    """Raises Forbidden when they may not; NotFound for another device than the key's, as if it were not there."""
    if rule.sessions_only and access.user_id is None:
        raise Forbidden("This is about the person who is signed in; a key cannot ask it.")
    if not access.may(rule.scope):
        raise Forbidden(f"This needs the scope '{rule.scope}', which you do not have.")
    if access.device_id is None:
        return
    if not rule.device_keys:
        raise Forbidden("This key is for one device; what concerns others needs another key.")
    if rule.device is not None and request.path_params.get(rule.device) != str(access.device_id):
        raise NotFound("There is no such device in this workspace.")


async def _once(
    runtime: Runtime,
    access: Access,
    rule: Rule,
    request: Request,
    key: str,
    inner: Callable[[Request], Coroutine[Any, Any, Response]],
) -> Response:
    body = request.headers.get("Content-Length", "").encode() if rule.streams else await request.body()
    asked = idempotency.fingerprint(request.method, request.url.path, request.url.query, body)
    before = await idempotency.begin(runtime, access, key, asked)
    if before is not None:
        replayed = Response(before.body, before.status, media_type=before.media_type)
        replayed.headers["Idempotent-Replayed"] = "true"
        return replayed
    try:
        response = await inner(request)
    except _NOTHING_DONE:
        await idempotency.release(runtime, access, key)  # nothing was done
        raise
    except FleetcastError as error:
        response = problems.of_error(error)
    except Exception:
        await _keep(runtime, access, key, await problems.unforeseen(request, RuntimeError()))
        raise
    await _keep(runtime, access, key, response)
    return response


_NOTHING_DONE = (
    InvalidInput,
    RequestValidationError,
    Forbidden,
    Unauthenticated,
    Unavailable,
    TooMany,
    HTTPException,  # content that is too large, too slow, broken off or unreadable
)


async def _keep(runtime: Runtime, access: Access, key: str, response: Response) -> None:
    media_type = response.headers.get("Content-Type")
    await idempotency.finish(
        runtime, access, key, idempotency.Answer(response.status_code, media_type, bytes(response.body))
    )


def _access(request: Request) -> Access:
    access: Access = request.state.access
    return access


def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


Caller = Annotated[Access, Depends(_access)]
"""Who asks, already known to be allowed."""
Open = Annotated[Runtime, Depends(_runtime)]
"""The open runtime."""


def own_device(access: Access, asked: int | None) -> DeviceId | None:
    """The device that a list is narrowed to: what was asked for, or the one device of the key. Raises NotFound."""
    if access.device_id is None:
        return None if asked is None else DeviceId(asked)
    if asked not in (None, access.device_id):
        raise NotFound("There is no such device in this workspace.")
    return access.device_id
