"""The real web server on a port of its own, inside this process."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from fleetcast.api.app import PREFIX, create_api
from fleetcast.runtime import Runtime
from fleetcast.web.app import serve


@asynccontextmanager
async def serving(runtime: Runtime, around: Callable[[FastAPI], Any] = lambda api: api) -> AsyncIterator[str]:
    """Its address, like http://127.0.0.1:40123. `around` may put something before the API."""
    here = dataclasses.replace(runtime, settings=runtime.settings.model_copy(update={"port": 0}))
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        api = (PREFIX, around(create_api(here)))
        group.create_task(serve(here, stop, ready=ready.set_result, api=api), name="server")
        try:
            yield await ready
        finally:
            stop.set()
