"""What holds for every route, whoever wrote it."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import APIRouter

from fleetcast.api.guard import GuardedRoute
from fleetcast.api.limits import JSON_BYTES


async def test_every_answer_says_how_often_one_may_still_ask_refusals_too(api: httpx2.AsyncClient) -> None:
    left = []
    for answer in (
        await api.get("devices"),
        await api.get("devices/999"),
        await api.post("devices", json={}),
        await api.get("messages", params={"status": "lost"}),
    ):
        assert answer.headers["RateLimit-Policy"].startswith('"minute";q=')
        left.append(int(answer.headers["RateLimit"].split("r=")[1].split(";")[0]))
    assert left == sorted(left, reverse=True)
    assert len(set(left)) == 4


async def test_s15_a_request_that_is_too_large_is_refused_before_it_is_read(api: httpx2.AsyncClient) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(2 * JSON_BYTES // 2**20):
            read += 2**20
            yield b"x" * 2**20

    answer = await api.post("devices", content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_route_that_does_not_say_what_it_needs_cannot_be_made() -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(TypeError, match="does not say what it needs"):

        @router.get("/open")
        async def open_to_all() -> None: ...
