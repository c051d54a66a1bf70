"""Whether what goes on meets the night, by the clock of a zone; and hours that no clock shows."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from fleetcast.domain.schedule import is_skipped, touches_night

KL = ZoneInfo("Asia/Kuala_Lumpur")
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("start", "hours", "meets"),
    [
        ("08:00", 1, False),
        ("07:59", 0, True),
        ("20:00", 1, False),
        ("20:00", 1.01, True),
        ("21:00", 0, True),
        ("23:30", 0.1, True),
        ("09:00", 240, True),
    ],
)
def test_the_night_is_from_nine_to_eight(start: str, hours: float, meets: bool) -> None:
    hour, minute = map(int, start.split(":"))
    at = datetime(2026, 5, 5, hour, minute, tzinfo=KL).astimezone(UTC)
    assert touches_night(at, hours * 3_600, KL) is meets


def test_it_is_the_night_of_the_zone() -> None:
    noon = datetime(2026, 5, 5, 12, tzinfo=KL)
    assert not touches_night(noon, 60, KL)
    assert touches_night(noon, 60, BERLIN), "six in the morning there"


@pytest.mark.parametrize(("local", "skipped"), [((2031, 3, 30, 2, 30), True), ((2031, 3, 30, 3, 0), False)])
def test_an_hour_of_the_change_to_summer_time_is_skipped(local: tuple[int, ...], skipped: bool) -> None:
    assert is_skipped(datetime(*local), BERLIN) is skipped  # type: ignore[arg-type]


def test_the_hour_that_comes_twice_is_not() -> None:
    assert not is_skipped(datetime(2031, 10, 26, 2, 30), BERLIN)
