"""What every answer carries and which requests are refused outright, before any page runs.

Separate from the pages so that none can forget it. The policy allows no inline script or style and nothing from
elsewhere. While the dashboard listens on loopback only, requests must name a loopback host or the one of
FLEETCAST_URL: otherwise any website could point a name of its own at 127.0.0.1 and read the pages through the visitor's
browser.
"""

import ipaddress
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with none at all, browsers hide the origin of our own forms from us
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def is_loopback(host: str) -> bool:
    """Whether a host name or address, as a person writes it, is this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _named_host(scope: Scope) -> str:
    try:
        return urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _begun_here(scope: Scope, ours: str | None) -> bool:
    """Whether a request that changes something comes from a page of ours, or from no browser at all.

    Browsers say where a request was begun (Sec-Fetch-Site, and Origin for every POST) and no page can make them lie.
    A request that shows a key cannot have been forged by a page that does not know it; `Basic` is no key of ours, and
    browsers add it by themselves.
    """
    headers = Headers(scope=scope)
    if scope["method"] in {"GET", "HEAD", "OPTIONS"} or headers.get("authorization", "").lower().startswith("bearer "):
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = headers.get("origin")
    if origin is None:
        return "cookie" not in headers  # an old browser; programs send no cookies
    try:
        return urlsplit(origin).netloc.lower() in {headers.get("host", "").lower(), ours}
    except ValueError:
        return False


def _refused(scope: Scope, status: int, kind: str, sentence: str) -> Response:
    """A sentence for people; for programs a problem in the form of RFC 9457, as the API gives them."""
    if not scope["path"].startswith("/api/"):
        return PlainTextResponse(f"{sentence}\n", status)
    title = HTTPStatus(status).phrase
    told = {"type": f"urn:fleetcast:{kind}", "title": title, "status": status, "detail": sentence}
    return JSONResponse(told, status, media_type="application/problem+json")


class Shield:
    """ASGI middleware: security headers on every answer, the check of the host, and of who begins changes. `url` is
    where people open the dashboard, if it is known.
    """

    def __init__(self, app: ASGIApp, *, loopback_only: bool, url: str | None = None) -> None:
        self._app = app
        self._loopback_only = loopback_only
        self._ours = urlsplit(url) if url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse what no page should see."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def shielded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)  # what somebody uploaded comes with a policy of its own
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, shielded)
        else:
            await self._app(scope, receive, shielded)

    def _refusal(self, scope: Scope) -> Response | None:
        if not _begun_here(scope, self._ours.netloc.lower() if self._ours else None):
            return _refused(
                scope,
                403,
                "forbidden",
                "This request was begun by another site and is refused. A program that sends the cookie of a session "
                "says in the header Origin where the dashboard is, or uses a key of the API.",
            )
        host = _named_host(scope)
        if self._loopback_only and not is_loopback(host) and not (self._ours and host == self._ours.hostname):
            return _refused(
                scope,
                421,
                "misdirected-request",
                "Fleetcast listens on this machine only: open it as http://localhost with its port. If people are to "
                "reach it through a proxy, say in FLEETCAST_URL under which address.",
            )
        return None
