"""Shares: how many shards each sender should own. Pure, so that any number of senders agree without talking.

Shards with a home are shared by the senders of that node alone, the others by all. Whoever has more than its share
gives the rest back, whoever has less takes what is free; as senders come and go the shares follow.
"""

from collections import Counter
from collections.abc import Iterable, Mapping


def shares(homes: Mapping[int, str | None], senders: Mapping[str, str], sender: str) -> dict[str | None, int]:
    """How many shards of each home `sender` should own: none, when it is not one of `senders`.

    `homes`: shard → node, or None. `senders`: sender → its node, of all that share. The shares of one home differ by
    one at most.
    """
    found: dict[str | None, int] = {}
    for home, many in Counter(homes.values()).items():
        able = sorted(name for name, node in senders.items() if home in (None, node))
        if sender in able:
            each, rest = divmod(many, len(able))
            found[home] = each + (able.index(sender) < rest)
    return found


def surplus(held: Iterable[int], homes: Mapping[int, str | None], wanted: Mapping[str | None, int]) -> list[int]:
    """Which of the shards held are to be given back, so that no home has more than its share."""
    left = dict(wanted)
    given = []
    for shard in sorted(held):
        home = homes.get(shard)
        left[home] = left.get(home, 0) - 1
        if left[home] < 0:
            given.append(shard)
    return given
