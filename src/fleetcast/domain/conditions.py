"""Conditions in a message's text, read the way its author means them.

Values of leads come from files, as text: a missing value is empty and blank, "5" beside a number is a number, and
what cannot be compared is simply not so. The library raises instead, which would fail one lead in a million long
after the text was checked. These expressions take the place of the library's in a parsed body.
"""

import operator
from collections.abc import Callable
from typing import Any

from liquid import RenderContext, Token
from liquid.builtin.expressions import BooleanExpression
from liquid.builtin.expressions.logical import (
    ContainsExpression,
    EqExpression,
    GeExpression,
    GtExpression,
    LeExpression,
    LogicalAndExpression,
    LogicalOrExpression,
    LtExpression,
    NeExpression,
)
from liquid.builtin.expressions.primitive import Blank, Empty
from liquid.expression import Expression
from liquid.undefined import is_undefined

_Compare = Callable[[Any, Any], bool]


class _Comparison(Expression):
    """One comparison of two values."""

    __slots__ = ("compare", "left", "right")

    def __init__(self, token: Token, left: Expression, right: Expression, compare: _Compare) -> None:
        super().__init__(token)
        self.left = left
        self.right = right
        self.compare = compare

    def evaluate(self, context: RenderContext) -> object:
        """Whether it is so."""
        left, right = _plain(self.left.evaluate(context)), _plain(self.right.evaluate(context))
        if isinstance(left, Blank | Empty) or isinstance(right, Blank | Empty):
            left, right = (right, left) if isinstance(left, Blank | Empty) else (left, right)
            return self.compare(right == ("" if left is None else left), True)
        try:
            return self.compare(*_alike(left, right))
        except TypeError:
            return False

    def children(self) -> list[Expression]:
        """Both sides."""
        return [self.left, self.right]


def _plain(value: object) -> Any:
    return None if is_undefined(value) else value


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Both sides in one type where that makes sense: text beside a number is read as one, nothing is empty text."""
    if isinstance(left, str) and isinstance(right, int | float):
        return _number(left), right
    if isinstance(right, str) and isinstance(left, int | float):
        return left, _number(right)
    return (
        ("", right) if left is None and right == "" else (left, "") if right is None and left == "" else (left, right)
    )


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _contains(left: object, right: object) -> bool:
    if right is None:
        return False
    return str(right) in left if isinstance(left, str) else right in left if isinstance(left, list) else False


_COMPARISONS: dict[type[Expression], _Compare] = {
    EqExpression: operator.eq,
    NeExpression: operator.ne,
    LtExpression: operator.lt,
    LeExpression: operator.le,
    GtExpression: operator.gt,
    GeExpression: operator.ge,
    ContainsExpression: _contains,
}


def forgive(expression: Expression) -> Expression:
    """A condition with every comparison replaced by the forgiving kind."""
    if isinstance(expression, BooleanExpression):
        expression.expression = forgive(expression.expression)
    elif isinstance(expression, LogicalAndExpression | LogicalOrExpression):
        expression.left, expression.right = forgive(expression.left), forgive(expression.right)
    elif (compare := _COMPARISONS.get(type(expression))) is not None:
        sides: Any = expression
        return _Comparison(sides.token, sides.left, sides.right, compare)
    return expression


class When(Expression):
    """Whether a `when` holds; the library renders its block once for every value that does."""

    __slots__ = ("expressions", "sides")

    def __init__(self, original: Any) -> None:
        super().__init__(original.token)
        self.expressions: list[Expression] = original.expressions
        self.sides = [_Comparison(self.token, original.left, right, operator.eq) for right in self.expressions]

    def evaluate(self, context: RenderContext) -> object:
        """One truth, in a list as the library wants it."""
        return [any(side.evaluate(context) for side in self.sides)]

    def children(self) -> list[Expression]:
        """The values; the `case` itself reports its own side."""
        return self.expressions
