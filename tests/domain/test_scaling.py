"""When `fleetcast up` starts a sender more or lets one go."""

from fleetcast.domain.scaling import GROW_SECONDS, SHRINK_SECONDS, Scaling, wanted_senders


def test_a_fleet_at_rest_wants_one_sender_and_a_busy_one_as_many_as_stay_comfortable() -> None:
    assert wanted_senders([]) == 1
    assert wanted_senders([0.02]) == 1
    assert wanted_senders([0.6]) == 1
    assert wanted_senders([0.9]) == 2
    assert wanted_senders([0.9, 0.9, 0.9]) == 5


def test_one_is_added_after_ten_seconds_of_load_and_not_at_a_short_peak() -> None:
    scaling = Scaling(least=1, most=4)
    assert scaling.decide(0, 1, 3) == 1
    assert scaling.decide(5, 1, 1) == 1, "the peak is over"
    assert scaling.decide(6, 1, 3) == 1
    assert scaling.decide(6 + GROW_SECONDS, 1, 3) == 2
    assert scaling.decide(7 + GROW_SECONDS, 2, 3) == 2, "the new one is given time to take its share"
    assert scaling.decide(7 + 2 * GROW_SECONDS, 2, 3) == 3


def test_one_is_let_go_only_after_a_minute_of_calm() -> None:
    scaling = Scaling(least=1, most=4)
    assert scaling.decide(0, 3, 1) == 3
    assert scaling.decide(SHRINK_SECONDS - 1, 3, 1) == 3
    assert scaling.decide(SHRINK_SECONDS, 3, 1) == 2


def test_the_bounds_hold_whatever_is_wanted() -> None:
    scaling = Scaling(least=2, most=3)
    assert scaling.decide(0, 3, 9) == 3
    assert scaling.decide(1000, 3, 9) == 3
    assert scaling.decide(2000, 2, 1) == 2
    assert scaling.decide(9000, 2, 1) == 2
    assert scaling.decide(9001, 1, 1) == 2, "fewer than the least is mended at once"
