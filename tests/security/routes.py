"""Every way into the application: each route and method, found by walking the application itself.

Nothing is named here, so a route that is new is walked without anybody remembering to add it. What a route of the API
needs stands in its rule; a page either asks who is there or is named in `PUBLIC`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from fleetcast.api.guard import Rule
from fleetcast.web.door import PUBLIC

Schema = Mapping[str, Any]

STREAMS = frozenset({"/events"})
"""Pages that never end once they are let in."""


@dataclass(frozen=True, slots=True)
class Way:
    """One method of one route."""

    method: str
    path: str
    """From the root, with names in braces."""
    name: str
    rule: Rule | None
    """None for a page, and for a route of the API that was made without one."""
    is_api: bool
    described: Schema
    """Its operation in the description; empty where it is in none."""
    components: Schema
    """What the description's references point to, by name."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_open(self) -> bool:
        """Whether it asks nobody who they are."""
        return not self.is_api and self.path in PUBLIC

    @property
    def changes(self) -> bool:
        """Whether it may change something."""
        return self.method not in {"GET", "HEAD", "OPTIONS"}

    @property
    def holes(self) -> list[str]:
        """The parameters in its path."""
        return re.findall(r"{(\w+)(?::\w+)?}", self.path)

    @property
    def query(self) -> dict[str, tuple[bool, Schema]]:
        """Its parameters behind the question mark: whether each must be given, and what it takes."""
        return {
            p["name"]: (bool(p.get("required")), self.resolved(p["schema"]))
            for p in self.described.get("parameters", ())
            if p["in"] == "query"
        }

    @property
    def bodies(self) -> dict[str, Schema]:
        """Media type → what its content looks like."""
        content: Schema = self.described.get("requestBody", {}).get("content", {})
        return {kind: told.get("schema", {}) for kind, told in content.items()}

    @property
    def is_list(self) -> bool:
        """Whether it answers with a page of a list."""
        answers = self.described.get("responses", {}).get("200", {}).get("content", {})
        schema = self.resolved(answers.get("application/json", {}).get("schema", {}))
        return {"items", "next"} <= set(schema.get("properties", ()))

    def resolved(self, schema: Schema) -> Schema:
        """What a reference points to; the one choice that is not null."""
        while True:
            if "$ref" in schema:
                schema = self.components[schema["$ref"].rsplit("/", 1)[-1]] | {
                    k: v for k, v in schema.items() if k != "$ref"
                }
            elif choices := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
                rest = {k: v for k, v in schema.items() if k not in {"anyOf", "oneOf", "allOf"}}
                chosen: dict[str, Any] = next((c for c in choices if c.get("type") != "null"), {})
                schema = dict(chosen) | rest
            else:
                return schema


def ways(app: FastAPI, prefix: str = "") -> list[Way]:
    """All ways of an application and of those that are mounted in it, by path."""
    told = app.openapi()
    components = told.get("components", {}).get("schemas", {})
    found = []
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, Mount) and isinstance(route.app, FastAPI):
            found += ways(route.app, prefix + route.path)
        if not isinstance(route, APIRoute):
            continue
        assert context.path is not None
        for method in sorted(route.methods or ()):
            found.append(
                Way(
                    method,
                    prefix + (context.path_format or ""),
                    route.name,
                    getattr(route, "rule", None),
                    bool(prefix),
                    told["paths"].get(context.path_format, {}).get(method.lower(), {}),
                    components,
                )
            )
    return sorted(found, key=lambda way: (way.path, way.method))


def other_routes(app: FastAPI, prefix: str = "") -> Iterator[tuple[str, object]]:
    """What is reached without being a way: folders of files that are open to all, and whatever should not be there."""
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, Mount) and isinstance(route.app, FastAPI):
            yield from other_routes(route.app, prefix + route.path)
        elif isinstance(route, Mount) and isinstance(route.app, StaticFiles):
            yield prefix + route.path, StaticFiles
        elif not isinstance(route, APIRoute):
            yield prefix + str(context.path), type(route)
