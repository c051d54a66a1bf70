"""For machines that watch the process: is it alive, can it work?"""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from fleetcast.services import readiness

router = APIRouter()


@router.get("/health")
async def health() -> dict[str, str]:
    """The process answers; says nothing about the servers it needs."""
    return {"status": "alive"}


@router.get("/ready")
async def ready(request: Request) -> JSONResponse:
    """200 when PostgreSQL and Redis answer and the schema is the right one, else 503 with what stands in the way."""
    found = await readiness.problems(request.app.state.runtime)
    if found:
        return JSONResponse({"status": "not ready", "problems": found}, 503)
    return JSONResponse({"status": "ready"})
