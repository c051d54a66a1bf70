"""The rules of the code that a reader cannot see in one file: who imports whom, who reads the clock, who speaks SQL.

Each rule is tried on this source and, where a mistake would otherwise pass unseen, on a wrong copy of it.
"""

import ast
import contextlib
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from fleetcast.store.connection import Database

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "fleetcast"

SQL = re.compile(r"\s*(--[^\n]*\n\s*)*(WITH|SELECT|INSERT|UPDATE|DELETE|MERGE)\s", re.IGNORECASE)


def modules(*parts: str) -> Iterator[tuple[str, ast.Module]]:
    """Path below src/fleetcast and syntax tree of each module."""
    for path in sorted(SOURCE.joinpath(*parts).rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), parsed(path)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def docstrings(tree: ast.AST) -> set[int]:
    """Ids of the constants that are prose: a string that stands alone."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every string that is not prose; an f-string in one piece, its holes as `{name}`."""
    prose = docstrings(tree)
    parts = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            pieces = (
                str(v.value) if isinstance(v, ast.Constant) else f"{{{dotted(v.value)}}}"  # type: ignore[attr-defined]
                for v in node.values
            )
            yield node.lineno, "".join(pieces)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose | parts:
            yield node.lineno, node.value


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or attribute; calls in between as `()`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "()"


# --- imports ---------------------------------------------------------------------------------------------------------

WRONG_IMPORTS = {
    "domain/message.py": "import fleetcast.store.connection\nimport pydantic\nimport cryptography",
    "transports/linked/client.py": "import fleetcast.transports.linked.library\nimport neonize",
    "queue/keys.py": "import fleetcast.transports\nimport asyncpg\nimport httpx2\nimport PIL\nimport phonenumbers\n"
    "import pyotp\nimport av",
    "services/recording_reader.py": "import fleetcast.errors",
    "engine/__init__.py": "import fleetcast.web\nimport redis\nimport fastapi\nimport rich\nimport liquid\n"
    "import prometheus_client",
    "transports/base.py": "import fleetcast.transports.simulator",
    "novelty.py": '"""A module without a layer."""',
}
WRONG_IN_TESTBED = {
    "whatsapp_web/jids.py": "import fleetcast.clock\nimport testbed.whatsapp_web.server\nimport pyaileys",
}
"""One step in each wrong direction; together they break every contract."""


def lint_imports(path: Path, beside: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Judge the source below `path`, and the testbed in `beside`, by the contracts in pyproject.toml."""
    program = Path(sys.executable).with_name("lint-imports")
    command = [str(program), "--no-cache", "--config", str(ROOT / "pyproject.toml")]
    environment = os.environ | {"PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "300"}
    return subprocess.run(
        command, cwd=beside, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_imports_go_down_only_and_libraries_stay_where_they_belong() -> None:
    result = lint_imports(ROOT / "src")
    assert result.returncode == 0, result.stdout
    assert " BROKEN" not in result.stdout


def test_a_wrong_import_breaks_its_contract(tmp_path: Path) -> None:
    for package, wrong in ((SOURCE, WRONG_IMPORTS), (ROOT / "testbed", WRONG_IN_TESTBED)):
        copy = tmp_path / package.name
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for name, line in wrong.items():
            path = copy / name
            path.write_text((path.read_text() if path.exists() else "") + f"\n{line}\n")
    result = lint_imports(tmp_path, beside=tmp_path)
    assert result.returncode == 1
    verdicts = re.findall(r"^(.+?) (KEPT|BROKEN)$", result.stdout, re.MULTILINE)
    assert len(verdicts) >= 12
    assert [name for name, verdict in verdicts if verdict == "KEPT"] == []
    assert "novelty" in result.stdout


# --- time and chance -------------------------------------------------------------------------------------------------

WALL_CLOCK = frozenset({"time", "time_ns", "localtime", "gmtime"})
"""Of the module `time`. Differences of the monotonic clock bound waits and may be read where the wait is."""


def test_python_reads_the_wall_clock_in_one_module() -> None:
    found = set()
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                owner = dotted(node.value)
                today = node.attr in {"now", "utcnow", "today"} and owner.split(".")[-1] in {"datetime", "date"}
                if today or (owner == "time" and node.attr in WALL_CLOCK):
                    found.add(name)
            elif isinstance(node, ast.ImportFrom) and node.module == "time":
                found |= {name for alias in node.names if alias.name in WALL_CLOCK}
    assert found == {"clock.py"}, "take a Clock instead"


def test_chance_is_an_argument() -> None:
    found = set()
    for name, tree in modules():
        nodes = list(ast.walk(tree))
        imported = any(a.name == "random" for node in nodes if isinstance(node, ast.Import) for a in node.names)
        for node in nodes:
            if isinstance(node, ast.Attribute) and imported and dotted(node.value) == "random":
                words = {node.attr}
            elif isinstance(node, ast.ImportFrom) and node.module == "random":
                words = {alias.name for alias in node.names}
            else:
                continue
            found |= {f"{name}:{node.lineno} {word}" for word in words - {"Random", "SystemRandom"}}
    assert found == set(), "take a random.Random instead, so that a test can seed it"


IMPURE = frozenset(
    {
        "asyncio",
        "http",
        "logging",
        "os",
        "random",
        "secrets",
        "socket",
        "structlog",
        "subprocess",
        "tempfile",
        "threading",
        "time",
    }
)


def test_the_domain_touches_nothing_outside() -> None:
    found = []
    for name, tree in modules("domain"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found += [f"{name}: {a.name}" for a in node.names if a.name.split(".")[0] in IMPURE]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in IMPURE:
                found += [f"{name}: {node.module}.{a.name}" for a in node.names if a.name != "Random"]
    assert found == []


SQL_CLOCK = re.compile(
    r"(?<![\w.])(now\(\)|(clock|statement|transaction)_timestamp\(\)|current_(timestamp|date|time)\b|localtime)",
    re.IGNORECASE,
)


def test_sql_reads_the_time_in_one_function() -> None:
    found = [
        f"{name} {match[0]}"
        for name, tree in modules("store")
        for _, text in texts(tree)
        for match in SQL_CLOCK.finditer(text)
    ]
    assert found == ["store/migrations/versions/v0001_foundation.py statement_timestamp()"]  # fleetcast_now() itself


# --- who may do what -------------------------------------------------------------------------------------------------

TASK_OWNERS = {
    "cli/up.py": "the progress of the demo beside the wait for the stop",
    "engine/supervisor.py": "the loops of a process",
    "engine/inbox.py": "the wait for the next batch beside the wait for the stop, ended with the loop",
    "engine/sender.py": "the attempts under way, drained at the end",
    "engine/waiting.py": "two waits, both ended before it returns",
    "transports/linked/child.py": "what its parent asked for, each ended with the process",
    "transports/linked/fleet.py": "the children of a transport and what is done about them, ended with it",
    "transports/linked/sending.py": "a call of the library that may outlive its message, and an upload",
    "transports/simulator/client.py": "the reader of its connection, and the wait for one answer",
    "web/app.py": "the wait for the stop, ended with the server",
}
"""Modules that make tasks outside a TaskGroup, and which. Each is named, kept and ended where it is made."""


BARE_TASKS = ("asyncio.create_task", "loop.create_task", "().create_task", "ensure_future")


def test_every_task_has_a_name_and_an_owner() -> None:
    found = []
    for name, tree in modules():
        dropped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = dotted(node.func)
            if not (called == "create_task" or called.endswith(BARE_TASKS)):
                continue  # a TaskGroup's tasks end with the group
            unowned = name not in TASK_OWNERS or id(node) in dropped
            unnamed = called.endswith("create_task") and "name" not in {keyword.arg for keyword in node.keywords}
            if unowned or unnamed:
                found.append(f"{name}:{node.lineno} {called}")
    assert found == []


def test_keys_in_redis_are_spelt_in_one_module() -> None:
    found = [
        f"{name}:{line} {text!r}"
        for name, tree in modules()
        if name != "queue/keys.py"
        for line, text in texts(tree)
        if re.match(r"(fleetcast|\{[\w.]*prefix\}):", text)
    ]
    assert found == [], "build it in queue/keys.py, with type and lifetime"


STATUS_WRITERS = frozenset({"store/transitions.py", "store/transition_statements.py", "store/ending_statements.py"})
SETS_STATUS = re.compile(r"UPDATE\s+broadcast_messages\b.*?\bSET\b((?!\b(?:FROM|WHERE)\b).)*?\bstatus\s*=", re.DOTALL)


def test_one_module_changes_the_status_of_messages() -> None:
    writers = {name for name, tree in modules() for _, text in texts(tree) if SETS_STATUS.search(text)}
    assert writers
    assert writers <= STATUS_WRITERS


def test_sql_is_written_in_the_store_only() -> None:
    statement = re.compile(r"\s*(WITH \w+ AS|SELECT\s.+\sFROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM)\s", re.DOTALL)
    found = [
        f"{name}:{line}"
        for name, tree in modules()
        if not name.startswith("store/")
        for line, text in texts(tree)
        if statement.match(text)
    ]
    assert found == []


OUTLASTS_ITS_TRANSACTION = re.compile(
    r"SET (?!LOCAL )(SESSION )?[\w.{}]+ ?(=|TO) ?('[^']*'|[\w.{}]+)$|.*\bset_config\(.*, false\)|LISTEN |PREPARE "
    r"|DECLARE .* WITH HOLD|(?!.* ON COMMIT DROP)CREATE (LOCAL )?TEMP(ORARY)? |.*\bpg_(try_)?advisory_lock(_shared)?\("
)
OWN_CONNECTIONS = frozenset({"store/connection.py", "store/lead_imports.py", "store/lead_merge.py", "store/upgrade.py"})
"""Have connections of their own (`Database.dedicated`) for what they set, lock or make until they close them."""


def test_what_is_set_or_locked_on_a_connection_of_the_pool_ends_with_the_transaction() -> None:
    """The pool gives connections on as they come back, without asking the server to undo anything."""
    found = {
        f"{name}:{line} {text!r}"
        for name, tree in modules()
        for line, text in texts(tree)
        if any(OUTLASTS_ITS_TRANSACTION.match(each.strip()) for each in text.split(";"))
    }
    assert {where.split(":")[0] for where in found} == OWN_CONNECTIONS, found


# --- statements and schema -------------------------------------------------------------------------------------------

ALEMBICS = frozenset({"store/upgrade.py"})
"""Speaks SQLAlchemy's dialect of parameters, and is run by every test that has a database."""


def values(value: object) -> Iterator[str]:
    """Strings in a value of a module: itself, or what a mapping or sequence holds."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from values(each)
    elif isinstance(value, tuple | list | set | frozenset):
        for each in value:
            yield from values(each)


def fragments(tree: ast.AST) -> set[str]:
    """Names that stand in holes of f-strings: parts of statements, judged with the whole."""
    holes = (node.value for node in ast.walk(tree) if isinstance(node, ast.FormattedValue))
    return {name.id for hole in holes for name in ast.walk(hole) if isinstance(name, ast.Name)}


RUNS_SQL = frozenset({"fetch", "fetchrow", "fetchval", "execute", "executemany", "cursor"})


def statements() -> dict[str, str]:
    """Every statement of the store: constants as their modules have built them, and texts written at the call.

    A text at a call that depends on the call's arguments cannot be judged here; tests of its module run it.
    """
    found = {}
    for name, tree in modules("store"):
        if name in ALEMBICS or "migrations" in name:
            continue
        names = vars(importlib.import_module(f"fleetcast.{name.removesuffix('.py').replace('/', '.')}"))
        parts = fragments(tree)
        for constant, value in names.items():
            if re.fullmatch(r"_?[A-Z][A-Z0-9_]*", constant) and constant not in parts:
                for i, text in enumerate(values(value)):
                    found[f"{name} {constant}[{i}]"] = text
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] in RUNS_SQL and node.args:
                with contextlib.suppress(NameError):
                    text = eval(compile(ast.Expression(node.args[0]), name, "eval"), dict(names))
                    found[f"{name}:{node.lineno}"] = text if isinstance(text, str) else ""
    return {where: text for where, text in found.items() if SQL.match(text)}


def temporary_tables() -> list[str]:
    """Statements that make tables which others of the same connection use."""
    texts_of_store = (text for _, tree in modules("store") for _, text in texts(tree))
    return [text for text in texts_of_store if text.strip().startswith("CREATE TEMPORARY TABLE")]


async def misfits(db: Database, every: dict[str, str]) -> dict[str, str]:
    """What the server says about the statements that it cannot prepare."""
    wrong = {}
    async with db.connection() as connection:
        for statement in temporary_tables():
            await connection.execute(statement)
        for where, statement in every.items():
            try:
                await connection.prepare(statement)
            except Exception as error:
                wrong[where] = f"{type(error).__name__}: {error}"
    return wrong


async def test_f41_every_statement_fits_the_schema(db: Database) -> None:
    every = statements()
    assert len(every) > 100
    assert await misfits(db, every) == {}


async def test_f41_a_statement_that_does_not_fit_is_named(db: Database) -> None:
    wrong = await misfits(db, {"good": "SELECT starts_at FROM campaigns", "bad": "SELECT schedule_time FROM campaigns"})
    assert list(wrong) == ["bad"]
    assert "schedule_time" in wrong["bad"]
