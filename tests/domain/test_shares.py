"""How shards are shared: every sender works it out alone, and all agree."""

from hypothesis import given
from hypothesis import strategies as st

from fleetcast.domain.shares import shares, surplus

NODES = ("north", "south", "east")
homes_of = st.dictionaries(st.integers(0, 63), st.none() | st.sampled_from(NODES), max_size=64)
senders_of = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=4), st.sampled_from(NODES), min_size=1, max_size=8
)


def test_one_sender_has_all_and_three_have_a_third_each() -> None:
    homes: dict[int, str | None] = dict.fromkeys(range(64))
    assert shares(homes, {"a": "north"}, "a") == {None: 64}
    three = {"a": "north", "b": "north", "c": "south"}
    assert [shares(homes, three, name)[None] for name in three] == [22, 21, 21]


def test_a_shard_with_a_home_is_only_for_the_senders_of_that_node() -> None:
    homes = {0: "north", 1: "north", 2: "gone", 3: None}
    senders = {"a": "north", "b": "south"}
    assert shares(homes, senders, "a") == {"north": 2, None: 1}
    assert shares(homes, senders, "b") == {None: 0}


def test_who_does_not_share_has_no_share_and_gives_everything_back() -> None:
    homes: dict[int, str | None] = dict.fromkeys(range(4))
    assert shares(homes, {"a": "north"}, "b") == {}
    assert surplus(range(4), homes, {}) == [0, 1, 2, 3]


@given(homes_of, senders_of)
def test_every_shard_that_somebody_may_own_has_an_owner_and_no_two_shares_differ_by_more_than_one(
    homes: dict[int, str | None], senders: dict[str, str]
) -> None:
    found = {name: shares(homes, senders, name) for name in senders}
    for home in set(homes.values()):
        able = [name for name, node in senders.items() if home in (None, node)]
        parts = [found[name][home] for name in able]
        assert sum(parts) == (sum(h == home for h in homes.values()) if able else 0)
        assert not parts or max(parts) - min(parts) <= 1
        assert all(home not in found[name] for name in senders if name not in able)


@given(homes_of, senders_of, st.data())
def test_what_is_given_back_leaves_nobody_with_more_than_its_share(
    homes: dict[int, str | None], senders: dict[str, str], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(senders)))
    held = data.draw(st.sets(st.sampled_from(sorted(homes)))) if homes else set()
    wanted = shares(homes, senders, name)
    given_back = surplus(held, homes, wanted)
    kept = held - set(given_back)
    for home in set(homes.values()):
        mine = sum(homes[shard] == home for shard in held)
        assert sum(homes[shard] == home for shard in kept) == min(mine, wanted.get(home, 0))
