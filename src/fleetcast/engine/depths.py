"""How much waits in a sender, shard by shard: what the page of monitoring draws.

Separate from lanes, which know one device at a time, and from the counters, which only add. A look costs a microsecond
or less for each device, so with many of them it takes some shards at a time.
"""

from collections.abc import Iterable

from fleetcast.engine.lanes import Lanes

DEVICES_AT_ONCE = 5_000
"""Devices after which a look leaves the other shards to the next one."""


class Depths:
    """Of one sender."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._found: dict[int, tuple[int, float]] = {}
        self._following = 0

    def figures(self, owned: Iterable[int], now: float) -> dict[str, float]:
        """`waiting:SHARD` messages stand in the windows of its devices, `late:SHARD` seconds one of them could have
        been sent already; only of shards where anything waits. `now`: monotonic seconds.
        """
        shards = sorted(owned)
        seen = 0
        for shard in [s for s in shards if s >= self._following] + [s for s in shards if s < self._following]:
            if seen >= DEVICES_AT_ONCE:
                self._following = shard
                break
            lanes = self._lanes.of_shards([shard])
            seen += max(1, len(lanes))
            self._found[shard] = (
                sum(lane.waiting for lane in lanes),
                max((lane.late(now) for lane in lanes), default=0.0),
            )
        self._found = {shard: found for shard, found in self._found.items() if shard in set(shards)}
        told: dict[str, float] = {}
        for shard, (waiting, late) in self._found.items():
            if waiting:
                told |= {f"waiting:{shard}": waiting, f"late:{shard}": round(late, 3)}
        return told
