"""Row 10: nobody can make Fleetcast run a pattern of their own, and none of its own patterns can be made slow.

Rules about replies are words, filters are choices and whole values. Held by reading the source, because the promise is
that something is not there.
"""

import ast
import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from fleetcast.domain import consent, dialect, formulas, lead, phone
from fleetcast.domain.content import Template
from fleetcast.errors import InvalidInput
from fleetcast.observability.logging import redact
from fleetcast.settings import Settings
from tests.security.routes import Schema, Way, ways

SOURCE = Path(__file__).resolve().parents[2] / "src" / "fleetcast"
RUNS_PATTERNS = frozenset({"compile", "match", "search", "fullmatch", "split", "findall", "finditer", "sub", "subn"})
HOSTILE = ("(a+)+$", "a" * 30 + "!", "^(([a-z])+.)+[A-Z]([a-z])+$", "(.*)*" * 50, "[" * 1_000, "\\")
LONG = 100_000
TABLES = frozenset({"domain/phone.py", "web/app.py"})
"""Modules that also run patterns of a library: its tables, the addresses of its routes."""


def made_from_constants(node: ast.expr) -> bool:
    """Whether a pattern is written in the source: a text, texts put together, or names of the module in capitals."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.Name | ast.Attribute):
        name = node.id if isinstance(node, ast.Name) else node.attr
        return name.lstrip("_").isupper()
    if isinstance(node, ast.BinOp):
        return made_from_constants(node.left) and made_from_constants(node.right)
    if isinstance(node, ast.JoinedStr):
        return all(made_from_constants(v.value if isinstance(v, ast.FormattedValue) else v) for v in node.values)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "encode":
            return made_from_constants(node.func.value)
        return node.func.attr == "escape"  # literally what it says, whoever wrote it
    return False


def patterns() -> Iterator[tuple[str, ast.expr]]:
    """Every pattern that is given to `re`, and where."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            if not isinstance(called, ast.Attribute) or called.attr not in RUNS_PATTERNS:
                continue
            if isinstance(called.value, ast.Name) and called.value.id == "re":
                assert isinstance(node, ast.Call)
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", node.args[0]


def test_s10_every_pattern_is_written_in_the_source() -> None:
    found = list(patterns())
    assert len(found) > 30
    foreign = [where for where, pattern in found if not made_from_constants(pattern)]
    assert [where for where in foreign if where.split(":")[0] not in TABLES] == []


def test_s10_a_pattern_from_elsewhere_would_be_seen() -> None:
    for text in ("re.compile(rule)", "re.search(f'{word}+', text)", "re.sub(row['pattern'], '', text)"):
        call = ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call)
        assert not made_from_constants(call.args[0])


def test_s10_the_database_matches_no_pattern_of_anybodys() -> None:
    """`~` and SIMILAR TO run patterns; LIKE has none that is slow."""
    from_outside = re.compile(r"(!?~\*?|SIMILAR TO|regexp_\w+\s*\([^)]*,)\s*\$\d", re.IGNORECASE)
    found = [
        f"{path.relative_to(SOURCE)} {match[0]}"
        for path in sorted((SOURCE / "store").rglob("*.py"))
        for match in from_outside.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
    assert from_outside.search("WHERE body ~ $3")


def names(way: Way, schema: Schema, depth: int = 0) -> Iterator[str]:
    full: Any = way.resolved(schema)
    for name, part in full.get("properties", {}).items():
        yield name
        if depth < 5:
            yield from names(way, part, depth + 1)
    if "items" in full and depth < 5:
        yield from names(way, full["items"], depth + 1)


def test_s10_no_setting_and_no_field_takes_a_pattern(app: FastAPI) -> None:
    fields = {name for way in ways(app) for schema in way.bodies.values() for name in names(way, schema)}
    fields |= {name for way in ways(app) for name in way.query} | set(Settings.model_fields)
    assert "min_delay" in fields
    assert sorted(f for f in fields if re.search(r"regex|pattern|expression|glob|match_rule", f)) == []


def test_s10_texts_have_no_filter_that_runs_a_pattern() -> None:
    assert {"replace", "split"} <= set(dialect.FILTERS)  # these take words as they stand
    assert [name for name in dialect.FILTERS if re.search("regex|match|scan|glob", name)] == []
    values = {"name": "a" * 30 + "!"}
    for body in ('{{ name | replace: "(a+)+$", "x" }}', '{{ name | split: "(a+)+$" | join: "-" }}'):
        assert Template.parse(body).render(values, 0.0) == values["name"]


@pytest.mark.parametrize(
    "text",
    [
        *HOSTILE,
        "stop" + " " * LONG,
        "s" * LONG,
        "+" * LONG,
        "1 " * LONG,
        "(" * LONG,
        "=" * LONG,
        "1" * LONG,
        "a@" * LONG,
    ],
)
def test_s10_no_text_takes_long_to_be_read(text: str) -> None:
    began = time.process_time()
    assert consent.is_stop_word(text) is (text.strip() == "stop")
    for read in (lambda: phone.parse_phone(text, "MY"), lambda: lead.parse_niches(text)):
        with contextlib.suppress(InvalidInput):
            read()
    formulas.unguarded(formulas.guarded(text))
    redact(None, "info", {"detail": text})
    assert time.process_time() - began < 1.0
