"""What stands in Redis, looked at: streams, memory, clients, keys by kind. It only reads.

Separate from hints and nudges, which use what is looked at here. The predecessor's page asked for all keys at once ten
times a second; here streams are asked for by their names, and what else there is by a bounded scan.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError, ResponseError

from fleetcast.errors import Unavailable
from fleetcast.queue.client import ANSWER_SECONDS, Client
from fleetcast.queue.keys import ASKS_KEPT, HINTS_KEPT, Keys

LOOKED_AT = 5_000
"""Keys of ours that are looked at to tell their kinds; there are some dozens, and two for each client of the API."""
STEPS = 20
"""Steps of the scan: a Redis that others use too may have any number of keys."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream. Ages in seconds, None where it is empty."""

    length: int
    kept: int
    """Entries it keeps; older ones are forgotten."""
    newest: float | None
    oldest: float | None


@dataclass(frozen=True, slots=True)
class Redis:
    """Redis or Valkey at one moment."""

    product: str
    """`Valkey` or `Redis`."""
    version: str
    uptime: float
    """Seconds since it started."""
    memory: int
    """Bytes in use."""
    memory_peak: int
    memory_limit: int
    """0: none."""
    evicts: bool
    """Whether it throws keys away when its memory is full."""
    clients: int
    blocked_clients: int
    """Of them, those that wait in a read: every sender does, nearly always."""
    commands_a_second: int
    keys: int
    """Of the whole database, those of others too."""
    shards: tuple[Stream, ...]
    """Hints, by number of the shard."""
    asks: Stream
    kinds: Mapping[str, int]
    """Keys of ours by kind, as far as they were looked at."""
    all_looked_at: bool


async def look(client: Client, keys: Keys, shards: int) -> Redis:
    """Look once. Raises Unavailable."""
    names = [*(keys.shard(n) for n in range(shards)), keys.asks]
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            info: dict[str, Any] = await client.info()
            seconds, micros = await client.time()
            streams = await _streams(client, names, seconds + micros / 1e6)
            kinds, whole = await _kinds(client, keys)
            size = await client.dbsize()
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(f"Redis does not answer ({type(error).__name__}).") from error
    return Redis(
        product="Valkey" if "valkey_version" in info else "Redis",
        version=str(info.get("valkey_version") or info["redis_version"]),
        uptime=float(info.get("uptime_in_seconds", 0)),
        memory=int(info.get("used_memory", 0)),
        memory_peak=int(info.get("used_memory_peak", 0)),
        memory_limit=int(info.get("maxmemory", 0)),
        evicts=str(info.get("maxmemory_policy", "noeviction")) != "noeviction",
        clients=int(info.get("connected_clients", 0)),
        blocked_clients=int(info.get("blocked_clients", 0)),
        commands_a_second=int(info.get("instantaneous_ops_per_sec", 0)),
        keys=int(size),
        shards=tuple(streams[:-1]),
        asks=streams[-1],
        kinds=kinds,
        all_looked_at=whole,
    )


async def _streams(client: Client, names: Sequence[str], now: float) -> list[Stream]:
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.xinfo_stream(name)
    found = []
    for name, told in zip(names, await pipe.execute(raise_on_error=False), strict=True):
        kept = HINTS_KEPT if name != names[-1] else ASKS_KEPT
        if isinstance(told, ResponseError):  # it is not there yet, or somebody else's key has its name
            found.append(Stream(0, kept, None, None))
        elif isinstance(told, Exception):
            raise told
        else:
            found.append(Stream(told["length"], kept, _age(told["last-entry"], now), _age(told["first-entry"], now)))
    return found


def _age(entry: Any, now: float) -> float | None:
    """The name of an entry begins with when it was written, in milliseconds."""
    if not entry:
        return None
    name = entry[0].decode() if isinstance(entry[0], bytes) else str(entry[0])
    return max(0.0, now - int(name.partition("-")[0]) / 1000)


async def _kinds(client: Client, keys: Keys) -> tuple[dict[str, int], bool]:
    """How many keys there are of each kind; and whether all of them were looked at."""
    found: dict[str, int] = {}
    cursor, seen = 0, 0
    for _ in range(STEPS):
        cursor, some = await client.scan(cursor, match=keys.every, count=1_000)
        for key in some:
            name = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
            kind = keys.kind(name)
            found[kind] = found.get(kind, 0) + 1
        seen += len(some)
        if cursor == 0 or seen >= LOOKED_AT:
            break
    return found, cursor == 0
