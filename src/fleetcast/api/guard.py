"""Who may call a route. Every route says what it needs when it is made; one that says nothing cannot be made.

All is asked before the request's content is read: who it is (401), how often they ask (429), whether they may (403).
Then the header Idempotency-Key is honoured, for every route that changes something (`repetition`). Of the content no
more is read than the route takes (413, `limits`).
"""

from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query as FromQuery
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from fleetcast.api import problems
from fleetcast.api.limits import Largest, json_bytes, limited
from fleetcast.api.repetition import Manner, key_of, once
from fleetcast.domain.access import Access, Scope
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.errors import FleetcastError, Forbidden, InvalidInput, InvalidInputs, NotFound, TooMany, Unauthenticated
from fleetcast.queue.rate_limits import Allowance, RateLimits
from fleetcast.runtime import Runtime
from fleetcast.services import idempotency
from fleetcast.services.accounts import entrance
from fleetcast.services.accounts.tokens import KEY

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
    """The request's content is not read at once and may be of any size."""
    repeatable: bool = False
    """The use case itself knows a request that is sent again, by its Idempotency-Key."""
    sessions_only: bool = False
    """About the person who is signed in: no key may call it."""
    largest: Largest = json_bytes
    """Bytes of the request's content."""

    @property
    def manner(self) -> Manner:
        """How its requests can be repeated."""
        return Manner(streams=self.streams, repeatable=self.repeatable)


def needs(
    scope: Scope,
    *,
    device: str | None = None,
    device_keys: bool = False,
    streams: bool = False,
    repeatable: bool = False,
    sessions_only: bool = False,
    takes: Sequence[str] = (),
    largest: Largest = json_bytes,
) -> dict[str, Any]:
    """Arguments for a route's decorator: `@router.get("/things", **needs(Scope.READ))`.

    `takes`: media types of a content that is no JSON, for the description.
    """
    rule = Rule(scope, device, device_keys or device is not None, streams, repeatable, sessions_only, largest)
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
            | (problems.CONFLICT | problems.CONTENT if changes else {})
            | dict(settings.get("responses") or {})
        )
        if changes:
            dependencies = list(settings.get("dependencies") or [])
            settings["dependencies"] = [*dependencies, Depends(key_of)]
        super().__init__(path, endpoint, **settings)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind the guard."""
        inner = super().get_route_handler()
        rule = self.rule
        fields = get_flat_params(self.dependant)
        parameters = sorted({field.alias for field in fields if isinstance(field.field_info, FromQuery)})

        async def guarded(request: Request) -> Response:
            runtime: Runtime = request.app.state.runtime
            access = await admit(runtime, request)
            limits: RateLimits = request.app.state.rate_limits
            allowance = await limits.spend(_who(access), runtime.settings.api_requests_a_minute)
            if not allowance.allowed:
                refusal = problems.of_error(
                    TooMany(
                        f"At most {allowance.limit:,} requests a minute. Ask again in {allowance.reset} seconds.",
                        allowance.reset,
                    )
                )
                return _with_allowance(refusal, allowance)
            try:
                check(rule, access, request)
                check_query(parameters, request)
                request.state.access = access
                request = limited(request, rule.largest(runtime.settings))
                key = request.headers.get(idempotency.HEADER)
                if request.method in _SAFE or key is None:
                    response = await inner(request)
                else:
                    response = await once(runtime, access, rule.manner, request, key, inner)
            except (FleetcastError, RequestValidationError, HTTPException) as error:
                response = await problems.refusal(request, error)
            return _with_allowance(response, allowance)

        return guarded


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
        raise Unauthenticated("Send your key like this: `Authorization: Bearer fck_…`, or sign in to the dashboard.")
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


def check_query(parameters: Sequence[str], request: Request) -> None:
    """Raises InvalidInputs for unknown ones: with a misspelt filter everything would be shown, with a misspelt choice
    something else be done.
    """
    if unknown := [name for name in request.query_params if name not in parameters]:
        choice = f"known are {', '.join(parameters)}" if parameters else "none is known here"
        raise InvalidInputs([InvalidInput(name[:100], f"there is no such parameter; {choice}") for name in unknown])


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


def allow_giving(access: Access, scopes: Collection[Scope]) -> None:
    """Refuse to make, change or remove who or what has these scopes. Raises Forbidden."""
    if access.may_give(scopes):
        return
    if access.key_id is not None and Scope.MANAGE in scopes:
        raise Forbidden("A key cannot decide who manages this workspace: an owner does that, signed in.")
    raise Forbidden("Nobody can give what they do not have: ask somebody who has these scopes.")
