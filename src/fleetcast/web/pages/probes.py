"""For machines that watch: is this process alive, can Fleetcast work, what does it measure?"""

import asyncio
import hmac
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from fleetcast.errors import FleetcastError
from fleetcast.services import metrics as fleet
from fleetcast.services import readiness
from fleetcast.settings import Settings
from fleetcast.web import exposition
from fleetcast.web.shield import is_loopback

router = APIRouter()

ANSWER_WITHIN = 8.0
"""Seconds a reading may take; Prometheus gives up after ten."""


_BY_A_PROXY = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def _may_know(request: Request) -> bool:
    """Figures of the whole installation are for who runs it: with the token, or where there is none, on this machine
    while nothing else can reach the dashboard.
    """
    settings: Settings = request.app.state.runtime.settings
    if settings.metrics_token is None:
        public = settings.url is not None and not is_loopback(urlsplit(settings.url).hostname or "")
        brought = any(name in request.headers for name in _BY_A_PROXY)
        return is_loopback(settings.host) and not public and not brought
    shown = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
    return hmac.compare_digest(shown, settings.metrics_token.get_secret_value().encode())


@router.get("/health")
async def health() -> dict[str, str]:
    """The process answers; says nothing about the servers it needs."""
    return {"status": "alive"}


@router.get("/ready")
async def ready(request: Request) -> JSONResponse:
    """200 when PostgreSQL and Redis answer, the schema is the right one and no process of the fleet stands still, else
    503, for who runs the machine with what stands in the way.
    """
    found = await readiness.problems(request.app.state.runtime)
    if found:
        told = {"problems": found} if _may_know(request) else {}
        return JSONResponse({"status": "not ready"} | told, 503)
    return JSONResponse({"status": "ready"})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """The figures of the whole fleet for Prometheus; 503 with a sentence when PostgreSQL is away."""
    if not _may_know(request):
        return PlainTextResponse("Show the token of FLEETCAST_METRICS_TOKEN.\n", 401, {"WWW-Authenticate": "Bearer"})
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            reading = await fleet.read(request.app.state.runtime)
    except FleetcastError as error:
        return PlainTextResponse(f"{error}\n", 503)
    except TimeoutError:
        return PlainTextResponse("The database is too slow to answer.\n", 503)
    return Response(exposition.render(reading), media_type=exposition.CONTENT_TYPE)
