"""The part of Liquid that a message may use, and the bounds within which it runs.

Tags and filters are an explicit list: what is not named here does not exist, whatever the library learns next. Every
bound is a count, never a stopwatch, because a retry must render the same bytes on a slower machine. Separate from
`content` because this is about the language, and that is about messages.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from liquid import Environment, Mode, RenderContext
from liquid.builtin import content, illegal, output
from liquid.builtin.filters import array, math, misc, string
from liquid.builtin.tags import assign_tag, case_tag, comment_tag, for_tag, if_tag, unless_tag
from liquid.exceptions import (
    FilterArgumentError,
    LiquidError,
    LiquidSyntaxError,
    LoopIterationLimitError,
    ResourceLimitError,
)
from liquid.expression import Expression
from liquid.filter import with_context
from liquid.output import LimitedStringIO
from liquid.stream import TokenStream
from liquid.tag import Tag
from liquid.template import BoundTemplate
from liquid.token import TOKEN_EXPRESSION, TOKEN_OUTPUT, TOKEN_TAG, Token
from liquid.undefined import is_undefined

LONGEST_TEXT = 65_536
"""Characters of a WhatsApp text, and of any value on the way to one."""
MOST_MARKUP = 500
"""Tags and outputs of one body."""
LONGEST_MARKUP = 1_000
"""Characters between one pair of braces."""
MOST_ITERATIONS = 200
"""Turns of all loops of one rendering together."""
FILTER_BUDGET = 1_000_000
"""Characters that all filters of one rendering may produce."""
FILTER_FEE = 10
"""Charged for a filter's call itself."""
LARGEST_NUMBER = 10**18

_BLANKS = re.compile(r"\s{101}")
_OPENING = re.compile(r"\{\{|\{%")


class TextTooLong(ResourceLimitError):
    """The rendered text passed WhatsApp's limit."""


class MessageContext(RenderContext):
    """One rendering: counts what it costs and knows the one moment that is its "now"."""

    def __init__(self, template: BoundTemplate, *, globals: dict[str, object], now: datetime) -> None:  # noqa: A002
        super().__init__(template, globals={**globals, "now": now, "today": now})
        self.moment = now
        self.iterations = 0
        self.spent = 0

    def raise_for_loop_limit(self, length: int = 1) -> None:
        """Count the turns of all loops together; the library only multiplies nested ones."""
        self.iterations += length
        if self.iterations > MOST_ITERATIONS:
            raise LoopIterationLimitError(f"loops may turn {MOST_ITERATIONS} times in all", token=None)

    def charge(self, characters: int) -> None:
        """Take a filter's work off the budget."""
        self.spent += characters + FILTER_FEE
        if self.spent > FILTER_BUDGET:
            raise ResourceLimitError("the filters produce too much text", token=None)


class MessageBuffer(LimitedStringIO):
    """Output counted in characters, as WhatsApp does."""

    def __init__(self) -> None:
        super().__init__(LONGEST_TEXT, newline="\n")

    def write(self, text: str, /) -> int:
        """Append, or raise TextTooLong."""
        self.size += len(text)
        if self.size > self.limit:
            raise TextTooLong(f"the text is longer than {LONGEST_TEXT} characters", token=None)
        return super(LimitedStringIO, self).write(text)


def _weight(value: object) -> int:
    if isinstance(value, str | list):
        return len(value)
    return 0


def _bounded(function: Callable[..., object]) -> Callable[..., object]:
    """A library filter whose result stays small; the library's own take any size."""

    @with_context
    def wrapped(value: object, *args: object, context: MessageContext, **kwargs: object) -> object:
        if getattr(function, "with_context", False):
            kwargs["context"] = context
        if getattr(function, "with_environment", False):
            kwargs["environment"] = context.env
        result = function(value, *args, **kwargs)
        context.charge(_weight(result))
        if _weight(result) > LONGEST_TEXT:
            raise TextTooLong(f"the text is longer than {LONGEST_TEXT} characters", token=None)
        if isinstance(result, int | float) and not abs(result) <= LARGEST_NUMBER:
            raise FilterArgumentError("the number is too large", token=None)
        return result

    return wrapped


def _refuse_growth(length: int) -> None:
    if length > LONGEST_TEXT:
        raise TextTooLong(f"the text is longer than {LONGEST_TEXT} characters", token=None)


def _replace(value: object, wanted: object, replacement: object = "") -> object:
    """`replace`, with the size known before the text is made."""
    text, old, new = str(value), str(wanted), str(replacement)
    _refuse_growth(len(text) + text.count(old) * (len(new) - len(old)))
    return string.replace(text, old, new)


@with_context
def _join(value: Any, separator: object = " ", *, context: MessageContext) -> object:
    """`join`, with the size known before the text is made."""
    if isinstance(value, list):
        _refuse_growth(sum(len(str(item)) for item in value) + len(str(separator)) * len(value))
    return array.join(value, str(separator), environment=context.env)


_HOURS = {True: "AM", False: "PM"}
DATE_DIRECTIVES: dict[str, Callable[[datetime], str]] = {
    "%a": lambda d: d.strftime("%a"),
    "%A": lambda d: d.strftime("%A"),
    "%b": lambda d: d.strftime("%b"),
    "%B": lambda d: d.strftime("%B"),
    "%d": lambda d: f"{d.day:02}",
    "%-d": lambda d: str(d.day),
    "%e": lambda d: f"{d.day:2}",
    "%j": lambda d: f"{d.timetuple().tm_yday:03}",
    "%m": lambda d: f"{d.month:02}",
    "%-m": lambda d: str(d.month),
    "%y": lambda d: f"{d.year % 100:02}",
    "%Y": lambda d: f"{d.year:04}",
    "%H": lambda d: f"{d.hour:02}",
    "%-H": lambda d: str(d.hour),
    "%I": lambda d: f"{d.hour % 12 or 12:02}",
    "%-I": lambda d: str(d.hour % 12 or 12),
    "%M": lambda d: f"{d.minute:02}",
    "%S": lambda d: f"{d.second:02}",
    "%p": lambda d: _HOURS[d.hour < 12],
    "%F": lambda d: f"{d.year:04}-{d.month:02}-{d.day:02}",
    "%R": lambda d: f"{d.hour:02}:{d.minute:02}",
    "%T": lambda d: f"{d.hour:02}:{d.minute:02}:{d.second:02}",
    "%%": lambda _: "%",
}
"""Formatted here and not by the C library, whose answers differ between machines."""
_DIRECTIVE = re.compile(r"%-?.|%$", re.DOTALL)


def unknown_directive(pattern: str) -> str | None:
    """The first directive of a date pattern that is not known."""
    return next((d for d in _DIRECTIVE.findall(pattern) if d not in DATE_DIRECTIVES), None)


def _moment(value: object, now: datetime) -> datetime | None:
    if isinstance(value, datetime):
        return value
    text = str(value).strip()
    if text in ("now", "today"):
        return now
    try:
        if re.fullmatch(r"[0-9]{9,11}", text):
            return datetime.fromtimestamp(int(text), tz=UTC).astimezone(now.tzinfo)
        return datetime.fromisoformat(text) if re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else None
    except ValueError:
        return None


@with_context
def _date(value: object, pattern: object = "%Y-%m-%d", *, context: MessageContext) -> object:
    """`date`: "now", ISO dates and Unix times; anything else comes out unchanged.

    The library's own reads the machine's clock and zone and guesses at missing parts.
    """
    moment = None if value is None or is_undefined(value) else _moment(value, context.moment)
    if moment is None:
        return "" if value is None else str(value)
    wanted = str(pattern)
    if (unknown := unknown_directive(wanted)) is not None:
        raise FilterArgumentError(f"date does not know {unknown}", token=None)
    return _DIRECTIVE.sub(lambda match: DATE_DIRECTIVES[match[0]](moment), wanted)


FILTERS: dict[str, Callable[..., object]] = {
    **{name: getattr(string, name) for name in ("append", "prepend", "capitalize", "upcase", "downcase")},
    **{name: getattr(string, name) for name in ("strip", "lstrip", "rstrip", "squish", "strip_newlines", "split")},
    **{name: getattr(string, name) for name in ("remove", "remove_first", "remove_last", "truncate", "truncatewords")},
    **{name: getattr(string, name) for name in ("replace_first", "replace_last", "url_encode")},
    **{name: getattr(math, name) for name in ("plus", "minus", "times", "divided_by", "modulo", "ceil", "floor")},
    **{name: getattr(math, name) for name in ("at_least", "at_most")},
    "first": array.first,
    "last": array.last,
    "abs": math.abs_,
    "round": math.round_,
    "slice": string.slice_,
    "size": misc.size,
    "default": misc.default,
    "replace": _replace,
    "join": _join,
    "date": _date,
}


class _If(if_tag.IfTag):
    mode = Mode.STRICT


class _Unless(unless_tag.UnlessTag):
    mode = Mode.STRICT


class _Case(case_tag.CaseTag):
    def _parse_when_expression(self, stream: TokenStream) -> list[Expression]:
        expressions = super()._parse_when_expression(stream)
        stream.expect_eos()  # the library drops what it cannot read
        return expressions


TAGS: tuple[type[Tag], ...] = (
    content.Literal,
    output.Output,
    illegal.Illegal,
    _If,
    _Unless,
    _Case,
    for_tag.ForTag,
    for_tag.BreakTag,
    for_tag.ContinueTag,
    assign_tag.AssignTag,
    comment_tag.CommentTag,
)


class Dialect(Environment):
    """The strict environment of messages."""

    block_nesting_limit = 10
    context_depth_limit = 20
    local_namespace_limit = 1_000_000

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        """Only what is named here."""
        for tag in TAGS:
            self.add_tag(tag)
        for name, function in FILTERS.items():
            self.add_filter(name, _bounded(function))

    def tokenizer(self) -> Callable[[str], Iterator[Token]]:
        """The library's, with the bounds that keep its regular expressions from going quadratic."""
        inner = super().tokenizer()

        def tokens(source: str) -> Iterator[Token]:
            openings = [match.start() for match in _OPENING.finditer(source)]
            if len(openings) > MOST_MARKUP:
                at = Token(TOKEN_TAG, "", openings[MOST_MARKUP], source)
                raise LiquidSyntaxError(f"a text may have {MOST_MARKUP} tags and variables at most", token=at)
            if (blanks := _BLANKS.search(source)) is not None:
                at = Token(TOKEN_TAG, "", blanks.start(), source)
                raise LiquidSyntaxError("more than 100 blanks and line ends in a row", token=at)
            for token in inner(source):
                if token.kind in (TOKEN_EXPRESSION, TOKEN_OUTPUT) and len(token.value) > LONGEST_MARKUP:
                    raise LiquidSyntaxError(f"more than {LONGEST_MARKUP} characters between two braces", token=token)
                yield token

        return tokens

    def error(self, exc: type[LiquidError] | LiquidError, msg: str | None = None, token: Token | None = None) -> None:
        """Raise, at the place of the tag where the library knows none."""
        error = exc(msg, token=token) if isinstance(exc, type) else exc
        if error.token is None or error.token.start_index < 0:
            error.token = token
        raise error
