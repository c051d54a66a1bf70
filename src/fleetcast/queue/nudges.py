"""Nudges: "look now". They carry no facts, are sent after the commit, and may all be lost.

Whoever listens also looks by itself every few seconds, so a lost nudge costs time and nothing else.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import structlog
from redis.exceptions import RedisError

from fleetcast.queue.client import ANSWER_SECONDS, Client
from fleetcast.queue.keys import Keys

log = structlog.get_logger()

PLANNER, DISPATCHER, SENDERS, SWEEPER, SEQUENCER = "planner", "dispatcher", "senders", "sweeper", "sequencer"
LONGEST = 16 * 1024 * 1024
"""Bytes of a nudge: it names every device whose rows were just planned, and there may be a hundred thousand."""
LAST_ID = 2**63 - 1


class Nudges:
    """Sends nudges. A Redis that does not answer is logged, never an error: the commit has already happened."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def _send(self, who: str, about: dict[str, list[int]]) -> None:
        try:
            await self._client.publish(self._keys.nudge(who), json.dumps(about))
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("nudge not sent", to=who, error=type(error).__name__)

    async def plan(self, *campaign_ids: int) -> None:
        """A campaign started, was edited, or a newcomer has leads."""
        await self._send(PLANNER, {"campaigns": list(campaign_ids)})

    async def work(self, device_ids: Iterable[int]) -> None:
        """These devices may have rows that are due."""
        await self._send(DISPATCHER, {"devices": list(device_ids)})

    async def urgent(self, device_ids: Iterable[int]) -> None:
        """These devices have rows without a campaign that are due: they do not wait until a window has room."""
        await self._send(DISPATCHER, {"urgent": list(device_ids)})

    async def devices(self, *device_ids: int) -> None:
        """State, pause or pace of these devices changed: their owners look again."""
        await self._send(SENDERS, {"devices": list(device_ids)})

    async def shares(self) -> None:
        """A sender is to rest, or to work again: all look at their share of the shards."""
        await self._send(SENDERS, {"shares": []})

    async def campaigns(self, *campaign_ids: int) -> None:
        """State or pace of these campaigns changed: senders look again, sweepers settle what is over."""
        await self._send(SENDERS, {"campaigns": list(campaign_ids)})
        await self._send(SWEEPER, {"campaigns": list(campaign_ids)})

    async def sequences(self, *sequence_ids: int) -> None:
        """State, pace, steps or people of these sequences changed: senders look again, sequencers see what is due."""
        await self._send(SENDERS, {"sequences": list(sequence_ids)})
        await self._send(SEQUENCER, {"sequences": list(sequence_ids)})


def _read(data: bytes) -> dict[str, list[int]] | None:
    """What a nudge says: kinds of things and their ids. None for whatever else somebody has put into the channel."""
    try:
        told = json.loads(data) if len(data) <= LONGEST else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    for ids in told.values():
        if not isinstance(ids, list) or not all(type(i) is int and 1 <= i <= LAST_ID for i in ids):
            return None
    return told


@asynccontextmanager
async def listening(client: Client, keys: Keys, who: str) -> AsyncIterator["Ears"]:
    """Listen for nudges to one kind of loop while the block runs."""
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    try:
        yield Ears(pubsub, keys.nudge(who))
    finally:
        await pubsub.aclose()  # type: ignore[no-untyped-call]


class Ears:
    """One subscription. A listener hears nothing most of the time, so it asks whether anybody is still there."""

    def __init__(self, pubsub: "object", channel: str) -> None:
        self._pubsub = pubsub
        self._channel = channel
        self._subscribed = False
        self._heard_at = 0.0
        self._asked = False
        self.dropped = 0
        """Messages that were no nudges."""

    async def next(self, timeout: float) -> dict[str, list[int]] | None:
        """The next nudge, or None after `timeout` seconds, or at once when Redis was lost and came back."""
        pubsub = self._pubsub
        try:
            if not self._subscribed:
                await pubsub.subscribe(self._channel)  # type: ignore[attr-defined]
                self._subscribed = True
                self._heard_at, self._asked = asyncio.get_running_loop().time(), False
                return None
            await self._check()
            message = await pubsub.get_message(timeout=timeout)  # type: ignore[attr-defined]
        except (RedisError, OSError, TimeoutError) as error:
            self._subscribed = False
            log.warning("no nudges for now", channel=self._channel, error=type(error).__name__)
            await asyncio.sleep(min(timeout, 1.0))
            return None
        if not message:
            return None
        self._heard_at, self._asked = asyncio.get_running_loop().time(), False
        if message.get("type") != "message":
            return None
        told = _read(message["data"])
        if told is None:
            self.dropped += 1
            log.warning("a nudge that cannot be read was dropped", channel=self._channel)
        return told

    async def _check(self) -> None:
        quiet = asyncio.get_running_loop().time() - self._heard_at
        if quiet > 2 * ANSWER_SECONDS:
            await self._pubsub.aclose()  # type: ignore[attr-defined]
            raise TimeoutError("nobody answers on this subscription")
        if quiet > ANSWER_SECONDS and not self._asked:
            self._asked = True
            await self._pubsub.ping()  # type: ignore[attr-defined]
