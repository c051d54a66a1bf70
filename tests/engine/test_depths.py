"""What waits in a sender, shard by shard, also where there are too many devices to look at all at once."""

from random import Random

import pytest

from fleetcast.domain.pacing import Pace
from fleetcast.engine import depths
from fleetcast.engine.depths import Depths
from fleetcast.engine.lanes import Lanes


def fleet(devices: int) -> Lanes:
    """Devices in turn on four shards, each with as many messages as its number, due at once."""
    lanes = Lanes(Random(1))
    for device in range(1, devices + 1):
        lanes.open(device, device % 4, Pace(0.0, 0.0), ended=0.0, ready=True, now=0.0)
        lanes.offer(device, [(device * 100 + n, 1) for n in range(device)], 10.0)
    return lanes


def test_each_shard_is_told_with_what_waits_and_since_when_it_could_have_left() -> None:
    assert Depths(fleet(4)).figures({1, 2, 3}, now=12.5) == {
        "waiting:1": 1, "late:1": 2.5, "waiting:2": 2, "late:2": 2.5, "waiting:3": 3, "late:3": 2.5,
    }  # fmt: skip


def test_a_device_whose_attempt_is_under_way_is_not_late() -> None:
    lanes = fleet(1)
    [start] = lanes.pop_due(10.0, 5)
    assert Depths(lanes).figures({1}, now=100.0) == {}
    lanes.offer(1, [(500, 1)], 10.0)
    assert Depths(lanes).figures({1}, now=100.0) == {"waiting:1": 1, "late:1": 0.0}
    lanes.finished(start.lane, 99.0)
    assert Depths(lanes).figures({1}, now=100.0) == {"waiting:1": 1, "late:1": 1.0}


def test_many_devices_have_their_turn_and_the_others_are_told_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depths, "DEVICES_AT_ONCE", 2)
    looked = Depths(fleet(8))
    first = looked.figures({0, 1, 2, 3}, now=11.0)
    assert set(first) == {"waiting:0", "late:0"}, "two devices a shard: one shard a look"
    for _ in range(3):
        told = looked.figures({0, 1, 2, 3}, now=11.0)
    assert {k: v for k, v in told.items() if k.startswith("waiting")} == {
        "waiting:0": 12, "waiting:1": 6, "waiting:2": 8, "waiting:3": 10,
    }  # fmt: skip


def test_a_shard_that_was_given_back_is_told_no_more() -> None:
    looked = Depths(fleet(4))
    looked.figures({1, 2}, now=11.0)
    assert set(looked.figures({2}, now=11.0)) == {"waiting:2", "late:2"}
