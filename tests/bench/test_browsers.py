"""What the browsers of the benchmark count: the silence of a stream is never lost."""

from bench.browsers import Stream


def test_waits_reach_from_the_last_event_before_to_the_silence_at_the_end() -> None:
    stream = Stream([(8.0, 100), (9.5, 200), (11.0, 300), (12.0, 400), (30.0, 500)])
    assert stream.waits(10.0, 20.0) == [1.5, 1.0, 8.0]
    assert stream.between(10.0, 20.0) == [300, 400]


def test_a_stream_that_says_nothing_is_one_long_wait() -> None:
    assert Stream([]).waits(10.0, 20.0) == [10.0]
    assert Stream([(9.0, 100)]).waits(10.0, 20.0) == [11.0]
