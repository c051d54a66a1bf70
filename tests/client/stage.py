"""What tests of the client need: the real application, a network that misbehaves, and time that is moved."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx2
from fastapi import FastAPI

from fleetcast.client import Client
from fleetcast.clock import Clock
from tests.api import tenants


@dataclass
class Time:
    """Time that passes only while the client waits."""

    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    meanwhile: Callable[[float], Awaitable[object]] | None = None
    """What happens while it waits."""

    def clock(self) -> Clock:
        """The same time, as the client reads it."""
        return Clock(monotonic=lambda: self.seconds)

    async def sleep(self, seconds: float) -> None:
        """What the client waits with."""
        self.waits.append(seconds)
        self.seconds += seconds
        if self.meanwhile is not None:
            await self.meanwhile(seconds)


Step = Callable[[httpx2.Request, Callable[[], Awaitable[httpx2.Response]]], Awaitable[httpx2.Response]]
"""What becomes of one request; the second argument lets it through to the application."""


async def through(request: httpx2.Request, ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
    """Nothing happens to it."""
    return await ask()


async def lost_before(request: httpx2.Request, ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
    """It never arrives."""
    raise httpx2.ConnectError("connection refused", request=request)


async def lost_after(request: httpx2.Request, ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
    """It is done, and the answer is lost."""
    await (await ask()).aread()
    raise httpx2.ReadError("connection reset", request=request)


def says(status: int, content: object = None, **headers: str) -> Step:
    """It is answered on the way."""

    async def step(request: httpx2.Request, ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        body = content if isinstance(content, str) else json.dumps(content)
        return httpx2.Response(status, headers=names, text=body, request=request)

    return step


def altered(alter: Callable[[Any], Any]) -> Step:
    """The application's answer, with other JSON."""

    async def step(request: httpx2.Request, ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        answer = await ask()
        found = alter(json.loads(await answer.aread()))
        return httpx2.Response(answer.status_code, json=found, request=request)

    return step


class Network(httpx2.AsyncBaseTransport):
    """Between client and application: takes one step of its script for each request, then lets everything through."""

    def __init__(self, app: FastAPI, *script: Step) -> None:
        self._inner = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        self.script = list(script)
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        step = self.script.pop(0) if self.script else through
        return await step(request, lambda: self._inner.handle_async_request(request))

    @property
    def keys(self) -> list[str | None]:
        """The Idempotency-Key of each request so far."""
        return [request.headers.get("Idempotency-Key") for request in self.requests]


def client(network: httpx2.AsyncBaseTransport, key: str, time: Time | None = None, **settings: Any) -> Client:
    """A client on this network, whose waits take no time."""
    time = time or Time()
    settings.setdefault("random", Random(7))
    return Client(tenants.BASE, key, transport=network, clock=time.clock(), sleep=time.sleep, **settings)
