"""The scheduler of a sender in virtual time: thousands of seeds, no clock, no server."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetcast.domain.message import ANSWERS
from fleetcast.domain.pacing import Pace
from fleetcast.engine.lanes import LOOK_TURNS, Lanes, Start

NEVER = float("-inf")


def one_lane(pace: Pace, *, seed: int = 1, ended: float = NEVER) -> Lanes:
    lanes = Lanes(Random(seed))
    lanes.open(1, 0, pace, ended=ended, ready=True, now=0.0)
    lanes.begin_look()
    lanes.was_read([1])
    return lanes


def rows(*ids: int, campaign: int = 0) -> list[tuple[int, int]]:
    return [(message, campaign) for message in ids]


class World:
    """Devices with random paces, attempts of random length, claims that are sometimes refused, hints that come late,
    twice or never. The clock jumps from event to event."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.lanes = Lanes(Random(seed + 1))
        self.now = 0.0
        self.waiting: dict[int, list[int]] = {}
        self.paces: dict[int, Pace] = {}
        self.under_way: list[tuple[float, Start]] = []
        self.attempts: dict[int, list[tuple[float, float, float]]] = {}
        self.done: list[int] = []

    def populate(self) -> None:
        message = 0
        for device in range(self.random.randint(1, 6)):
            low = self.random.choice([0.0, 0.5, 2.0])
            pace = Pace(low, low + self.random.choice([0.0, 0.1, 5.0]))
            self.paces[device] = pace
            ended = self.random.choice([NEVER, -1.0, 0.0])
            self.attempts[device] = [] if ended == NEVER else [(ended, ended, 0.0)]
            self.lanes.open(device, device % 3, pace, ended=ended, ready=True, now=0.0)
            count = self.random.randint(0, 12)
            self.waiting[device] = list(range(message, message + count))
            message += count
        self.total = message

    def hint(self, device: int) -> None:
        known = self.waiting[device]
        some = known[: self.random.randint(0, len(known))]
        self.lanes.offer(device, rows(*some), self.now)

    def step(self, *, trouble: bool) -> None:
        if trouble:
            for device in self.waiting:
                if self.random.random() < 0.3:
                    self.hint(device)
                if self.random.random() < 0.05:
                    self.lanes.open(device, device % 3, self.paces[device], ended=NEVER, ready=False, now=self.now)
                if self.random.random() < 0.2:
                    self.lanes.open(device, device % 3, self.paces[device], ended=NEVER, ready=True, now=self.now)
        else:
            for device, known in self.waiting.items():
                self.lanes.open(device, device % 3, self.paces[device], ended=NEVER, ready=True, now=self.now)
                self.lanes.offer(device, rows(*known), self.now)
        for start in self.lanes.pop_due(self.now, self.random.randint(1, 4)):
            assert NEVER < start.due <= self.now, "lateness cannot be counted from there"
            self.begin(start, refuse=trouble and self.random.random() < 0.2)
        following = [at for at, _ in self.under_way]
        due = self.lanes.next_due()
        following += [due] if due is not None else []
        self.now = max(self.now, min(following, default=self.now + 1.0))
        for at, start in [u for u in self.under_way if u[0] <= self.now]:
            self.under_way.remove((at, start))
            self.attempts[start.lane.id][-1] = (self.attempts[start.lane.id][-1][0], self.now, start.gap)
            self.lanes.finished(start.lane, self.now)

    def begin(self, start: Start, *, refuse: bool) -> None:
        device = start.lane.id
        if refuse or start.message not in self.waiting[device]:
            self.lanes.refused(start.lane)
            return
        previous = self.attempts[device][-1] if self.attempts[device] else None
        if previous is not None:
            assert previous[1] < float("inf"), "two attempts of one device at once"
            assert self.now - previous[1] >= start.gap - 1e-9, "an attempt before its drawn delay was over"
        assert self.paces[device].min_delay - 1e-9 <= start.gap <= self.paces[device].max_delay + 1e-9
        self.attempts[device].append((self.now, float("inf"), start.gap))
        self.waiting[device].remove(start.message)
        self.done.append(start.message)
        self.under_way.append((self.now + self.random.choice([0.0, 0.01, 3.0]), start))


@pytest.mark.parametrize("first_seed", range(0, 4_000, 500))
def test_whatever_comes_each_row_starts_once_and_no_delay_is_cut_short(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 500):
        world = World(seed)
        world.populate()
        for _ in range(40):
            world.step(trouble=True)
        for _ in range(20 * world.total + 60):  # liveness: with the trouble over, everything leaves
            if len(world.done) == world.total and not world.under_way:
                break
            world.step(trouble=False)
        assert sorted(world.done) == list(range(world.total)), f"seed {seed}"


def test_a_device_that_never_sent_starts_at_once() -> None:
    lanes = one_lane(Pace(10, 30))
    lanes.offer(1, rows(7), 0.0)
    assert [s.message for s in lanes.pop_due(0.0, 10)] == [7]


def test_the_gap_counts_from_the_end_of_the_last_attempt_even_of_another_process() -> None:
    lanes = one_lane(Pace(20, 20), ended=-5.0)
    lanes.offer(1, rows(7), 0.0)
    assert lanes.pop_due(14.9, 10) == []
    assert [s.gap for s in lanes.pop_due(15.0, 10)] == [20]


def test_one_attempt_at_a_time() -> None:
    lanes = one_lane(Pace(0, 0))
    lanes.offer(1, rows(7, 8), 0.0)
    [first] = lanes.pop_due(0.0, 10)
    assert lanes.pop_due(100.0, 10) == []
    lanes.finished(first.lane, 100.0)
    assert [s.message for s in lanes.pop_due(100.0, 10)] == [8]


def test_a_row_for_a_device_that_has_rested_for_long_is_not_late() -> None:
    lanes = one_lane(Pace(20, 20), ended=0.0)
    lanes.offer(1, rows(7, 8), 3_600.0)
    [first] = lanes.pop_due(3_600.5, 10)
    assert first.due == 3_600.0
    lanes.finished(first.lane, 3_601.0)
    [second] = lanes.pop_due(4_000.0, 10)
    assert second.due == 3_621.0  # this one was there when its delay was over


def test_a_hint_that_comes_twice_is_one_row() -> None:
    lanes = one_lane(Pace(0, 0))
    lanes.offer(1, rows(7), 0.0)
    lanes.offer(1, rows(7), 0.0)
    [start] = lanes.pop_due(0.0, 10)
    lanes.finished(start.lane, 0.0)
    assert lanes.pop_due(0.0, 10) == []


def test_a_refused_claim_costs_no_second_delay() -> None:
    lanes = one_lane(Pace(20, 20), ended=0.0)
    lanes.offer(1, rows(7, 8), 0.0)
    [stale] = lanes.pop_due(20.0, 10)
    lanes.refused(stale.lane)
    assert [s.message for s in lanes.pop_due(20.0, 10)] == [8]


def test_a_message_without_a_campaign_goes_before_those_that_wait() -> None:
    lanes = one_lane(Pace(0, 0))
    lanes.paces[3] = None
    lanes.offer(1, rows(7, 8, campaign=3), 0.0)
    lanes.offer(1, rows(9), 0.0)
    assert [s.message for s in lanes.pop_due(0.0, 10)] == [9]


def test_a_campaigns_own_pace_holds_for_its_rows() -> None:
    lanes = one_lane(Pace(20, 20), ended=0.0)
    lanes.paces[3] = Pace(1, 1)
    lanes.offer(1, rows(7, campaign=3), 0.0)
    assert [s.gap for s in lanes.pop_due(1.0, 10)] == [1]


def test_a_device_that_is_not_ready_forgets_its_queue() -> None:
    lanes = one_lane(Pace(0, 0))
    lanes.offer(1, rows(7), 0.0)
    lanes.open(1, 0, Pace(0, 0), ended=NEVER, ready=False, now=0.0)
    assert lanes.pop_due(100.0, 10) == []
    assert lanes.next_due() is None


def test_a_lane_with_an_orphan_stays_closed_until_it_is_settled() -> None:
    lanes = one_lane(Pace(10, 10))
    lane = lanes.get(1)
    assert lane is not None
    lane.blocked = True
    lanes.offer(1, rows(7), 0.0)
    assert lanes.next_due() is None
    lanes.unblock(1, 50.0, 50.0)
    assert lanes.pop_due(59.9, 10) == []
    assert [s.message for s in lanes.pop_due(60.0, 10)] == [7]


def test_rows_of_a_device_of_somebody_else_are_not_taken() -> None:
    assert one_lane(Pace(0, 0)).offer(2, rows(7), 0.0) is False


def test_a_lane_asks_when_its_queue_has_fallen_to_half_its_window_and_only_once() -> None:
    lanes = one_lane(Pace(10, 10))
    [(device, room)] = lanes.asks()
    assert (device, room) == (1, 10)
    assert lanes.asks() == []
    lanes.offer(1, rows(*range(10)), 0.0)
    assert lanes.asks() == []
    now = 0.0
    for _ in range(5):
        [start] = lanes.pop_due(now, 1)
        now += 10.0
        lanes.finished(start.lane, now)
        now += 10.0
    assert lanes.asks() == [(1, 5)]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 100), st.floats(0, 100))
def test_every_delay_is_a_fresh_draw_between_the_bounds(seed: int, one: float, other: float) -> None:
    pace = Pace(min(one, other), max(one, other))
    lanes, now, gaps = one_lane(pace, seed=seed, ended=0.0), 0.0, []
    for message in range(20):
        lanes.offer(1, rows(message), now)
        now = lanes.next_due() or now
        [start] = lanes.pop_due(now, 1)
        gaps.append(start.gap)
        lanes.finished(start.lane, now)
    assert all(pace.min_delay <= gap <= pace.max_delay for gap in gaps)
    if pace.max_delay - pace.min_delay > 1:
        assert len(set(gaps)) > 15


def test_f11_a_hundred_rows_at_twenty_seconds_all_leave_although_only_ten_are_ever_in_the_window() -> None:
    lanes, now, waiting = one_lane(Pace(20, 20), ended=0.0), 0.0, list(range(100))
    sent: list[int] = []
    while len(sent) < 100:
        for device, room in lanes.asks():  # the dispatcher's part
            given, waiting = waiting[:room], waiting[room:]
            lanes.offer(device, rows(*given), now)
        assert lanes.next_due() is not None, f"the lane fell asleep after {len(sent)} rows"
        now = lanes.next_due() or now
        [start] = lanes.pop_due(now, 1)
        sent.append(start.message)
        lanes.finished(start.lane, now)
    assert sent == list(range(100))
    assert now == 2_000.0


def test_f11_a_row_that_came_while_its_device_was_not_ready_is_looked_for_although_others_wait() -> None:
    lanes = Lanes(Random(1))
    lanes.begin_look()
    lanes.open(1, 0, Pace(0, 0), ended=NEVER, ready=False, now=0.0)
    lanes.offer(1, rows(7), 0.0)
    lanes.open(1, 0, Pace(0, 0), ended=NEVER, ready=True, now=0.0)
    lanes.offer(1, rows(8), 0.0)
    assert lanes.unsure([0]) == [1]
    lanes.looked([1])
    lanes.offer(1, rows(7, 8), 0.0)
    lanes.was_read([1])
    assert lanes.unsure([0]) == []
    [first] = lanes.pop_due(0.0, 5)
    lanes.finished(first.lane, 0.0)
    [second] = lanes.pop_due(0.0, 5)
    assert {first.message, second.message} == {7, 8}


def test_f11_every_window_is_looked_at_in_turn_although_its_lane_never_runs_dry() -> None:
    lanes = Lanes(Random(1))
    for device in range(200):
        lanes.open(device, device % 64, Pace(5, 15), ended=NEVER, ready=True, now=0.0)
        lanes.offer(device, rows(device), 0.0)
    lanes.was_read(range(200))
    looked_at: list[int] = []
    for _ in range(LOOK_TURNS):
        lanes.begin_look()
        looked_at += lanes.unsure(range(64))
    assert sorted(looked_at) == list(range(200))


def test_after_a_refused_claim_or_a_lost_redis_a_window_is_looked_at_again() -> None:
    lanes = one_lane(Pace(0, 0))
    lanes.offer(1, rows(7, 8, 9), 0.0)
    assert lanes.unsure([0]) == []
    [start] = lanes.pop_due(0.0, 1)
    lanes.refused(start.lane)
    assert lanes.unsure([0]) == [1]
    lanes.looked([1])
    assert lanes.unsure([0]) == []
    lanes.ask_again()
    assert lanes.unsure([0]) == [1]


def test_a_window_is_read_before_its_lane_asks_for_more() -> None:
    # Each sender that takes a device over would have another windowful queued behind what is queued already.
    lanes = Lanes(Random(1))
    lanes.open(1, 0, Pace(10, 10), ended=NEVER, ready=True, now=0.0)
    assert lanes.asks() == []
    assert lanes.unread([1, 2]) == [1]
    lanes.offer(1, rows(*range(4)), 0.0)
    assert lanes.asks() == [], "a hint is not the whole window"
    lanes.offer(1, rows(*range(8)), 0.0)
    lanes.was_read([1])
    assert lanes.asks() == []
    assert lanes.unread([1]) == []
    lanes.ask_again()  # hints may have been lost
    assert lanes.asks() == []
    lanes.was_read([1])
    assert lanes.unread([1]) == []


def test_a_device_that_never_sent_could_start_when_it_was_taken_over_and_not_at_the_beginning_of_time() -> None:
    lanes = one_lane(Pace(5, 5))
    lane = lanes.get(1)
    assert lane is not None
    lanes.block(lane)
    lanes.offer(1, rows(7), 40.0)
    lanes.unblock(1, NEVER, 60.0)
    [start] = lanes.pop_due(60.0, 5)
    assert (start.due, lane.due) == (60.0, 60.0), "lateness is counted from there"


def test_a_device_that_was_somebody_elses_meanwhile_starts_nothing_until_its_last_end_is_known() -> None:
    lanes = one_lane(Pace(5, 5), ended=0.0)
    lanes.offer(1, rows(7, 8), 0.0)
    lane = lanes.get(1)
    assert lane is not None
    assert lanes.next_due() == 5.0
    lanes.block(lane)
    assert lanes.next_due() is None
    assert lanes.pop_due(100.0, 5) == []
    lanes.unblock(1, 98.0, 100.0)
    assert lanes.next_due() == 103.0
    lanes.unblock(1, 100.0, 100.0)
    assert lanes.next_due() == 103.0, "it was not blocked any more"


def test_a_refused_claim_waits_for_the_gap_of_an_attempt_that_another_owner_had_meanwhile() -> None:
    lanes = one_lane(Pace(5, 5), ended=0.0)
    lanes.offer(1, rows(7, 8), 0.0)
    [start] = lanes.pop_due(6.0, 1)
    lanes.block(start.lane)
    lanes.unblock(1, 4.0, 6.0)
    lanes.refused(start.lane)
    assert lanes.next_due() == 9.0


CAMPAIGN = 7
"""A campaign with a pace of its own."""


def a_lane_that_waits_for_a_campaign(of_campaign: Pace, of_device: Pace) -> Lanes:
    """Its last attempt ended just now, and its delay is drawn."""
    lanes = one_lane(of_device, ended=0.0)
    lanes.paces[CAMPAIGN] = of_campaign
    lanes.offer(1, rows(10, 11, campaign=CAMPAIGN), 0.0)
    return lanes


def test_a_row_without_a_campaign_goes_next_and_waits_for_its_own_delay_not_for_that_of_a_campaign() -> None:
    lanes = a_lane_that_waits_for_a_campaign(Pace(600, 600), Pace(5, 5))
    assert lanes.next_due() == 600.0
    lanes.offer(1, rows(99), 1.0)
    assert lanes.next_due() == 5.0
    [start] = lanes.pop_due(5.0, 1)
    assert (start.message, start.gap) == (99, 5.0)
    lanes.finished(start.lane, 6.0)
    assert lanes.next_due() == 606.0, "the campaign goes on at its own pace"


def test_a_campaign_in_a_hurry_hurries_no_single_send() -> None:
    lanes = a_lane_that_waits_for_a_campaign(Pace(1, 1), Pace(30, 30))
    lanes.offer(1, rows(99), 0.5)
    assert lanes.pop_due(29.0, 5) == []
    [start] = lanes.pop_due(30.0, 5)
    assert (start.message, start.gap) == (99, 30.0)


def test_a_row_that_comes_when_its_delay_has_long_passed_goes_at_once() -> None:
    lanes = a_lane_that_waits_for_a_campaign(Pace(600, 600), Pace(5, 5))
    lanes.offer(1, rows(99), 100.0)
    [start] = lanes.pop_due(100.0, 1)
    assert (start.message, start.due) == (99, 100.0)


def test_a_second_row_without_a_campaign_draws_nothing_anew() -> None:
    lanes = one_lane(Pace(5, 50), ended=0.0)
    lanes.offer(1, rows(98), 0.0)
    due = lanes.next_due()
    for message in range(100, 150):
        lanes.offer(1, rows(message), 0.0)
        assert lanes.next_due() == due, "or one could be asked for until the delay is short"


def test_answers_go_before_everything_that_waits_already_at_the_devices_pace() -> None:
    lanes = one_lane(Pace(30, 30), ended=0.0)
    lanes.paces[7] = Pace(1, 1)
    lanes.offer(1, rows(1, campaign=7), 0.0)
    lanes.offer(1, rows(2, 3), 0.0)
    lanes.offer(1, rows(4, 5, campaign=ANSWERS), 0.0)
    now, order = 0.0, []
    while (due := lanes.next_due()) is not None:
        now = max(now, due)
        [start] = lanes.pop_due(now, 5)
        order.append((start.message, start.gap))
        lanes.finished(start.lane, now)
    assert order == [(4, 30.0), (5, 30.0), (2, 30.0), (3, 30.0), (1, 1.0)]


def test_rows_of_sequences_go_after_single_sends_and_before_campaigns_each_at_its_own_pace() -> None:
    lanes = one_lane(Pace(1, 1))
    lanes.paces |= {7: Pace(9, 9), -7: Pace(3, 3)}  # campaign 7 and sequence 7 are not one another's
    lanes.offer(1, rows(1, 2, campaign=7), 0.0)
    lanes.offer(1, rows(3, campaign=-7), 0.0)
    lanes.offer(1, rows(4), 0.0)
    now, order = 0.0, []
    while (due := lanes.next_due()) is not None:
        now = max(now, due)
        [start] = lanes.pop_due(now, 5)
        order.append((start.message, start.campaign, start.gap))
        lanes.finished(start.lane, now)
    assert order == [(4, 0, 1.0), (3, -7, 3.0), (1, 7, 9.0), (2, 7, 9.0)]
