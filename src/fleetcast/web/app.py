"""The web application: routes, error pages, the shield, and the server that runs it inside another process's loop."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from fleetcast.errors import (
    Conflict,
    FleetcastError,
    Forbidden,
    InvalidInput,
    NotFound,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from fleetcast.runtime import Runtime
from fleetcast.services.audience_look import LeadCounts
from fleetcast.services.monitoring import Watch
from fleetcast.services.overview import Meters
from fleetcast.web import door, rendering
from fleetcast.web.address import listen
from fleetcast.web.live import Live
from fleetcast.web.pages import (
    account,
    bulk,
    calendar,
    campaigns,
    device_changes,
    device_tests,
    devices,
    drafts,
    enrolments,
    invitation,
    lead_list,
    leads,
    looks,
    messages,
    monitoring,
    overview,
    pairing,
    probes,
    sequence_forms,
    sequence_steps,
    sequences,
    settings,
    sign_in,
    trials,
)
from fleetcast.web.reading import ReadingConnection
from fleetcast.web.shield import HEADERS, Shield, is_loopback

log = structlog.get_logger()

STOP_WITHIN = 5
"""Seconds open requests get to end once the process stops."""
FORM_BYTES = 64 * 1024
"""What a form may have: it is read before anybody knows who sends it."""
PAGES = (
    overview,
    calendar,
    looks,
    drafts,
    trials,
    campaigns,
    sequence_forms,
    sequence_steps,
    enrolments,
    sequences,
    lead_list,
    leads,
    bulk,
    device_changes,
    devices,
    pairing,
    device_tests,
    messages,
    monitoring,
    settings,
    account,
    sign_in,
    invitation,
    probes,
)
"""Words of campaigns and sequences come before their numbers."""
_whole = APIRouter()
"""Every page. To find out what each of them takes is most of the work of making an application: once is enough."""
for _page in PAGES:
    _whole.include_router(_page.router, max_body_size=FORM_BYTES)


class _Forever(StaticFiles):
    """Static files whose address carries a fingerprint may be kept; the same without one may not."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if scope.get("query_string", b"").startswith(b"v=") and response.status_code == 200:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        else:
            response.headers["Cache-Control"] = "no-cache"
        return response


class _Whole(Mount):
    """Everything below a path, line ends in it too: refusing an address is the mounted application's own business."""

    def __init__(self, path: str, app: FastAPI, name: str) -> None:
        super().__init__(path, app, name=name)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)


def create_app(runtime: Runtime, api: tuple[str, FastAPI] | None = None) -> FastAPI:
    """The application on an open runtime. Its lifespan owns the sampler of the live figures, and the API's if it is
    given one, with the path at which it stands.
    """
    figures = Live(runtime, rendering.sections)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(figures.run(), name="live figures")
            async with contextlib.AsyncExitStack() as parts:
                if api is not None:
                    await parts.enter_async_context(api[1].router.lifespan_context(api[1]))
                try:
                    yield
                finally:
                    figures.close()

    app = FastAPI(
        title="Fleetcast",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # it would lead to whatever host the request names
    )
    app.state.runtime = runtime
    app.state.live = figures
    app.state.meters = Meters()
    app.state.watch = Watch()
    app.state.lead_counts = LeadCounts()
    app.state.import_jobs = None if api is None else api[1].state.import_jobs
    app.add_middleware(Shield, loopback_only=is_loopback(runtime.settings.host), url=runtime.settings.url)
    app.mount("/static", _Forever(directory=rendering.STATIC), name="static")
    if api is not None:
        app.router.routes.append(_Whole(api[0], api[1], name="api"))
        refuse = door.readers_to_sign_in(f"{api[0]}/docs", api[1].exception_handlers[FleetcastError])
        api[1].add_exception_handler(Unauthenticated, refuse)
    app.router.routes.extend(_whole.routes)
    app.add_exception_handler(Unauthenticated, door.to_sign_in)
    app.add_exception_handler(FleetcastError, _known_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(Exception, _unknown_error)
    return app


_STATUSES: tuple[tuple[type[FleetcastError], int], ...] = (
    (Forbidden, 403),
    (Conflict, 409),
    (InvalidInput, 422),
    (TooMany, 429),
)


async def _known_error(request: Request, error: Exception) -> HTMLResponse:
    if isinstance(error, NotFound):
        return HTMLResponse(rendering.notice_page("Not found", str(error)), 404)
    if isinstance(error, Unavailable):
        return HTMLResponse(
            rendering.notice_page(
                "The database is away",
                f"{error} Nothing is lost: what was accepted is stored, and this page comes back by itself.",
                retry=True,
            ),
            503,
            {"Retry-After": "5"},
        )
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 400)
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, TooMany) else {}
    page = rendering.notice_page("That did not work", str(error), again=isinstance(error, TooMany))
    return HTMLResponse(page, status, headers)


_NO_PAGE = "There is no page at this address."
_REFUSALS = {
    404: ("Not found", _NO_PAGE),
    405: ("That did not work", "Nothing at this address takes what was sent."),
    413: ("That did not work", "What was sent is too large for a form."),
}


async def _http_error(request: Request, error: Exception) -> HTMLResponse:
    status = error.status_code if isinstance(error, HTTPException) else 400
    title, sentence = _REFUSALS.get(status, ("That did not work", f"The server answered {status}."))
    return HTMLResponse(rendering.notice_page(title, sentence), status, getattr(error, "headers", None))


async def _bad_request(request: Request, error: Exception) -> HTMLResponse:
    if request.method == "POST":
        sentence = "A field of the form is longer than it may be. Go back and shorten it."
        return HTMLResponse(rendering.notice_page("That did not work", sentence), 422)
    return HTMLResponse(rendering.notice_page("Not found", _NO_PAGE), 404)


async def _unknown_error(request: Request, error: Exception) -> HTMLResponse:
    sentence = "This is a fault of Fleetcast, not yours. The log of the process has the details."
    # Outermost of all: this answer does not pass the shield.
    headers = HEADERS | {"Cache-Control": "no-store"}
    return HTMLResponse(rendering.notice_page("Something broke", sentence, again=True), 500, headers)


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handlers (the process has one owner of signals), saying when it listens and that
    it moves.
    """

    def __init__(self, config: uvicorn.Config, started: Callable[[], None], beat: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started
        self._beat = beat

    async def on_tick(self, counter: int) -> bool:
        self._beat()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()


async def serve(
    runtime: Runtime,
    stop: asyncio.Event,
    *,
    ready: Callable[[str], None] | None = None,
    beat: Callable[[], None] = lambda: None,
    api: tuple[str, FastAPI] | None = None,
) -> None:
    """Serve the dashboard until `stop` is set. `ready` is given the address once it listens (port 0: a free one);
    `beat` is called several times a second while it serves.

    Raises ConfigurationError when the port or the address cannot be had.
    """
    host = runtime.settings.host
    listener = listen(host, runtime.settings.port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"

    def started() -> None:
        log.info("the dashboard listens", url=url)
        if ready is not None:
            ready(url)

    app = create_app(runtime, api)
    config = uvicorn.Config(
        app,
        http=ReadingConnection,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=bool(runtime.settings.trusted_proxies),
        forwarded_allow_ips=runtime.settings.trusted_proxies or None,
        server_header=False,
        timeout_graceful_shutdown=STOP_WITHIN,
    )
    server = _Server(config, started, beat)

    async def end() -> None:
        await stop.wait()
        app.state.live.close()  # open streams end by themselves; the server would wait for them otherwise
        server.should_exit = True

    with contextlib.closing(listener):
        ending = asyncio.create_task(end(), name="dashboard stop")
        try:
            await server.serve(sockets=[listener])
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
