"""Requests made up for a way: its path, its parameters and its content filled with the things of one workspace.

What the description shows as an example is taken; what has none stands in a table here. Whoever adds a route learns
from the failure which of the two is missing.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.security.routes import Schema, Way
from tests.security.seeding import PASSWORD, Ids, Tenant, picture

Content = dict[str, Any]
"""Arguments of a client's `request` that carry content: json, data, files, content."""
Place = tuple[str | int, ...]
"""Where in a JSON value something stands."""

ALIASES: Mapping[str, str] = {
    "devices": "device_name",
    "media": "sha256",
    "messages": "message_id",
    "before_step_id": "step_id",
}
"""Names under which fields point at things, besides those of paths."""

BODIES: Mapping[str, Callable[[Tenant], Content]] = {
    "POST /sign-in": lambda t: {"data": {"email": t.owner.email, "password": "not theirs at all"}},
    "POST /sign-in/code": lambda t: {"data": {"code": "123456"}},
    "POST /sign-out": lambda t: {},
    "POST /invitations/{token}": lambda t: {"data": {"name": "Ann", "password": "a green bicycle"}},
    "POST /campaigns/new": lambda t: {"data": a_campaign(t)},
    "POST /campaigns/look": lambda t: {"data": a_campaign(t)},
    "POST /campaigns/{campaign_id}/edit": lambda t: {"data": a_campaign(t)},
    "POST /campaigns/{campaign_id}/move": lambda t: {"data": {"to": "2031-12-24"}},
    "POST /campaigns/{campaign_id}/test": lambda t: {
        "data": {"to": f"{t.number}778", "device": str(t.ids["device_id"])}
    },
    "POST /devices": lambda t: {"data": {"name": f"{t.mark} third", "min_delay": "10", "max_delay": "30"}},
    "POST /devices/actions/{action}": lambda t: {"data": {"device": str(t.ids["device_id"])}},
    "POST /devices/{device_id}/pair": lambda t: {"data": {"how": "qr"}},
    "POST /devices/{device_id}/test": lambda t: {"data": {"to": f"{t.number}778", "text": f"{t.mark} text"}},
    "POST /devices/{device_id}/proxy": lambda t: {"data": {"proxy": f"http://proxy.{t.mark}.example:8080"}},
    "POST /devices/{device_id}/pace": lambda t: {"data": {"min_delay": "20", "max_delay": "40"}},
    "POST /devices/bulk": lambda t: {"data": {"device": str(t.ids["device_id"]), "action": "pause"}},
    "POST /devices/bulk/start": lambda t: {
        "data": {"device": str(t.ids["device_id"]), "action": "pause", "confirmed": "1"}
    },
    "POST /leads/bulk": lambda t: {"data": {"lead": str(t.ids["lead_id"]), "action": "forget"}},
    "POST /leads/bulk/start": lambda t: {
        "data": {"lead": str(t.ids["lead_id"]), "action": "add_niche", "new_niche": f"{t.mark} new", "confirmed": "1"}
    },
    "POST /leads/{lead_id}": lambda t: {"data": {"name": f"{t.mark} again"}},
    "POST /leads/{lead_id}/write": lambda t: {"data": {"text": f"{t.mark} text"}},
    "POST /leads/{lead_id}/consent": lambda t: {"data": {"said": "refused", "source": "on the telephone"}},
    "POST /me/name": lambda t: {"data": {"name": "Ann"}},
    "POST /me/password": lambda t: {"data": {"password": PASSWORD, "new_password": "a purple kettle upstairs"}},
    "POST /me/second-factor": lambda t: {"data": {"password": PASSWORD}},
    "POST /me/second-factor/confirm": lambda t: {"data": {"code": "123456"}},
    "POST /me/second-factor/off": lambda t: {"data": {"password": PASSWORD, "code": "123456"}},
    "POST /me/second-factor/recovery-codes": lambda t: {"data": {"password": PASSWORD, "code": "123456"}},
    "POST /messages/in-doubt/{decision}": lambda t: {"data": {"message": str(t.ids["message_id"])}},
    "POST /sequences/new": lambda t: {"data": a_sequence(t)},
    "POST /sequences/look": lambda t: {"data": a_sequence(t)},
    "POST /sequences/{sequence_id}/edit": lambda t: {"data": a_sequence(t)},
    "POST /sequences/{sequence_id}/steps/new": lambda t: {"data": a_step(t)},
    "POST /sequences/{sequence_id}/steps/look": lambda t: {"data": a_step(t)},
    "POST /sequences/{sequence_id}/steps/{step_id}": lambda t: {"data": a_step(t)},
    "POST /sequences/{sequence_id}/enrolments": lambda t: {"data": {"lead": str(t.ids["lead_id"])}},
    "POST /sequences/{sequence_id}/enrolments/stop": lambda t: {"data": {"enrolment": str(t.ids["enrolment_id"])}},
    "POST /settings": lambda t: {"data": {"name": f"{t.mark} again", "time_zone": "Asia/Tokyo", "region": "JP"}},
    "POST /settings/keys": lambda t: {"data": {"name": f"{t.mark} new", "scope": "read"}},
    "POST /settings/members": lambda t: {"data": {"email": f"{t.mark}-2@example.org", "role": "viewer"}},
    "POST /settings/members/{user_id}/role": lambda t: {"data": {"role": "viewer"}},
    "POST /settings/suppressions": lambda t: {"data": {"number": f"{t.number}901"}},
    "POST /settings/suppressions/lift": lambda t: {"data": {"number": str(t.ids["number"])}},
    "PATCH /api/v1/campaigns/{campaign_id}": lambda t: {"json": {"title": f"{t.mark} again"}},
    "PATCH /api/v1/leads/{lead_id}": lambda t: {"json": {"name": f"{t.mark} again"}},
    "PATCH /api/v1/workspace": lambda t: {"json": {"name": f"{t.mark} again"}},
    "POST /api/v1/devices/{device_id}/proxy": lambda t: {"json": {"address": "http://proxy.example:8080"}},
    "PATCH /api/v1/sequences/{sequence_id}": lambda t: {"json": {"name": f"{t.mark} again"}},
    "PATCH /api/v1/sequences/{sequence_id}/steps/{step_id}": lambda t: {"json": {"body": f"{t.mark} again"}},
    "POST /api/v1/sequences/{sequence_id}/steps": lambda t: {
        "json": {"day": 9, "time": "09:00", "body": f"{t.mark} new"}
    },
    "POST /api/v1/sequences/{sequence_id}/enrolments": lambda t: {"json": {"lead_ids": [t.ids["lead_id"]]}},
    "POST /api/v1/devices/{device_id}/lead-imports": lambda t: a_file(t),
    "POST /api/v1/devices/{device_id}/lead-imports/check": lambda t: a_file(t),
    "POST /api/v1/devices/{device_id}/lead-imports/preview": lambda t: a_file(t),
    "POST /api/v1/me/password": lambda t: {"json": {"password": PASSWORD, "new_password": "a purple kettle upstairs"}},
    "POST /api/v1/me/second-factor": lambda t: {"json": {"password": PASSWORD}},
    "POST /api/v1/me/second-factor/off": lambda t: {"json": {"password": PASSWORD, "code": "123456"}},
    "POST /api/v1/me/second-factor/recovery-codes": lambda t: {"json": {"password": PASSWORD, "code": "123456"}},
    "POST /api/v1/media": lambda t: {"content": picture(9), "headers": {"Content-Type": "image/png"}},
    "POST /api/v1/media/from": lambda t: {"json": {"data_url": data_url()}},
    "POST /api/v1/messages": lambda t: {
        "json": {"device_id": t.ids["device_id"], "to": f"{t.number}777", "text": f"{t.mark} text"}
    },
}
"""Content of ways whose description does not show any that would be accepted. By method and path."""


INSTEAD: Mapping[str, Mapping[str, str]] = {
    "POST /campaigns/{campaign_id}/edit": {"campaign_id": "draft_id"},
    "POST /campaigns/{campaign_id}/move": {"campaign_id": "draft_id"},
    "PATCH /api/v1/campaigns/{campaign_id}": {"campaign_id": "draft_id"},
    "POST /api/v1/campaigns/{campaign_id}/launch": {"campaign_id": "draft_id"},
    "POST /api/v1/campaigns/{campaign_id}/retry-unconfirmed": {"messages": "unconfirmed_id"},
    "POST /api/v1/sequences/{sequence_id}/activate": {"sequence_id": "idle_id"},
}
"""Ways that need a thing in another state than most do: parameter or field → the id of one."""


CHOICES: Mapping[str, str] = {
    "phase": "linked",
    "action": "pause",
    "decision": "arrived",
    "move": "earlier",
    "process": "north:412:9ac1",
    "sender": "north:412:9ac1",
    "wish": "drain",
}
"""Parameters of paths that are words and name nothing, or nothing that a workspace has."""


def a_campaign(tenant: Tenant) -> dict[str, str]:
    """What the form of a campaign sends."""
    return {"title": f"{tenant.mark} new", "body": f"{tenant.mark} text", "deadline": "7d"}


def a_sequence(tenant: Tenant) -> dict[str, str]:
    """What the form of a sequence sends."""
    return {"name": f"{tenant.mark} new", "late_by": "12h"}


def a_step(tenant: Tenant) -> dict[str, str]:
    """What the form of a step sends."""
    return {"how": "at", "day": "9", "time": "09:00", "body": f"{tenant.mark} text"}


def a_file(tenant: Tenant) -> Content:
    """Leads as a file."""
    return {"content": f"phone,name\n{tenant.number}701,{tenant.mark} new\n", "headers": {"Content-Type": "text/csv"}}


def data_url() -> str:
    """A medium within an address."""
    return "data:image/png;base64," + base64.b64encode(picture(8)).decode()


WORDS: Mapping[str, Callable[[Tenant], str]] = {
    "key": lambda t: "city",
    "of": lambda t: str(t.ids["device_name"]),
    "out": lambda t: "no",
    "standing": lambda t: "prospect",
    "things": lambda t: "leads",
    "value": lambda t: f"{t.mark} first city",
    "view": lambda t: "cards",
    "action": lambda t: "tests.seed",
    "actor": lambda t: f"user:{t.owner.email}",
    "campaign": lambda t: str(t.ids["campaign_id"]),
    "consent": lambda t: "unknown",
    "device": lambda t: str(t.ids["device_id"]),
    "earlier": lambda t: "1",
    "from": lambda t: "2031-12-24T18:30",
    "month": lambda t: "2031-12",
    "niche": lambda t: f"{t.mark} first niche",
    "number": lambda t: str(t.ids["number"]),
    "phase": lambda t: "code",
    "phone": lambda t: f"{t.number}101",
    "q": lambda t: t.mark,
    "reason": lambda t: "unconfirmed",
    "recipient": lambda t: f"{t.number}101",
    "state": lambda t: "online",
    "stop_reason": lambda t: "replied",
    "confirmed": lambda t: "100000",
    "status": lambda t: "running",
    "step": lambda t: str(t.ids["step_id"]),
    "test": lambda t: str(t.ids["message_id"]),
    "to": lambda t: f"{t.number}101",
}
"""Words to look for: what a filter by text is asked for, so that it would find something of that workspace."""

UNLISTED = frozenset({"limit", "after", "before", "next", "choose"})
"""Parameters that choose a place in a list, not what is in it."""


class Unknown(Exception):
    """A request cannot be made up; says what to add and where."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a way."""

    way: Way
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    content: Content = field(default_factory=dict)

    async def send(self, client: httpx2.AsyncClient, **headers: str) -> httpx2.Response:
        """Ask it."""
        own = {name: given for name, given in self.content.items() if name != "headers"}
        return await client.request(
            self.way.method,
            self.path,
            params=dict(self.query),
            headers=headers | self.content.get("headers", {}),
            follow_redirects=False,
            **own,
        )


def key_of(name: str) -> str | None:
    """Of which id a parameter or field is, by its name; None: of none."""
    if name in ALIASES:
        return ALIASES[name]
    single = name.removesuffix("s") if name.endswith("_ids") else name.removeprefix("media_")
    return single if single.endswith("_id") or single in {"sha256", "workspace"} else None


def id_of(way: Way, name: str, ids: Ids) -> int | str:
    """The id that a parameter or field of this name takes. Raises Unknown."""
    if name in CHOICES:
        return CHOICES[name]
    key = INSTEAD.get(str(way), {}).get(name) or key_of(name) or name
    if key not in ids:
        raise Unknown(f"{way}: nothing is seeded for '{name}'. Add it to `ids` in tests/security/seeding.py.")
    return ids[key]


def request(way: Way, tenant: Tenant, ids: Ids | None = None, *, path_ids: Ids | None = None) -> Request:
    """What a person of this workspace may ask. `path_ids`: other things in the path. Raises Unknown."""
    ids = ids or tenant.ids
    path = way.path
    for hole in way.holes:
        path = path.replace(f"{{{hole}}}", str(id_of(way, hole, path_ids or ids)))
    needed = {n: str(id_of(way, n, ids)) for n, (required, _) in way.query.items() if required}
    if "workspace" in way.query:
        needed["workspace"] = str(tenant.workspace)
    return Request(way, path, needed, content(way, tenant, ids))


def content(way: Way, tenant: Tenant, ids: Ids) -> Content:
    """What it sends. Raises Unknown."""
    if str(way) in BODIES:
        return BODIES[str(way)](tenant)
    if not way.bodies:
        return {}
    if "application/json" in way.bodies:
        told = way.described["requestBody"]["content"]["application/json"]
        examples = [e["value"] for e in told.get("examples", {}).values()] + [
            told[k] for k in ("example",) if k in told
        ]
        if examples:
            return {"json": with_ids(examples[0], lambda name: id_of(way, name, ids))}
        return {"json": value(way, told["schema"], ids)}
    for kind, name in (("application/x-www-form-urlencoded", "data"), ("multipart/form-data", "data")):
        if kind in way.bodies:
            return {name: value(way, way.bodies[kind], ids)}
    raise Unknown(f"{way}: takes {', '.join(way.bodies)}. Add what it is sent to `BODIES` in tests/security/asking.py.")


def value(way: Way, schema: Schema, ids: Ids, name: str = "") -> Any:
    """Something that fits a part of the description. Raises Unknown."""
    full = way.resolved(schema)
    if key_of(name) in ids:
        found = id_of(way, name, ids)
        return [found] if full.get("type") == "array" else found
    for word in ("examples", "enum"):
        if full.get(word):
            return with_ids(full[word][0], lambda n: id_of(way, n, ids))
    for word in ("example", "const", "default"):
        if word in full:
            return full[word]
    kind = full.get("type")
    if kind == "object" or "properties" in full:
        parts = full.get("properties", {})
        return {n: value(way, parts[n], ids, n) for n in full.get("required", ())}
    if kind == "array":
        return [value(way, full["items"], ids, name)]
    if kind == "boolean":
        return True
    raise Unknown(
        f"{way}: its content has no example for '{name}'. Give the field `examples=[…]`, or add what the route is sent "
        "to `BODIES` in tests/security/asking.py."
    )


def with_ids(example: Any, find: Callable[[str], int | str], name: str = "") -> Any:
    """An example with real ids in place of those that it shows."""
    if isinstance(example, dict):
        return {n: with_ids(v, find, n) for n, v in example.items()}
    if isinstance(example, list):
        return [with_ids(v, find, name) for v in example]
    return find(name) if key_of(name) and isinstance(example, int | str) and example != "all" else example


@dataclass(frozen=True, slots=True)
class IdField:
    """A field of a content that points at something."""

    name: str
    place: Place
    several: bool


def id_fields(way: Way) -> Iterator[IdField]:
    """All of them, those that may be left out included."""
    for schema in way.bodies.values():
        yield from _id_fields(way, schema, (), 0)


def _id_fields(way: Way, schema: Schema, place: Place, depth: int) -> Iterator[IdField]:
    if depth > 6:
        return
    full = way.resolved(schema)
    if full.get("type") == "array":
        yield from _id_fields(way, full["items"], (*place, 0), depth + 1)
    for name, part in full.get("properties", {}).items():
        if key_of(name) is not None:
            yield IdField(name, (*place, name), way.resolved(part).get("type") == "array")
        else:
            yield from _id_fields(way, part, (*place, name), depth + 1)


def replaced(content: Content, place: Place, new: Any) -> Content:
    """The same content with something else at one place."""
    [(kind, whole)] = content.items() if content else [("json", {})]
    return {kind: _replaced(whole, place, new)}


def _replaced(whole: Any, place: Place, new: Any) -> Any:
    if not place:
        return new
    first, *rest = place
    if isinstance(first, int):
        items = list(whole or [{}])
        return [_replaced(items[0], tuple(rest), new), *items[1:]]
    return dict(whole or {}) | {first: _replaced((whole or {}).get(first), tuple(rest), new)}
