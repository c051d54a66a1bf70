"""The installation as a whole: its processes, and senders that are to rest. For its owner, signed in; never for a key,
which belongs to one workspace.
"""

from datetime import datetime
from math import isfinite
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from fleetcast.api.guard import Caller, GuardedRoute, Open, needs
from fleetcast.domain.access import Access, Scope
from fleetcast.runtime import Runtime
from fleetcast.services import senders
from fleetcast.services.accounts.people import must_own_installation
from fleetcast.services.monitoring import Monitor, Watch
from fleetcast.store.processes import Process

router = APIRouter(route_class=GuardedRoute, tags=["installation"])

Name = Annotated[str, Path(max_length=200, description="As `GET /installation` names it.")]


class RunningProcess(BaseModel):
    """A process that runs, or ended without signing off and is not forgotten."""

    name: str = Field(examples=["north:412:9ac1"])
    kind: str = Field(examples=["sender"])
    node: str = Field(description="Its machine.")
    state: str = Field(
        description="`sending`, `ready`, `taking` (shards come to it), `idle` (it owns none), `draining`, `drained`, "
        "`working` (no sender), `stuck`, `gone`.",
        examples=["sending"],
    )
    started_at: datetime
    silent: float = Field(description="Seconds since it was heard of.")
    shards: int
    devices: int
    rate: float | None = Field(description="Messages claimed a minute; null until two looks, three seconds apart.")
    waiting: int = Field(description="Messages in the windows of its devices.")
    late: float = Field(description="Seconds that one of them could have been sent already.")
    loops: dict[str, float] = Field(description="Seconds since each loop moved.", examples=[{"claims": 0.2}])
    stuck: list[str] = Field(description="Loops that stand still.")
    memory: float = Field(description="Bytes.")
    drained_at: datetime | None = Field(description="Since when it is to rest.")
    drained_by: str | None


class Installation(BaseModel):
    """All of it at one moment."""

    at: datetime
    rate: float | None = Field(description="Messages claimed a minute; null until two looks, three seconds apart.")
    late_99: float | None = Field(
        description="99 of 100 messages of the last minute were claimed so many seconds late at most."
    )
    open: dict[str, int] = Field(description="Open messages of all campaigns.", examples=[{"queued": 12}])
    in_doubt_age: float
    shards_unowned: int = Field(description="Shards that no sender owns; their devices send nothing.")
    problems: dict[str, str] = Field(description="What `/ready` complains of.")
    processes: list[RunningProcess]


class Resting(BaseModel):
    """A sender, and since when it is to rest."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    drained_at: datetime | None = Field(description="null: it takes its share of the shards.")
    drained_by: str | None


def _told(monitor: Monitor) -> Installation:
    return Installation(
        at=monitor.at,
        rate=monitor.rate,
        late_99=monitor.late_99 if monitor.late_99 is not None and isfinite(monitor.late_99) else None,
        open=monitor.gauges.open,
        in_doubt_age=monitor.gauges.in_doubt_age,
        shards_unowned=monitor.gauges.shards_unowned,
        problems=dict(monitor.problems),
        processes=[
            RunningProcess(
                name=m.process.name,
                kind=m.process.kind,
                node=m.node,
                state=m.state,
                started_at=m.process.started_at,
                silent=m.process.silent,
                shards=m.shards,
                devices=m.devices,
                rate=m.rate,
                waiting=m.waiting,
                late=m.late,
                loops=dict(m.loops),
                stuck=list(m.process.stuck),
                memory=m.process.figures.get("memory", 0.0),
                drained_at=m.process.drained_at,
                drained_by=m.process.drained_by,
            )
            for m in monitor.members
        ],
    )


@router.get("/installation", **needs(Scope.READ, sessions_only=True))
async def show_installation(request: Request, access: Caller, runtime: Open) -> Installation:
    """Processes and what stands in their way, by the owner of the installation."""
    await must_own_installation(runtime, access.user_id)
    watch: Watch = request.app.state.watch
    return _told(await watch.look(runtime))


@router.post("/installation/senders/{sender}/drain", **needs(Scope.READ, sessions_only=True))
async def drain_sender(request: Request, sender: Name, access: Caller, runtime: Open) -> Resting:
    """Have a sender rest: it gives its shards back to the others and takes none until it is resumed. Nothing is lost;
    while no other sender runs, nothing is sent either.
    """
    return Resting.model_validate(await _decide(senders.drain_sender, request, sender, access, runtime))


@router.post("/installation/senders/{sender}/resume", **needs(Scope.READ, sessions_only=True))
async def resume_sender(request: Request, sender: Name, access: Caller, runtime: Open) -> Resting:
    """Have a sender take its share of the shards again."""
    return Resting.model_validate(await _decide(senders.resume_sender, request, sender, access, runtime))


async def _decide(decide: senders.Decision, request: Request, sender: str, access: Access, runtime: Runtime) -> Process:
    await must_own_installation(runtime, access.user_id)
    found = await decide(runtime, sender, actor=access.actor)
    watch: Watch = request.app.state.watch
    watch.forget()
    return found
