"""What a message says: a body in Liquid, the variables it needs, and its rendering to the very bytes that are sent.

Parsing happens once, when a body is saved or first met; rendering happens once a recipient and takes time and
variables as arguments, so that a retry sends the same bytes. A lead without a variable that is printed bare gets no
message ("Dear ," helps nobody); inside a condition or with a `default` a missing one prints nothing.
"""

import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from liquid import RenderContext
from liquid.ast import ConditionalBlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.expressions.primitive import IntegerLiteral, RangeLiteral, StringLiteral
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.assign_tag import AssignNode
from liquid.builtin.tags.case_tag import CaseNode, MultiExpressionBlockNode
from liquid.builtin.tags.for_tag import BreakNode, ContinueNode, ForNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.builtin.tags.unless_tag import UnlessNode
from liquid.exceptions import LiquidError
from liquid.expression import Expression
from liquid.template import BoundTemplate
from liquid.token import Token

from fleetcast.domain.conditions import When, forgive
from fleetcast.domain.dialect import (
    FILTERS,
    LONGEST_TEXT,
    MOST_ITERATIONS,
    Dialect,
    MessageBuffer,
    MessageContext,
    TextTooLong,
    unknown_directive,
)
from fleetcast.errors import FleetcastError, InvalidInput, InvalidInputs

FIELD = "body"
LONGEST_BODY = 20_000
"""Characters of a body as written."""
BUILT_IN_VARIABLES = frozenset({"name", "phone", "niche", "journey", "target_status"})
"""What every lead may have; every other variable is an attribute of leads."""
TAGS = ("assign", "break", "case", "comment", "continue", "for", "if", "raw", "unless")

_CLOCK = frozenset({"now", "today"})
_MARKUP = re.compile(r"\{[{%]+")
_DIALECT = Dialect()
_REFUSED = re.compile("[\0\ud800-\udfff]")


class ContentError(FleetcastError):
    """A text that cannot be made for one recipient; others may be fine."""


class MissingVariable(ContentError):
    """The lead lacks a variable that the text prints without a default."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f'This lead has no "{name}", which the text needs: fill it in, or give the text a default.')


class ContentTooLong(ContentError):
    """The text passes WhatsApp's limit for this recipient."""


class RenderFailed(ContentError):
    """The text asks for something impossible with this recipient's values, such as a division by zero."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One place where a body uses a variable. `line` and `column` count from 1."""

    name: str
    line: int
    column: int
    has_default: bool


def is_missing(value: object) -> bool:
    """Whether a lead's value counts as not there. Planning asks the same in SQL: absent, null or empty."""
    return value is None or value == ""


@dataclass(frozen=True, slots=True)
class Template:
    """A body that was read and found good. Immutable, and safe to keep and share."""

    body: str
    variables: tuple[Variable, ...]
    required: tuple[str, ...]
    """Names printed without a default outside any condition, in order of appearance."""
    _bound: BoundTemplate = field(repr=False, compare=False)
    _plain: tuple[str, tuple[str, ...]] | None = field(repr=False, compare=False, default=None)
    """Where the body is nothing but text and bare variables: the text with a %s for each of them, and their names."""

    @classmethod
    def parse(cls, body: str) -> Self:
        """Read a body. Raises InvalidInput with line and column for whatever the dialect does not have."""
        if len(body) > LONGEST_BODY:
            raise InvalidInput(FIELD, f"The text has {len(body):,} characters; at most {LONGEST_BODY:,} are allowed.")
        if (refused := _REFUSED.search(body)) is not None:
            raise _problem("The text contains a character that cannot be sent", body, refused.start())
        source = body.replace("\r\n", "\n").replace("\r", "\n")
        try:
            bound = _DIALECT.from_string(source)
        except LiquidError as error:
            raise _syntax_problem(error, source) from None
        reading = _Reading(bound, source)
        return cls(body, tuple(reading.variables), tuple(reading.required), bound, _plain_parts(bound))

    def render(self, variables: Mapping[str, object], now: datetime | float) -> str:
        """The text for one recipient. `now` is the moment that `now` and the date filter show: an aware date in its
        zone, or Unix seconds in UTC, which become a date only where the text asks for one.

        Raises MissingVariable, ContentTooLong, or RenderFailed. The same arguments give the same text, always.
        """
        text = None if self._plain is None else self._fill_in(*self._plain, variables)
        if text is not None:
            return text
        return self._render(variables, now if isinstance(now, datetime) else datetime.fromtimestamp(now, UTC))

    @staticmethod
    def _fill_in(text: str, names: tuple[str, ...], variables: Mapping[str, object]) -> str | None:
        """The same text as the whole machinery makes, in a twentieth of its time; None where it must look closer."""
        values = tuple(map(variables.get, names))
        for value in values:
            if type(value) is not str or not value:
                return None
        filled = text % values
        return filled.replace("\r\n", "\n") if len(filled) <= LONGEST_TEXT else None

    def _render(self, variables: Mapping[str, object], now: datetime) -> str:
        present = {name: value for name, value in variables.items() if not is_missing(value)}
        for name in self.required:
            if name not in present:
                raise MissingVariable(name)
        context = MessageContext(self._bound, globals=present, now=now)
        buffer = MessageBuffer()
        try:
            for node in self._bound.nodes:
                node.render(context, buffer)
        except TextTooLong:
            raise ContentTooLong(f"The text is longer than WhatsApp's {LONGEST_TEXT:,} characters.") from None
        except LiquidError as error:
            raise RenderFailed(f"The text cannot be made for this lead: {error.message}.") from None
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise RenderFailed(f"The text cannot be made for this lead ({type(error).__name__}).") from error
        return buffer.getvalue().replace("\r\n", "\n")


def _plain_parts(bound: BoundTemplate) -> tuple[str, tuple[str, ...]] | None:
    text, names = "", []
    for node in bound.nodes:
        if isinstance(node, ContentNode):
            text += node.text.replace("%", "%%")
            continue
        expression = node.expression if isinstance(node, OutputNode) else None
        if not isinstance(expression, FilteredExpression) or expression.filters:
            return None
        path = expression.left.path if isinstance(expression.left, Path) else []
        if len(path) != 1 or not isinstance(path[0], str) or path[0] in _CLOCK:
            return None
        text += "%s"
        names.append(path[0])
    return text, tuple(names)


def check_variables(template: Template, known: AbstractSet[str]) -> None:
    """Refuse variables that no lead has, unless they always come with a default.

    `known` are the workspace's attributes; the built-in variables are always known. Raises InvalidInput (several as
    InvalidInputs) with place, the nearest known name and the whole list.
    """
    names = BUILT_IN_VARIABLES | known
    problems = {
        use.name: InvalidInput(FIELD, _unknown(use.name, names), line=use.line, column=use.column)
        for use in reversed(template.variables)
        if use.name not in names and not use.has_default
    }
    if len(problems) == 1:
        raise next(iter(problems.values()))
    if problems:
        raise InvalidInputs(sorted(problems.values(), key=lambda p: (p.line or 0, p.column or 0)))


def literal(text: str, field: str = FIELD) -> str:
    """A body that renders to this very text, whatever braces it has: what is sent to one person is no template.

    Raises InvalidInput, naming `field`, for a text that is too long or has a character that cannot be sent.
    """
    body = text
    if _MARKUP.search(text) is not None:
        body = f"{{% raw %}}{text}{{% endraw %}}"
        if "endraw" in text:
            body = _MARKUP.sub(lambda braces: '{{ "' + braces[0] + '" }}', text)
    try:
        Template.parse(body)
    except InvalidInput as error:
        raise InvalidInput(field, error.problem) from None  # the place is one in the body, not in the text
    return body


def payload_sha256(text: str, media_sha256: str | None) -> bytes:
    """The fingerprint of what is sent: the text's UTF-8 bytes and the medium's own hash."""
    encoded = text.encode()
    return hashlib.sha256(len(encoded).to_bytes(8, "big") + encoded + (media_sha256 or "").encode()).digest()


def _unknown(name: str, names: Iterable[str]) -> str:
    return f'No lead has a "{name}".{_nearest(name, names)} Known are {", ".join(sorted(names))}; or add a default.'


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name[:64].casefold().replace("-", "_"), list(names), n=1)
    return f' Did you mean "{near[0]}"?' if near else ""


def _place(source: str, index: int) -> tuple[int, int]:
    """Line and column, from 1, of an index; one that is unknown is the end of the text."""
    before = source[:index] if 0 <= index <= len(source) else source.rstrip()
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _problem(sentence: str, source: str, index: int) -> InvalidInput:
    line, column = _place(source, index)
    return InvalidInput(FIELD, f"{sentence}.", line=line, column=column)


def _syntax_problem(error: LiquidError, source: str) -> InvalidInput:
    message = str(error.message)
    if (tag := re.fullmatch(r"unexpected tag '(.*)'", message, re.DOTALL)) is not None:
        sentence = f'The tag "{tag[1][:40]}" does not exist or has no place here; the tags are {", ".join(TAGS)}'
    elif (missing := re.fullmatch(r"expected tag (\w+), found .*", message)) is not None:
        sentence = f"A tag is never closed: {{% {missing[1]} %}} is missing"
    elif error.token is None:
        sentence = "The text cannot be read: its tags are nested too deeply"
    else:
        sentence = f"The text cannot be read here: {message}"
    return _problem(sentence, source, -1 if error.token is None else error.token.start_index)


class _Reading:
    """One walk over a parsed body: finds its variables and refuses what the parser lets pass."""

    def __init__(self, bound: BoundTemplate, source: str) -> None:
        self.variables: list[Variable] = []
        self.required: dict[str, None] = {}
        self._source = source
        self._scopes: list[set[str]] = [set()]
        self._origins: dict[str, frozenset[str]] = {}  # a local → the variables it prints when it is printed
        self._context = RenderContext(bound)
        for node in bound.nodes:
            self._node(node, conditional=False)

    def _node(self, node: Node, *, conditional: bool) -> None:
        if isinstance(node, BreakNode | ContinueNode) and len(self._scopes) == 1:
            raise self._refuse("This tag has a place inside a loop only", node.token)
        if isinstance(node, OutputNode):
            printed = self._printed(node.expression)
            if not conditional:
                self.required.update(dict.fromkeys(printed))
            return
        if isinstance(node, AssignNode):
            origins = self._printed(node.expression)
            self._origins[node.name] = frozenset() if conditional else frozenset(origins)
            self._scopes[0].add(node.name)
            return
        self._soften(node)
        for expression in node.expressions():
            self._expression(expression)
        if isinstance(node, ForNode):
            self._scopes.append({*map(str, node.block_scope())})
            self._node(node.block, conditional=conditional)
            self._scopes.pop()
            if node.default is not None:
                self._node(node.default, conditional=True)
            return
        conditional = conditional or isinstance(node, IfNode | UnlessNode | CaseNode)
        for child in node.children(self._context):
            self._node(child, conditional=conditional)

    @staticmethod
    def _soften(node: Node) -> None:
        if isinstance(node, IfNode | UnlessNode):
            node.condition = forgive(node.condition)
        elif isinstance(node, ConditionalBlockNode):
            node.expression = forgive(node.expression)
        elif isinstance(node, MultiExpressionBlockNode):
            node.expression = When(node.expression)  # type: ignore[assignment]

    def _printed(self, expression: Expression) -> list[str]:
        """Record an expression's variables; return those that it prints without a default."""
        if not isinstance(expression, FilteredExpression):
            return self._expression(expression)
        filters = expression.filters or []
        defaults = [index for index, used in enumerate(filters) if used.name == "default"]
        last = defaults[-1] if defaults else -1
        printed = self._expression(expression.left, has_default=last >= 0)
        for index, used in enumerate(filters):
            if used.name not in FILTERS:
                raise self._refuse(
                    f'There is no filter "{used.name[:40]}".{_nearest(used.name, FILTERS)} '
                    f"The filters are {', '.join(sorted(FILTERS))}",
                    used.token,
                )
            for argument in used.children():
                if used.name == "date" and isinstance(argument, StringLiteral):
                    self._check_date(argument.value, used.token)
                # the last default's own value may be missing, but must be spelt right
                found = self._expression(argument, has_default=index < last)
                printed += found if index > last else []
        return printed

    def _check_date(self, pattern: str, token: Token) -> None:
        if (unknown := unknown_directive(pattern)) is not None:
            raise self._refuse(f'The date filter does not know "{unknown}"; try "%d %B %Y" or "%H:%M"', token)

    def _expression(self, expression: Expression, *, has_default: bool = False) -> list[str]:
        if isinstance(expression, RangeLiteral):
            self._check_range(expression)
        found: list[str] = []
        if isinstance(expression, Path):
            found += self._path(expression, has_default)
        for child in expression.children():
            found += self._expression(child, has_default=has_default)
        return [] if has_default else found

    def _path(self, path: Path, has_default: bool) -> Iterator[str]:
        root = path.path[0]
        if not isinstance(root, str):
            raise self._refuse("A variable's name cannot be computed", path.token)
        if any(root in scope for scope in self._scopes):
            yield from sorted(self._origins.get(root, ()))
            return
        if root in _CLOCK:
            return
        if len(path.path) > 1 and path.path[1:] != ["size"]:
            raise self._refuse(f'"{path}" has parts, but a lead\'s values are plain: write {root} alone', path.token)
        line, column = _place(self._source, path.token.start_index)
        self.variables.append(Variable(root, line, column, has_default))
        yield root

    def _check_range(self, expression: RangeLiteral) -> None:
        start, stop = expression.start, expression.stop
        if not (isinstance(start, IntegerLiteral) and isinstance(stop, IntegerLiteral)):
            raise self._refuse("A range needs two numbers, such as (1..5)", expression.token)
        if stop.value - start.value >= MOST_ITERATIONS:
            raise self._refuse(f"A range may hold {MOST_ITERATIONS} numbers at most", expression.token)

    def _refuse(self, sentence: str, token: Token) -> InvalidInput:
        return _problem(sentence, self._source, token.start_index)
