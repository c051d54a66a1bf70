"""A client on the application without a network; tests of the stream start the real server."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.runtime import Runtime
from fleetcast.web.app import create_app


@pytest.fixture
async def app(runtime: Runtime) -> AsyncIterator[FastAPI]:
    made = create_app(runtime)
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8080") as opened:
        yield opened
