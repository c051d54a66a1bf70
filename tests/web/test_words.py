"""Every state and reason has a word, numbers and times read as the style says, vendored files are what they claim."""

import hashlib
import re
from datetime import UTC, datetime

import pytest

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.device import DeviceState
from fleetcast.domain.message import Reason
from fleetcast.web import words
from fleetcast.web.advice import AGAIN
from fleetcast.web.formatting import written
from fleetcast.web.rendering import STATIC, day, elsewhere, segments, when


def test_every_state_and_reason_has_a_word() -> None:
    assert set(words.DEVICE) == {*DeviceState, "paused"}
    assert set(words.CAMPAIGN) == set(CampaignStatus)
    assert set(words.REASON) == set(Reason)
    put_off = {
        Reason.RATE_LIMITED,
        Reason.DISCONNECTED,
        Reason.TRANSPORT_TROUBLE,
        Reason.RELEASED,
        Reason.PERSON_IN_DOUBT,
    }
    doubtful = {Reason.NO_ANSWER, Reason.SENDER_LOST}
    assert set(AGAIN) == set(Reason) - put_off - doubtful, "whether a retry makes sense, of what failed or was skipped"


def test_every_meaning_has_its_colours() -> None:
    style = (STATIC / "app.css").read_text()
    for _, kind in [*words.DEVICE.values(), *words.CAMPAIGN.values()]:
        assert f".k-{kind} {{" in style
    assert style.count("\n") < 300


def test_vendored_files_are_the_ones_that_are_listed() -> None:
    listed = dict(re.findall(r"^\| (\S+) \|.*\| ([0-9a-f]{64}) \|$", (STATIC / "vendor/VENDORED.md").read_text(), re.M))
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (STATIC / "vendor").glob("*.min.*")}
    assert found == listed


@pytest.mark.parametrize(("share", "shown"), [(0, "0.0%"), (0.4389, "43.8%"), (0.99999, "99.9%"), (1, "100%")])
def test_a_share_is_whole_only_when_all_is_done(share: float, shown: str) -> None:
    assert words.percent(share) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3 * 3600 + 600, "3 h 10 min"), (7200, "2 h"), (3 * 86400, "3 days")],
)
def test_lengths_of_time_have_one_or_two_units(seconds: float, shown: str) -> None:
    assert words.span(seconds) == shown


def test_times_are_of_the_workspaces_zone() -> None:
    now = datetime(2026, 11, 24, 12, 12, tzinfo=UTC)
    zone = "Asia/Kuala_Lumpur"
    assert when(now, now, zone) == "20:12"
    assert when(datetime(2026, 11, 24, 16, 0, tzinfo=UTC), now, zone) == "Wed 25 Nov, 00:00"
    assert when(datetime(2027, 1, 2, 4, 0, tzinfo=UTC), now, zone) == "Sat 2 Jan 2027, 12:00"
    assert day(now, zone) == "Tuesday 24 November, 20:12 in Kuala Lumpur"


def test_a_bar_keeps_small_parts_visible_and_stays_within_its_track() -> None:
    found = segments([("sent", 1_000_000), ("warn", 1), ("bad", 1), ("end", 0)], 1_000_002)
    assert [s.kind for s in found] == ["sent", "warn", "bad"]
    assert found[1].width == 5
    assert found[-1].x + found[-1].width <= 1000.1
    assert segments([("sent", 0)], 0) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("*Sale* today", "<b>Sale</b> today"),
        ("_so_ ~not so~", "<i>so</i> <s>not so</s>"),
        ("2*3*4 and snake_case_name", "2*3*4 and snake_case_name"),
        ("* not * a mark", "* not * a mark"),
        ("*one\ntwo*", "*one\ntwo*"),
        ("<b>*x*</b>", "&lt;b&gt;<b>x</b>&lt;/b&gt;"),
        ("(*a*, *b*)", "(<b>a</b>, <b>b</b>)"),
    ],
)
def test_a_text_is_shown_with_its_marks_and_nothing_in_it_runs(text: str, shown: str) -> None:
    assert written(text) == shown


def test_an_instant_is_told_by_other_clocks_where_they_differ() -> None:
    at = datetime(2026, 11, 24, 12, 5, tzinfo=UTC)
    assert elsewhere(at, "Asia/Kuala_Lumpur", "") == "12:05 UTC"
    assert elsewhere(at, "Asia/Kuala_Lumpur", "Asia/Singapore") == "12:05 UTC", "the same clock"
    assert elsewhere(at, "Asia/Kuala_Lumpur", "America/New_York") == "12:05 UTC, 07:05 New York, where you are"
    assert elsewhere(at.replace(hour=22), "Asia/Kuala_Lumpur", "") == "22:05 on Tue UTC"
    assert elsewhere(at, "UTC", "UTC") == ""
    assert elsewhere(at, "Asia/Kuala_Lumpur", "Etc/UTC") == "12:05 UTC", "told once"
