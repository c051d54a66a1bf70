"""The API as one application, to be mounted at `/api/v1`: its resources, its refusals, its description.

The description and its interactive documentation are for whoever may call the API, and come from this machine alone.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from fleetcast.api import (
    audit,
    campaigns,
    devices,
    enrolments,
    installation,
    keys,
    lead_imports,
    leads,
    me,
    media,
    members,
    messages,
    problems,
    reports,
    sequence_steps,
    sequences,
    suppressions,
    workspace,
    workspaces,
)
from fleetcast.api.guard import GuardedRoute, needs
from fleetcast.domain.access import Scope
from fleetcast.errors import FleetcastError
from fleetcast.queue.rate_limits import RateLimits
from fleetcast.runtime import Runtime
from fleetcast.services.import_jobs import ImportJobs
from fleetcast.services.monitoring import Watch
from fleetcast.services.overview import Meters

PREFIX = "/api/v1"
ABOUT = """
Everything that the dashboard and the command line can do, over HTTP.

**Who you are.** Send a key with each request: `Authorization: Bearer fck_…`. An owner makes keys with
`POST /keys` or `fleetcast key create`. A key has scopes: `read` sees, `send` makes messages leave or stop, `manage`
changes who may do what. Each operation says which one it needs. A key belongs to one workspace and sees nothing of
others. Who is signed in to the dashboard may try everything out on this page. A person of several workspaces names one
by its number in the header `Fleetcast-Workspace`.

**Once is enough.** Give each request that changes something an `Idempotency-Key`, and send it again if the answer was
lost: it is done once, and you get the first answer.

**Lists** come by pages: hand `next` back as `after`.

**Refusals** are problem details (RFC 9457); `errors` names the fields. `429` and `503` say in `Retry-After` when to ask
again.
"""

router = APIRouter(route_class=GuardedRoute)
RESOURCES = (
    me,
    workspace,
    workspaces,
    devices,
    leads,
    lead_imports,
    media,
    campaigns,
    sequences,
    sequence_steps,
    enrolments,
    messages,
    reports,
    suppressions,
    members,
    keys,
    audit,
    installation,
)


@router.get("/openapi.json", include_in_schema=False, **needs(Scope.READ, device_keys=True))
async def description(request: Request) -> JSONResponse:
    """What this API can do, for programs."""
    app: FastAPI = request.app
    return JSONResponse(app.openapi())


@router.get("/docs", include_in_schema=False, **needs(Scope.READ, device_keys=True))
async def documentation() -> Response:
    """What this API can do, for people."""
    page = files("fleetcast.api").joinpath("docs.html").read_text(encoding="utf-8")
    return HTMLResponse(page)


_whole = APIRouter(responses=problems.RESPONSES, generate_unique_id_function=lambda route: route.name)
"""Every route. To find out what each of them takes is most of the work of making an application: once is enough."""
_whole.include_router(router)
for _resource in RESOURCES:
    _whole.include_router(_resource.router)


def create_api(runtime: Runtime) -> FastAPI:
    """The API on an open runtime. Its lifespan owns the imports of uploaded files."""
    jobs = ImportJobs(runtime)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with jobs.running():
            yield

    app = FastAPI(
        title="Fleetcast",
        version="1",
        summary="WhatsApp broadcasts: nothing lost, nothing sent twice.",
        description=ABOUT,
        servers=[{"url": PREFIX}],
        root_path_in_servers=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        redirect_slashes=False,  # it would lead to whatever host the request names
        routes=_whole.routes,
    )
    app.state.runtime = runtime
    app.state.import_jobs = jobs
    app.state.rate_limits = RateLimits(runtime.redis, runtime.keys)
    app.state.meters = Meters()
    app.state.watch = Watch()
    app.mount("/docs/assets", StaticFiles(packages=[("fleetcast.api", "static")]), name="docs-assets")
    app.mount("/docs/swagger", StaticFiles(packages=[("fastapi_offline", "static")]), name="swagger")
    app.add_exception_handler(FleetcastError, problems.known)
    app.add_exception_handler(RequestValidationError, problems.invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, problems.unforeseen)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    return app


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses. Of a wrong method it names one right one; here are all of them."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        routes = [r for resource in RESOURCES for r in resource.router.routes if isinstance(r, GuardedRoute)]
        methods = {method for route in routes if route.path_regex.match(path) for method in route.methods or ()}
        error = HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
    return await problems.http(request, error)


def _described(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        told = FastAPI.openapi(app)
        told.setdefault("components", {})["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "description": "A key of the API: `fck_…`."},
            "session": {"type": "apiKey", "in": "cookie", "name": "fleetcast", "description": "Of the dashboard."},
        }
        told["security"] = [{"key": []}, {"session": []}]
        for operation in (o for path in told["paths"].values() for o in path.values()):
            for status, response in operation["responses"].items():
                if status >= "4":  # the framework describes every model as plain JSON
                    content = response["content"]
                    content[problems.MEDIA_TYPE] = content.pop("application/json", content.get(problems.MEDIA_TYPE))
        app.openapi_schema = told
    return app.openapi_schema
