"""Who is at a page: the cookie of a session, and what happens without one.

Every route of the pages either asks for a `Visiting` or is named in `PUBLIC`; a test walks all of them.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from fleetcast.runtime import Runtime
from fleetcast.services.accounts.entrance import Visitor, cookie_name, visitor
from fleetcast.services.accounts.sign_in import SESSION_SECONDS, Browser
from fleetcast.web import rendering

SIGN_IN = "/sign-in"
PUBLIC = frozenset({SIGN_IN, "/sign-in/code", "/sign-out", "/invitations/{token}", "/health", "/ready", "/metrics"})
"""Routes that ask for no session: the door itself, and what machines ask; /metrics has a rule of its own."""


def is_secure(request: Request) -> bool:
    """Whether the browser came over TLS, as far as this process or its trusted proxy knows."""
    runtime: Runtime = request.app.state.runtime
    return request.url.scheme == "https" or (runtime.settings.url or "").startswith("https:")


def token(request: Request) -> str | None:
    """The token of the session that a request carries."""
    return request.cookies.get(cookie_name(secure=is_secure(request)))


def browser(request: Request) -> Browser:
    """Where a request comes from, as far as it says."""
    return Browser(request.headers.get("User-Agent", ""), request.client.host if request.client else "")


async def visiting(request: Request) -> Visitor:
    """Who is signed in. Raises Unauthenticated, which becomes the sign-in page."""
    runtime: Runtime = request.app.state.runtime
    return await visitor(runtime, token(request))


Visiting = Annotated[Visitor, Depends(visiting)]


def with_session(response: Response, request: Request, value: str, *, seconds: float = SESSION_SECONDS) -> Response:
    """Give the browser its token: not readable by scripts, not sent with requests that another site begins."""
    secure = is_secure(request)
    response.set_cookie(
        cookie_name(secure=secure), value, max_age=int(seconds), path="/", secure=secure, httponly=True, samesite="lax"
    )
    return response


def without_session(response: Response, request: Request) -> Response:
    """Take the token away."""
    secure = is_secure(request)
    response.delete_cookie(cookie_name(secure=secure), path="/", secure=secure, httponly=True, samesite="lax")
    return response


def inside(path: str | None) -> str:
    """An address of this dashboard to go on to; `/` for what is none, so that no link leads people elsewhere."""
    if not path or not path.startswith("/") or path.startswith("//") or "\\" in path or not path.isprintable():
        return "/"
    return path


def sign_in_at(following: str) -> str:
    """The address of the form, from which people go on to `following`."""
    return SIGN_IN if following == "/" else f"{SIGN_IN}?next={quote(following)}"


def _is_visit(request: Request, unsaid: str = "text/html") -> bool:
    """Whether a person opens an address, and no script of a page asks for it. `unsaid`: what who says nothing wants."""
    accepts = request.headers.get("Accept", unsaid)
    return (
        request.method == "GET"
        and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
        and "text/html" in accepts
        and "text/event-stream" not in accepts
    )


async def to_sign_in(request: Request, error: Exception) -> Response:
    """Handler of `Unauthenticated`: people get the form and come back afterwards, everything else a 401."""
    if _is_visit(request):
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(sign_in_at(inside(path)), 303)
    return HTMLResponse(rendering.notice_page("Sign in first", str(error), onward=(SIGN_IN, "Sign in")), 401)


Handler = Callable[[Request, Any], Response | Awaitable[Response]]
"""As the framework keeps what answers an error."""


def readers_to_sign_in(page: str, otherwise: Handler) -> Handler:
    """The same for the API's one page, its documentation; whatever else is asked there gets the API's own answer."""

    async def handle(request: Request, error: Exception) -> Response:
        if request.url.path == page and _is_visit(request, unsaid="*/*"):
            return await to_sign_in(request, error)
        answer = otherwise(request, error)
        return answer if isinstance(answer, Response) else await answer

    return handle
