"""Every key and channel in Redis, with type and lifetime. Nothing else in the code spells a key.

| key | type | lifetime |
| --- | --- | --- |
| `{prefix}:shard:{n}` | stream of hints | trimmed by length |
| `{prefix}:asks` | stream of free room, senders to dispatchers | trimmed by length |
| `{prefix}:nudge:{who}` | pub/sub channel | none |
| `{prefix}:live` | pub/sub channel | none |
| `{prefix}:pairing:{device}` | the newest code of a pairing, as JSON | as long as the code is valid |
| `{prefix}:limits:…` | counts of HTTP requests, named by the library `limits` | two minutes |
"""

from dataclasses import dataclass

HINTS_KEPT = 10_000
"""Entries a shard's stream keeps; older hints are forgotten and found again in SQL."""
ASKS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one installation in one Redis."""

    prefix: str = "fleetcast"

    def shard(self, shard: int) -> str:
        """Stream of hints for a shard's owner."""
        return f"{self.prefix}:shard:{shard}"

    @property
    def asks(self) -> str:
        """Stream of the senders' free room."""
        return f"{self.prefix}:asks"

    def nudge(self, who: str) -> str:
        """Channel that wakes a kind of loop."""
        return f"{self.prefix}:nudge:{who}"

    def pairing(self, device: int) -> str:
        """The code that links a phone to a device; a secret."""
        return f"{self.prefix}:pairing:{device}"

    @property
    def rate_limits(self) -> str:
        """Beginning of the counts of HTTP requests."""
        return f"{self.prefix}:limits"

    @property
    def every(self) -> str:
        """Pattern of all keys of this installation."""
        return f"{self.prefix}:*"

    def kind(self, key: str) -> str:
        """Of which kind a key of ours is: the word behind the prefix."""
        return key.removeprefix(f"{self.prefix}:").partition(":")[0]

    @property
    def live(self) -> str:
        """Channel of changes for open pages."""
        return f"{self.prefix}:live"
