"""Nudges over a network that can be bad."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from acceptance.proxy import Proxy
from fleetcast.queue import nudges
from fleetcast.queue.client import connect
from fleetcast.queue.keys import Keys
from fleetcast.queue.nudges import SENDERS, Nudges, listening


@pytest.fixture
async def network(redis_url: str, short_directory: Path) -> AsyncIterator[Proxy]:
    async with Proxy(short_directory / f"{uuid4().hex[:8]}.sock", Path(urlsplit(redis_url).path)) as proxy:
        yield proxy


async def test_who_listens_on_a_half_open_connection_notices_and_hears_again(
    network: Proxy, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nudges, "ANSWER_SECONDS", 0.3)
    keys = Keys(f"test-{uuid4().hex[:8]}")
    near, far = connect(redis_url), connect(f"unix://{network.listen}")
    teller = Nudges(near, keys)
    async with listening(far, keys, SENDERS) as ears:

        async def heard(device: int) -> None:
            async with asyncio.timeout(20):
                while True:
                    await teller.devices(device)
                    if (await ears.next(timeout=0.1) or {}).get("devices") == [device]:
                        return

        await heard(1)
        assert network.half_open()
        await heard(2)
    await near.aclose()
    await far.aclose()


async def test_who_hears_nothing_for_long_is_still_there(
    network: Proxy, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nudges, "ANSWER_SECONDS", 0.1)
    keys = Keys(f"test-{uuid4().hex[:8]}")
    far = connect(f"unix://{network.listen}")
    async with listening(far, keys, SENDERS) as ears:
        await ears.next(timeout=0.1)
        first = network.open
        for _ in range(20):  # ten times as long as it waits for an answer
            assert await ears.next(timeout=0.1) is None
        assert network.open == first == 1
    await far.aclose()
