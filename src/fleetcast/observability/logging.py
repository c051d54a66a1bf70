"""Logs: lines for a terminal or JSON for machines, without secrets, without whole phone numbers, without floods.

Configured once per process, at its edge. Everything else only says `structlog.get_logger()` and names facts as fields;
what every line of a block shares is bound with `structlog.contextvars`.
"""

import logging
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from fleetcast.clock import Clock
from fleetcast.settings import Settings

QUIET_SECONDS = 60.0
"""The same event about the same subject is written at most once in this time."""
_KEYS_KEPT = 10_000
_CLOCK = Clock()

SUBJECTS = (
    "campaign",
    "campaign_id",
    "channel",
    "device",
    "device_id",
    "key",
    "loop",
    "message",
    "message_id",
    "path",
    "shard",
    "to",
    "workspace",
    "workspace_id",
)
"""Fields that say what an event is about; everything else only describes it."""

_SECRET_FIELDS = re.compile(
    r"passw|secret|token|authori[sz]ation|cookie|api_?key|credential|pairing_code|(?:^|_)qr(?:_|$)", re.IGNORECASE
)
_URL_PASSWORD = re.compile(r"(\w://[^:/@\s]*):[^@\s]+@")
_PAIRING = re.compile(r"\b[0-9]@[A-Za-z0-9+/=]{20,}(?:,[A-Za-z0-9+/=]{20,})*")
"""What a QR code says that links a phone."""
_TOKEN = re.compile(r"\b(fc[ski])_[A-Za-z0-9_-]{16,}")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}(?![0-9])")
_JID = re.compile(r"(?<![0-9])[1-9][0-9]{6,14}(?=(?::[0-9]+)?@(?:s\.whatsapp\.net|c\.us|lid)\b)")
_NUMBER = re.compile(r"[0-9]{7,15}")
_ROW = re.compile(r"(?<=\bDETAIL: ).+")
"""What PostgreSQL adds to an error: the values of the row that broke a rule."""
_PERSON_FIELDS = frozenset({"phone", "recipient", "jid", "lid", "msisdn"})
HIDDEN = "***"


def mask_phone(number: str) -> str:
    """Enough of a number to recognise it beside the row, too little to call it: +6012*****89."""
    keep = 5 if number.startswith("+") else 4
    return number[:keep] + "*" * max(len(number) - keep - 2, 0) + number[-2:]


def _redacted(value: Any, field: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _redacted(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(v, field) for v in value]
    if _SECRET_FIELDS.search(field) and not isinstance(value, bool | int | float | None):
        return HIDDEN
    if isinstance(value, int) and not isinstance(value, bool) and field in _PERSON_FIELDS:
        value = str(value)
    if not isinstance(value, str):
        # Whatever will be printed by its own text may carry a number or a password in it.
        return value if isinstance(value, bool | int | float | None) else _redacted(str(value), field)
    value = _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", value)
    value = _TOKEN.sub(rf"\1_{HIDDEN}", value)
    value = _PAIRING.sub(HIDDEN, value)
    value = _PHONE.sub(lambda found: mask_phone(found[0]), value)
    value = _JID.sub(lambda found: mask_phone(found[0]), value)
    value = _ROW.sub(HIDDEN, value)
    return _NUMBER.sub(lambda found: mask_phone(found[0]), value) if field in _PERSON_FIELDS else value


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide secrets and mask phone numbers, in field names, values, texts and traces."""
    return {k: _redacted(v, k) for k, v in event.items()}


@dataclass(slots=True)
class _Window:
    opened: float
    left_out: int = 0


class RateLimit:
    """Lets the same event about the same subject through once a minute; the next one says how many were left out.

    Which events are the same: the same sentence with the same `SUBJECTS`. A sentence about nothing in particular is
    limited only from warnings upwards. `monotonic` is in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = _CLOCK.monotonic, quiet: float = QUIET_SECONDS) -> None:
        self._monotonic = monotonic
        self._quiet = quiet
        self._windows: dict[tuple[object, ...], _Window] = {}
        self._lock = threading.Lock()

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Count and drop the event, or let it through."""
        about = tuple((name, str(event[name])) for name in SUBJECTS if name in event)
        if method == "debug" or (not about and method == "info"):
            return event
        key = (method, event.get("event"), *about)
        now = self._monotonic()
        with self._lock:
            window = self._windows.get(key)
            if window is not None and now - window.opened < self._quiet:
                window.left_out += 1
                raise structlog.DropEvent
            if len(self._windows) >= _KEYS_KEPT:
                self._forget(now)
            self._windows[key] = _Window(now)
        if window is not None and window.left_out:
            event["left_out"] = window.left_out
        return event

    def _forget(self, now: float) -> None:
        """Drop windows that are over; the oldest tenth when none is."""
        over = [k for k, w in self._windows.items() if now - w.opened >= self._quiet]
        for key in over or sorted(self._windows, key=lambda k: self._windows[k].opened)[: _KEYS_KEPT // 10]:
            del self._windows[key]


def _named(process: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("process", process)
        return event

    return add


def configure_logging(
    settings: Settings, process_name: str, *, level: str | None = None, stream: TextIO | None = None
) -> None:
    """Set up this process's logs on stderr (or `stream`). `level` overrides the setting, unless that asks for debug.

    A terminal gets readable lines, everything else one JSON object a line; `FLEETCAST_LOG_FORMAT` decides otherwise.
    """
    out = stream or sys.stderr
    chosen = settings.log_level if level is None or settings.log_level == "debug" else level
    threshold = logging.getLevelNamesMapping()[chosen.upper()]
    console = settings.log_format == "console" or (settings.log_format == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(process_name),
    ]
    ending: list[Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
        redact,
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
    ]
    structlog.configure(
        processors=[*shared, RateLimit(), *ending],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _adopt_libraries(out, threshold, shared, ending)


def _adopt_libraries(out: TextIO, threshold: int, shared: list[Processor], ending: list[Processor]) -> None:
    """Libraries log through the standard library; their lines get the same form and the same redaction."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(threshold)
    for chatty in ("alembic", "asyncio", "httpx2", "httpcore2"):  # addresses of media may hold a signature
        logging.getLogger(chatty).setLevel(max(threshold, logging.WARNING))
