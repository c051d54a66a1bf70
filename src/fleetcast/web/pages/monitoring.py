"""Monitoring: the engine of the whole installation, for its owner. Nothing here can lose a message.

Separate from the other pages because it is of no workspace: members of one must not see how much others send.
"""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response

from fleetcast.errors import NotFound
from fleetcast.services import monitoring, senders
from fleetcast.services.monitoring import Member, Monitor, Watch
from fleetcast.web import rendering
from fleetcast.web.place import Owning, Place

router = APIRouter()

SECTION = "monitoring"
Name = Annotated[str, Path(max_length=200)]


async def _look(request: Request, here: Place) -> Monitor:
    watch: Watch = request.app.state.watch
    return await watch.look(here.runtime)


async def _member(request: Request, here: Place, name: str) -> tuple[Monitor, Member]:
    found = await _look(request, here)
    member = found.member(name)
    if member is None:
        raise NotFound("This process has ended. What runs now is on the page of monitoring.")
    return found, member


@router.get("/monitoring")
async def show_monitoring(request: Request, here: Owning) -> HTMLResponse:
    """Does everything keep time? If not, what stands still, and which devices feel it?"""
    found = await _look(request, here)
    decided = await monitoring.decisions(here.runtime)
    return rendering.page(request, here, "monitoring.html", SECTION, "Monitoring", f=found, decided=decided)


@router.get("/monitoring/now")
async def monitoring_now(request: Request, here: Owning) -> HTMLResponse:
    """The changing part of it."""
    return rendering.part("parts/monitor.html", here, f=await _look(request, here))


@router.get("/monitoring/redis")
async def show_redis(request: Request, here: Owning) -> HTMLResponse:
    """What stands in Redis: streams, memory, clients, keys. It only looks."""
    found = await monitoring.look_at_redis(here.runtime)
    return rendering.page(request, here, "monitoring_redis.html", SECTION, found.product, r=found)


@router.get("/monitoring/redis/now")
async def redis_now(here: Owning) -> HTMLResponse:
    """The changing part of it."""
    return rendering.part("parts/redis.html", here, r=await monitoring.look_at_redis(here.runtime))


@router.get("/monitoring/processes/{process}")
async def show_process(request: Request, here: Owning, process: Name) -> HTMLResponse:
    """One process: its loops, what it owns, and whether it is to rest."""
    found, member = await _member(request, here, process)
    return rendering.page(request, here, "monitoring_process.html", SECTION, process, f=found, p=member)


@router.get("/monitoring/processes/{process}/now")
async def process_now(request: Request, here: Owning, process: Name) -> HTMLResponse:
    """The changing part of it."""
    _, member = await _member(request, here, process)
    return rendering.part("parts/process.html", here, p=member)


_DECISIONS: dict[str, senders.Decision] = {"drain": senders.drain_sender, "resume": senders.resume_sender}


@router.post("/monitoring/senders/{sender}/{wish}")
async def decide(
    request: Request, here: Owning, sender: Name, wish: Annotated[str, Path(pattern="^(drain|resume)$")]
) -> Response:
    """Have a sender rest, or work again."""
    await _DECISIONS[wish](here.runtime, sender, actor=here.access.actor)
    watch: Watch = request.app.state.watch
    watch.forget()
    return here.to(f"/monitoring/processes/{sender}", f"sender-{wish}")
