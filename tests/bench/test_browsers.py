"""What the browsers of the benchmark count: the silence of a stream is never lost. And that they are let in."""

from bench.browsers import Door, Stream


def test_waits_reach_from_the_last_event_before_to_the_silence_at_the_end() -> None:
    stream = Stream([(8.0, 100), (9.5, 200), (11.0, 300), (12.0, 400), (30.0, 500)])
    assert stream.waits(10.0, 20.0) == [1.5, 1.0, 8.0]
    assert stream.between(10.0, 20.0) == [300, 400]


def test_a_stream_that_says_nothing_is_one_long_wait() -> None:
    assert Stream([]).waits(10.0, 20.0) == [10.0]
    assert Stream([(9.0, 100)]).waits(10.0, 20.0) == [11.0]


def test_every_browser_shows_the_session() -> None:
    head, _, rest = Door(8080, "fcs_x").request("/events?workspace=1").partition(b"\r\n")
    assert head == b"GET /events?workspace=1 HTTP/1.1"
    assert b"Cookie: fleetcast=fcs_x\r\n" in rest
    assert rest.endswith(b"\r\n\r\n")
    assert b"Cookie" not in Door(8080).request("/ready")
