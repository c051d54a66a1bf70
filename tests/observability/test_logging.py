"""Logs: no secrets, no whole numbers, no floods, one form."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from fleetcast.observability.logging import RateLimit, configure_logging, mask_phone, redact
from fleetcast.settings import Settings


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, root.level = before
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Screen(io.StringIO):
    """A stream that may say that it is a terminal."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def configured(tmp_path: Path, *, terminal: bool = False, **settings: Any) -> Screen:
    screen = Screen(terminal=terminal)
    configure_logging(Settings(data=tmp_path, **settings), "sender", stream=screen)
    return screen


def lines(screen: Screen) -> list[dict[str, Any]]:
    return [json.loads(line) for line in screen.getvalue().splitlines()]


def test_a_file_or_pipe_gets_one_json_object_a_line(tmp_path: Path) -> None:
    screen = configured(tmp_path)
    with structlog.contextvars.bound_contextvars(device_id=7):
        structlog.get_logger().info("lane opened", rested=1.5)
    [line] = lines(screen)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "lane opened", "level": "info", "process": "sender", "device_id": 7, "rested": 1.5}


def test_what_links_a_phone_is_never_written(tmp_path: Path) -> None:
    screen = configured(tmp_path)
    text = "2@" + ",".join(letter * 44 for letter in "ABCD")
    structlog.get_logger().warning(f"the library says {text}", pairing_code="ABCDEFGH", qr="XYZ", data=[text])
    [line] = lines(screen)
    assert line["event"] == "the library says ***"
    assert (line["pairing_code"], line["qr"], line["data"]) == ("***", "***", ["***"])


def test_a_terminal_gets_readable_lines_unless_told_otherwise(tmp_path: Path) -> None:
    screen = configured(tmp_path, terminal=True)
    structlog.get_logger().warning("lane closed", device_id=7)
    assert "lane closed" in screen.getvalue()
    assert not screen.getvalue().startswith("{")
    screen = configured(tmp_path, terminal=True, log_format="json")
    structlog.get_logger().warning("lane closed", device_id=7)
    assert lines(screen)[0]["device_id"] == 7


def test_the_level_of_a_command_gives_way_to_a_wish_for_debug(tmp_path: Path) -> None:
    for level, expected in (("info", []), ("debug", ["told"])):
        screen = Screen(terminal=False)
        configure_logging(Settings(data=tmp_path, log_level=level), "cli", level="warning", stream=screen)
        structlog.get_logger().debug("told")
        assert [line["event"] for line in lines(screen)] == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "hunter2"},
        {"access_token": "hunter2"},
        {"headers": {"Authorization": "Bearer hunter2", "Cookie": ["hunter2"]}},
        {"api_key": b"hunter2"},
        {"url": "postgresql://fleet:hunter2@db.internal:5432/x"},
        {"error": ConnectionError("cannot reach redis://:hunter2@cache:6379/0")},
        {"setting": SecretStr("hunter2")},
        {"nested": [{"deep": ({"client_secret": "hunter2"},)}]},
        {"path": "/invitations/fci_hunter2hunter2hunter2hunter2"},
        {"error": "null value violates a rule\nDETAIL:  Failing row contains (1, hunter2)."},
    ],
    ids=str,
)
def test_f23_no_log_line_carries_a_secret(tmp_path: Path, fields: dict[str, Any]) -> None:
    screen = configured(tmp_path)
    structlog.get_logger().info("connected", **fields)
    assert "hunter2" not in screen.getvalue()
    assert lines(screen)[0]["event"] == "connected"


def test_f23_a_trace_and_a_librarys_line_are_redacted_too(tmp_path: Path) -> None:
    screen = configured(tmp_path)
    try:
        raise ValueError("postgresql://fleet:hunter2@db/x refused +60123456789")
    except ValueError:
        structlog.get_logger().exception("it failed")
        logging.getLogger("somebody.else").exception("redis://:hunter2@cache failed for +60123456789")
    ours, theirs = lines(screen)
    assert "Traceback" in ours["exception"]
    assert "Traceback" in theirs["exception"]
    assert theirs["logger"] == "somebody.else"
    assert "hunter2" not in screen.getvalue()
    assert "60123456789" not in screen.getvalue()


@pytest.mark.parametrize(
    "fields",
    [
        {"recipient": "+60123456789"},
        {"phone": 60123456789},
        {"jid": "60123456789:12@s.whatsapp.net"},
        {"detail": "no answer from +60123456789 (60123456789@s.whatsapp.net)"},
        {"numbers": ["+60123456789"]},
    ],
    ids=str,
)
def test_phone_numbers_are_masked_wherever_they_stand(fields: dict[str, Any]) -> None:
    told = redact(None, "info", dict(fields))
    assert "123456789" not in str(told)
    assert "89" in str(told)


def test_masking_keeps_what_helps_and_ids_stay_whole() -> None:
    assert mask_phone("+60123456789") == "+6012*****89"
    kept = {"message_id": 12345678901, "reference": "ab12cd34-12345678901-1", "timestamp": "2026-11-23T07:05:00Z"}
    assert redact(None, "info", dict(kept)) == kept
    assert redact(None, "info", {"tokens_left": 5, "recovered": True}) == {"tokens_left": 5, "recovered": True}


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def through(limit: RateLimit, method: str, event: str, **fields: Any) -> dict[str, Any] | None:
    try:
        return dict(limit(None, method, {"event": event} | fields))
    except structlog.DropEvent:
        return None


def test_f39_the_same_event_of_a_device_is_written_once_a_minute_and_counts_the_rest() -> None:
    clock = Seconds()
    limit = RateLimit(clock)
    assert through(limit, "info", "device is gone", device_id=7) == {"event": "device is gone", "device_id": 7}
    for _ in range(999):
        clock.now += 0.05
        assert through(limit, "info", "device is gone", device_id=7) is None
    assert through(limit, "info", "device is gone", device_id=8) is not None
    assert through(limit, "info", "device is back", device_id=7) is not None
    clock.now += 60
    again = through(limit, "info", "device is gone", device_id=7)
    assert again is not None
    assert again["left_out"] == 999
    clock.now += 60
    assert through(limit, "info", "device is gone", device_id=7) == {"event": "device is gone", "device_id": 7}


def test_f39_a_warning_about_nothing_in_particular_is_limited_and_news_is_not() -> None:
    limit = RateLimit(Seconds())
    assert through(limit, "warning", "no answer", error="a") is not None
    assert through(limit, "warning", "no answer", error="b") is None
    assert through(limit, "error", "no answer", error="c") is not None
    for _ in range(3):
        assert through(limit, "info", "page served") is not None
        assert through(limit, "debug", "looked", device_id=7) is not None


def test_f39_a_hundred_thousand_devices_do_not_fill_the_memory() -> None:
    clock = Seconds()
    limit = RateLimit(clock)
    for device in range(25_000):
        clock.now += 0.001
        assert through(limit, "info", "device is gone", device_id=device) is not None
    assert len(limit._windows) <= 10_000


def test_f39_a_flood_reaches_the_log_as_one_line(tmp_path: Path) -> None:
    screen = configured(tmp_path)
    log: Callable[..., Any] = structlog.get_logger().warning
    for i in range(500):
        log("nudge not sent", to="senders", error=f"try {i}")
    assert len(lines(screen)) == 1


@pytest.mark.parametrize("kind", ["fcs", "fck", "fci"])
def test_s38_a_token_is_hidden_wherever_it_stands(tmp_path: Path, kind: str) -> None:
    screen, token = configured(tmp_path), f"{kind}_Zm9vYmFyYmF6-cXV4_cXV1eA"
    structlog.get_logger().warning(f"asked for /invitations/{token}", path=f"/invitations/{token}", about=[token])
    assert token not in screen.getvalue()
    assert f"/invitations/{kind}_***" in screen.getvalue()
