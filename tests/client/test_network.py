"""The client against the real server over real connections that are cut, half open, slow or not there."""

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import httpx2
import pytest

from acceptance.proxy import Proxy
from acceptance.served import serving
from fleetcast.client import Client, Unreachable
from fleetcast.runtime import Runtime

QUICK = {"random": Random(3), "patience": 20.0}


class Cutting:
    """Before the API: when a change is done and before its answer leaves, every connection is cut."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.network: Proxy | None = None
        self.times = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def cutting(message: Any) -> None:
            if message["type"] == "http.response.start" and scope["method"] != "GET" and self.times:
                self.times -= 1
                assert self.network is not None
                assert self.network.cut()
            await send(message)

        await self._inner(scope, receive, cutting)


@pytest.fixture
async def knife() -> list[Cutting]:
    return []


@pytest.fixture
async def network(runtime: Runtime, knife: list[Cutting]) -> AsyncIterator[Proxy]:
    """A network with the real server at its other end."""

    def around(api: Any) -> Any:
        knife.append(Cutting(api))
        return knife[0]

    async with serving(runtime, around) as address:
        server = ("127.0.0.1", int(address.rpartition(":")[2]))
        async with Proxy(("127.0.0.1", 0), server) as proxy:
            knife[0].network = proxy
            yield proxy


def fleet_at(network: Proxy, key: str, **settings: Any) -> Client:
    kinds: dict[str, Any] = QUICK | settings
    return Client(f"http://127.0.0.1:{network.port}", key, **kinds)


async def test_a_connection_cut_after_the_change_was_made_makes_it_once(
    network: Proxy, knife: list[Cutting], key: str
) -> None:
    async with fleet_at(network, key) as fleet:
        knife[0].times = 2
        made = await fleet.devices.create("Shop")
        assert knife[0].times == 0
        assert [d.id async for d in fleet.devices.list()] == [made.id]


async def test_connections_that_died_between_two_calls_are_not_noticed(network: Proxy, key: str) -> None:
    async with fleet_at(network, key) as fleet:
        made = await fleet.devices.create("Shop")
        for _ in range(3):
            assert network.cut()
            assert (await fleet.devices.show(made.id)).name == "Shop"


async def test_a_connection_that_nobody_serves_any_more_is_given_up_for_a_new_one(network: Proxy, key: str) -> None:
    async with fleet_at(network, key, silence=1.0) as fleet:
        made = await fleet.devices.create("Shop")
        assert network.half_open()
        assert (await fleet.devices.pause(made.id)).paused_at is not None


async def test_a_server_that_comes_back_is_waited_for(network: Proxy, key: str) -> None:
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            network.go_on()

    network.refuse()
    async with fleet_at(network, key, sleep=sleep) as fleet:
        assert (await fleet.devices.create("Shop")).name == "Shop"
    assert len(waits) == 3


async def test_patience_ends_a_try_that_is_never_answered(network: Proxy, key: str) -> None:
    async with fleet_at(network, key) as fleet, fleet_at(network, key, patience=2.0) as impatient:
        made = await fleet.devices.create("Shop")  # what is loaded for the first change takes its time
        await impatient.devices.show(made.id)
        network.half_open()
        with pytest.raises(Unreachable, match="not answered within 2 seconds"):
            await impatient.devices.create("Penang")


async def test_a_call_that_is_cancelled_leaves_its_connection(network: Proxy, key: str) -> None:
    async with fleet_at(network, key, silence=1.0) as fleet:
        made = await fleet.devices.create("Shop")
        network.half_open()
        call = asyncio.create_task(fleet.devices.show(made.id), name="call")
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await fleet.devices.show(made.id)).name == "Shop"


async def test_a_name_that_nobody_knows_and_a_scheme_that_is_none_are_said(key: str) -> None:
    async with Client("http://nowhere.invalid", key, patience=0.0) as fleet:
        with pytest.raises(Unreachable):
            await fleet.devices.show(1)
    async with Client("gopher://127.0.0.1", key) as fleet:
        with pytest.raises(Unreachable):
            await fleet.devices.show(1)
    with pytest.raises(httpx2.InvalidURL):
        Client("http://127.0.0.1:port", key)
