"""The client and the description of the API say the same: no operation, filter or field is missing in either."""

import ast
import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints, is_typeddict

import pytest
from fastapi import FastAPI

import fleetcast.client
from fleetcast.api.app import create_api
from fleetcast.runtime import Runtime

SOURCE = Path(fleetcast.client.__file__).parent

PERSONS = "about the person who is signed in; no key may ask it"
NOT_CALLED = {
    "PATCH /me": PERSONS,
    "POST /me/password": PERSONS,
    "GET /me/sessions": PERSONS,
    "DELETE /me/sessions": PERSONS,
    "DELETE /me/sessions/{session_id}": PERSONS,
    "POST /me/second-factor": PERSONS,
    "POST /me/second-factor/confirm": PERSONS,
    "POST /me/second-factor/recovery-codes": PERSONS,
    "POST /me/second-factor/off": PERSONS,
    "GET /workspaces": PERSONS,
    "POST /workspaces": PERSONS,
    "GET /installation": PERSONS,
    "POST /installation/senders/{sender}/drain": PERSONS,
    "POST /installation/senders/{sender}/resume": PERSONS,
}
"""Operations without a method, and why."""
NOT_READ = {"Me": {"person", "recovery_codes_left", "workspaces"}}
"""Fields that the client leaves out: they are about a person, and a key asks."""
GENERIC = {"Page", "FieldError"}
"""Not a component by itself, or read by its own rules."""
CHANGES = {
    "Setting": "NewCampaign",
    "Change": "CampaignChange",
    "LeadFields": "LeadChange",
    "Said": "ConsentChange",
    "StoredSequence": "Sequence",
    "SequenceSetting": "NewSequence",
    "StepSetting": "StepChange",
}
"""What is called otherwise in the client."""
BY_ITSELF = {"Setting": {"title", "body"}, "SequenceSetting": {"name"}, "StepSetting": {"body"}}
"""What a method that makes something takes by itself, and not with the settings."""


@dataclass
class Call:
    """One place in the client where something is asked."""

    where: str
    query: set[str] = field(default_factory=set)
    content: set[str] | None = None
    """Names of its JSON, where they are written out."""


def constants(node: ast.expr | None) -> set[str]:
    """Keys of a dict that is written out."""
    keys = node.keys if isinstance(node, ast.Dict) else []
    return {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}


def calls() -> Iterator[tuple[str, Call]]:
    """`GET /devices` and how it is asked, for every call in the client's source."""
    for path in sorted(SOURCE.glob("*.py")):
        for method in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from calls_of(f"{path.stem}.{method.name}", method)


def calls_of(where: str, method: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, Call]]:
    """The calls of one method."""
    named = {
        target.id: node.value
        for node in ast.walk(method)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def written(node: ast.expr | None) -> ast.expr | None:
        return named.get(node.id) if isinstance(node, ast.Name) else node

    for node in ast.walk(method):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        given = {keyword.arg: written(keyword.value) for keyword in node.keywords}
        if name == "ask" and len(texts) == 2:
            content = written(given.get("content"))
            keys = constants(content) if isinstance(content, ast.Dict) and None not in content.keys else None
            yield f"{texts[0]} /{texts[1]}", Call(where, constants(given.get("query")), keys)
        elif name == "save" and texts:
            yield f"GET /{texts[0]}", Call(where, constants(given.get("query")))
        elif name == "Pages":
            yield f"GET /{texts[0]}", Call(where, constants(written(node.args[3])) | {"after"})


@pytest.fixture
def description(runtime: Runtime) -> dict[str, Any]:
    api: FastAPI = create_api(runtime)
    return api.openapi()


def operations(description: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every operation by `GET /devices`."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    }


def test_every_operation_has_a_method_or_a_reason_why_not(description: dict[str, Any]) -> None:
    asked, described = {name for name, _ in calls()}, set(operations(description))
    assert asked - described == set(), "the client asks what there is not"
    assert described - asked - set(NOT_CALLED) == set(), "an operation without a method: add it to the client"
    assert set(NOT_CALLED) & asked == set()
    assert set(NOT_CALLED) <= described


def test_every_filter_can_be_given_and_none_is_made_up(description: dict[str, Any]) -> None:
    described = operations(description)
    for name, call in calls():
        known = {p["name"] for p in described[name].get("parameters", ()) if p["in"] == "query"}
        assert call.query == known, f"{call.where}: {name}"


def component(description: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema, or what it points at; where it may be null, what it is else."""
    if "anyOf" in schema:
        [schema] = [s for s in schema["anyOf"] if s.get("type") != "null"]
    if "$ref" in schema:
        found: dict[str, Any] = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema


def test_every_field_that_can_be_sent_is_sent_or_given(description: dict[str, Any]) -> None:
    described = operations(description)
    for name, call in calls():
        if call.content is not None:
            body = described[name]["requestBody"]["content"]["application/json"]["schema"]
            assert call.content == set(component(description, body)["properties"]), f"{call.where}: {name}"


def classes() -> Iterator[type]:
    """Every dataclass and typed dict of the client that is part of an answer or a request."""
    for module in pkgutil.iter_modules([str(SOURCE)]):
        names = vars(importlib.import_module(f"fleetcast.client.{module.name}"))
        for each in names.values():
            own = isinstance(each, type) and each.__module__ == f"fleetcast.client.{module.name}"
            if own and not each.__name__.startswith("_") and (dataclasses.is_dataclass(each) or is_typeddict(each)):
                yield each


INTERNAL = {"Upload"}


def test_every_field_of_an_answer_or_a_change_is_known_and_may_be_null_where_it_may(
    description: dict[str, Any],
) -> None:
    schemas = description["components"]["schemas"]
    wrong, seen = [], 0
    for each in classes():
        if each.__name__ in GENERIC | INTERNAL:
            continue
        name = CHANGES.get(each.__name__, each.__name__)
        if name not in schemas:
            wrong.append(f"{each.__name__} is no component of the description")
            continue
        properties, hints = schemas[name]["properties"], get_type_hints(each)
        left_out = NOT_READ.get(name, set()) | BY_ITSELF.get(each.__name__, set())
        wrong += [f"{each.__name__}.{f} is on one side only" for f in set(hints) ^ (set(properties) - left_out)]
        for known in set(hints) & set(properties):
            may_be_null = any(s.get("type") == "null" for s in properties[known].get("anyOf", ()))
            given = NoneType in get_args(hints[known])
            # What is sent may say less: where null only means that nothing is said, leaving it out says so too.
            if given != may_be_null and not (is_typeddict(each) and may_be_null):
                wrong.append(f"{each.__name__}.{known} may {'' if may_be_null else 'not '}be null")
        seen += 1
    assert wrong == []
    assert seen > 30
