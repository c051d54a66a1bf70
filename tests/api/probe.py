"""A route that does what a test asks for and counts how often it was done."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx2
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict

from fleetcast.api.app import PREFIX, create_api
from fleetcast.api.guard import Caller, GuardedRoute, needs
from fleetcast.domain.access import Scope
from fleetcast.errors import Conflict, InvalidInput, NotFound, Unavailable, Uncertain
from fleetcast.runtime import Runtime
from fleetcast.web.app import create_app


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    do: str = "count"
    note: str = ""


@dataclass
class Probe:
    """What was done, and a door behind which requests can be held."""

    done: list[str] = field(default_factory=list)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    door: asyncio.Event = field(default_factory=asyncio.Event)

    async def act(self, what: str) -> Response:
        self.done.append(what)
        if what in ANSWERS:
            return ANSWERS[what]()
        if what.startswith("hold"):
            self.entered.set()
            door = self.door
            await door.wait()
        if what == "hold, then refuse" and len(self.done) == 1:
            raise InvalidInput("note", "is wrong")
        return JSONResponse({"count": len(self.done)}, 201, {"Location": f"probe/{len(self.done)}"})


def _raise(error: Exception) -> Callable[[], Response]:
    def raising() -> Response:
        raise error

    return raising


ANSWERS: dict[str, Callable[[], Response]] = {
    "conflict": _raise(Conflict("It is not in a state for that.")),
    "missing": _raise(NotFound("There is no such thing.")),
    "wrong": _raise(InvalidInput("note", "is wrong")),
    "away": _raise(Unavailable("The database is away.")),
    "cut": _raise(Uncertain("The database went away in the middle of a change.")),
    "fault": _raise(RuntimeError("a fault")),
    "large": lambda: JSONResponse({"text": "x" * (1 << 20)}, 201),
    "stream": lambda: StreamingResponse(iter([b"one", b"two"]), 200),
    "nothing": lambda: Response(status_code=204),
    "secret": lambda: JSONResponse({"token": "fck_canary-of-a-key"}, 201),
}


def application(runtime: Runtime, probe: Probe) -> FastAPI:
    """The whole web application with the probe in its API."""
    router = APIRouter(route_class=GuardedRoute)

    @router.post("/probe", status_code=201, **needs(Scope.SEND))
    async def post(asked: Asked, access: Caller, more: int = 0) -> Response:
        return await probe.act(asked.do)

    @router.put("/probe", status_code=201, **needs(Scope.SEND))
    async def put(asked: Asked, access: Caller) -> Response:
        return await probe.act(asked.do)

    @router.get("/probe", **needs(Scope.READ))
    async def get(access: Caller) -> Response:
        return await probe.act("get")

    @router.post("/probe/repeatable", status_code=201, **needs(Scope.SEND, repeatable=True))
    async def repeatable(asked: Asked, access: Caller) -> Response:
        return await probe.act(asked.do)

    @router.post("/probe/stream", status_code=201, **needs(Scope.SEND, streams=True))
    async def stream(request: Request, access: Caller) -> Response:
        told = hashlib.sha256()
        async for part in request.stream():
            told.update(part)
        probe.done.append(told.hexdigest())
        return JSONResponse({"sha256": told.hexdigest()}, 201)

    api = create_api(runtime)
    api.include_router(router)
    return create_app(runtime, (PREFIX, api))


Ask = Callable[..., Awaitable[httpx2.Response]]
