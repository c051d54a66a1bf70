"""Hints: which rows stand in which device's window, in batches on the stream of the device's shard.

A hint carries ids only; every fact is read from SQL again. Hints are written after T1 has committed, read with one
blocking read for all shards of a sender, trimmed by length, and never acknowledged: what is lost is found again by the
sender's own look into SQL. The way back is one stream of `asks`: how much room a device's window has.

An entry is one field of 64-bit integers in the machine's byte order: device, count, then so many pairs of message and
turn: its campaign, minus its sequence, or for neither 0 or the number that stands for answers. An ask is pairs of
device and room. Whatever else stands in the streams was not written by us: it is dropped and counted, and what is read
is only believed as far as SQL bears it out.
"""

import array
import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import structlog
from redis.exceptions import RedisError

from fleetcast.domain.pacing import WIDEST_WINDOW
from fleetcast.queue.client import Client
from fleetcast.queue.keys import ASKS_KEPT, HINTS_KEPT, Keys

log = structlog.get_logger()

_FIELD = b"b"


class Hint(NamedTuple):
    """Rows of one device, in the order in which they should go; each is (message, turn)."""

    device: int
    rows: Sequence[tuple[int, int]]


def pack_hints(hints: Iterable[Hint]) -> bytes:
    """The bytes of one entry."""
    numbers = array.array("q")
    for hint in hints:
        numbers.extend((hint.device, len(hint.rows)))
        for row in hint.rows:
            numbers.extend(row)
    return numbers.tobytes()


def unpack_hints(entry: bytes) -> Iterator[Hint]:
    """Read an entry; raises ValueError for bytes that are none."""
    numbers = _numbers(entry)
    position = 0
    while position < len(numbers):
        if position + 2 > len(numbers):
            raise ValueError("a hint ends within its head")
        device, count = numbers[position], numbers[position + 1]
        position += 2
        if not 0 <= count <= WIDEST_WINDOW or position + 2 * count > len(numbers):
            raise ValueError("a hint counts more rows than it has, or than a window holds")
        following = position + 2 * count
        if device < 1 or min(numbers[position:following:2], default=1) < 1:
            raise ValueError("no id is below 1")
        yield Hint(device, list(zip(numbers[position:following:2], numbers[position + 1 : following : 2], strict=True)))
        position = following


def _numbers(entry: bytes) -> "array.array[int]":
    if len(entry) % 8:
        raise ValueError("not a row of 64-bit integers")
    numbers = array.array("q")
    numbers.frombytes(entry)
    return numbers


class HintWriter:
    """The dispatcher's side."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._last_ask = "$"
        self.dropped = 0
        """Asks that could not be read."""

    async def write(self, by_shard: dict[int, list[Hint]]) -> None:
        """Publish hints. A Redis that does not answer is logged: the rows are found in SQL."""
        pipe = self._client.pipeline(transaction=False)
        for shard, hints in by_shard.items():
            pipe.xadd(self._keys.shard(shard), {_FIELD: pack_hints(hints)}, maxlen=HINTS_KEPT, approximate=True)
        try:
            await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("hints not written", shards=len(by_shard), error=type(error).__name__)

    async def asks(self, wait: float) -> dict[int, int]:
        """What the senders asked for since the last call: device → room. Empty after `wait` seconds."""
        try:
            if self._last_ask == "$":
                newest = await self._client.xrevrange(self._keys.asks, count=1)
                self._last_ask = _text(newest[0][0]) if newest else "0"
            answer = await self._client.xread({self._keys.asks: self._last_ask}, count=500, block=int(wait * 1000))
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("no asks for now", error=type(error).__name__)
            await asyncio.sleep(min(wait, 1.0))
            return {}
        wanted: dict[int, int] = {}
        for _, entry_id, fields in _entries(answer):
            self._last_ask = entry_id
            try:
                wanted.update(_rooms(fields[_FIELD]))
            except (ValueError, KeyError):
                self.dropped += 1
                log.warning("an ask that cannot be read was dropped")
        return wanted


def _rooms(entry: bytes) -> dict[int, int]:
    """The devices of an ask, and the room of each; raises ValueError for what no sender asks."""
    numbers = _numbers(entry)
    found = dict(zip(numbers[::2], numbers[1::2], strict=True))
    if min(found, default=1) < 1 or max(found.values(), default=0) > WIDEST_WINDOW:
        raise ValueError("no id is below 1, and no window is that wide")
    return found


class HintReader:
    """A sender's side: one blocking read for all its shards."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self.dropped = 0
        """Entries that could not be read."""
        self._positions: dict[bytes | str | memoryview, int | bytes | str | memoryview] = {}
        self._shards: dict[str, int] = {}

    def own(self, shards: Sequence[int]) -> None:
        """Read these shards from now on; a shard that is new starts at what its stream still holds."""
        self._shards = {self._keys.shard(s): s for s in shards}
        self._positions = {key: self._positions.get(key, "0") for key in self._shards}

    async def read(self, wait: float) -> list[Hint] | None:
        """Hints that came, [] after `wait` seconds; None when Redis was lost, so that SQL must be asked."""
        if not self._positions:
            await asyncio.sleep(min(wait, 0.2))
            return []
        try:
            answer = await self._client.xread(dict(self._positions), count=16, block=max(1, int(wait * 1000)))
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("no hints for now", error=type(error).__name__)
            self._positions = dict.fromkeys(self._positions, "0")
            await asyncio.sleep(min(wait, 1.0))
            return None
        hints: list[Hint] = []
        for key, entry_id, fields in _entries(answer):
            if key in self._positions:
                self._positions[key] = entry_id
            try:
                hints += list(unpack_hints(fields[_FIELD]))
            except (ValueError, KeyError):
                self.dropped += 1
                log.warning("a hint that cannot be read was dropped", stream=key)
        return hints

    async def ask(self, rooms: Sequence[tuple[int, int]]) -> None:
        """Tell the dispatchers how much room these devices have."""
        numbers = array.array("q")
        for pair in rooms:
            numbers.extend(pair)
        try:
            await self._client.xadd(self._keys.asks, {_FIELD: numbers.tobytes()}, maxlen=ASKS_KEPT, approximate=True)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("ask not sent", error=type(error).__name__)


def _entries(answer: object) -> Iterator[tuple[str, str, dict[bytes, bytes]]]:
    """The entries of an XREAD answer, whichever protocol version shaped it: (key, entry id, fields)."""
    if not answer:
        return
    streams = answer.items() if isinstance(answer, dict) else answer
    for key, batches in streams:  # type: ignore[attr-defined]
        name = _text(key)
        entries = batches[0] if batches and isinstance(batches[0], list) else batches
        for entry_id, fields in entries:
            yield name, _text(entry_id), fields


def _text(word: object) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)
