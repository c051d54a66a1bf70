"""For machines that watch: is this process alive, can Fleetcast work, what does it measure?"""

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from fleetcast.errors import FleetcastError
from fleetcast.services import metrics as fleet
from fleetcast.services import readiness
from fleetcast.web import exposition

router = APIRouter()

ANSWER_WITHIN = 8.0
"""Seconds a reading may take; Prometheus gives up after ten."""


@router.get("/health")
async def health() -> dict[str, str]:
    """The process answers; says nothing about the servers it needs."""
    return {"status": "alive"}


@router.get("/ready")
async def ready(request: Request) -> JSONResponse:
    """200 when PostgreSQL and Redis answer, the schema is the right one and no process of the fleet stands still, else
    503 with what stands in the way.
    """
    found = await readiness.problems(request.app.state.runtime)
    if found:
        return JSONResponse({"status": "not ready", "problems": found}, 503)
    return JSONResponse({"status": "ready"})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """The figures of the whole fleet for Prometheus; 503 with a sentence when PostgreSQL is away."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            reading = await fleet.read(request.app.state.runtime)
    except FleetcastError as error:
        return PlainTextResponse(f"{error}\n", 503)
    except TimeoutError:
        return PlainTextResponse("The database is too slow to answer.\n", 503)
    return Response(exposition.render(reading), media_type=exposition.CONTENT_TYPE)
