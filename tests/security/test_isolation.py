"""Who may not, may not: every route and method, walked as everybody who has no business there.

Generated from the routes of the application. What is refused must also have changed nothing: the rows of all tables
are compared after each request.
"""

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote_plus

import asyncpg
import httpx2
import pytest
from fastapi import APIRouter

from fleetcast.api.guard import GuardedRoute, Rule
from fleetcast.domain.access import SCOPES, Role, Scope
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store import members
from fleetcast.web.door import PUBLIC
from tests.api import tenants
from tests.security import asking
from tests.security.asking import IdField, Request, Unknown, id_fields, key_of, replaced
from tests.security.conftest import Stage
from tests.security.routes import STREAMS, Way, other_routes
from tests.security.rows import differences, digest
from tests.security.seeding import Ids, Tenant, whole_workspace

REFUSED = frozenset({401, 403, 404})
MISSING = 7_000_000_000
"""Added to an id: one that never was."""
OWN_PAGES = frozenset(
    {
        "/sign-out",
        "/me/name",
        "/me/password",
        "/me/second-factor",
        "/me/second-factor/confirm",
        "/me/second-factor/off",
        "/me/second-factor/recovery-codes",
        "/me/sessions/end-others",
        "/me/sessions/{session_id}/end",
    }
)
"""Pages that change something about the person alone, so that every role may use them."""
NOT_YET = frozenset({409})
"""The thing is there, and not in a state that allows it."""
MORE_THAN_OWNERS = frozenset(
    {
        "POST /api/v1/workspaces",
        "GET /api/v1/installation",
        "POST /api/v1/installation/senders/{sender}/drain",
        "POST /api/v1/installation/senders/{sender}/resume",
        "GET /monitoring",
        "GET /monitoring/now",
        "GET /monitoring/redis",
        "GET /monitoring/redis/now",
        "GET /monitoring/processes/{process}",
        "GET /monitoring/processes/{process}/now",
        "POST /monitoring/senders/{sender}/{wish}",
        "GET /settings/about",
    }
)
"""What only the owner of the installation may: they see and move what is of all workspaces."""

FOREIGN_FIELDS = {
    "id": 1, "workspace_id": 1, "user_id": 1, "actor": "system", "role": "owner", "scopes": ["manage"],
    "status": "sent", "lease_epoch": 1, "attempts": 0, "created_at": "2020-01-01T00:00:00Z", "is_ready": True,
}  # fmt: skip
"""What rows have and requests do not set."""


@dataclass
class Walk:
    """A walk along the ways as one person, who may change nothing but the workspace `besides`."""

    stage: Stage
    client: httpx2.AsyncClient
    besides: WorkspaceId | None = None

    async def refusals(
        self,
        asked: Iterable[Request],
        expected: Iterable[int],
        headers: dict[str, str] | None = None,
        *,
        one_by_one: bool = True,
    ) -> list[str]:
        """What went wrong: requests that were answered otherwise, or that changed something.

        Rows are compared after each, or, where nobody should even come to the route, after all of them.
        """
        wrong = []
        before = await digest(self.stage.runtime.db)
        for request in asked:
            answer = await request.send(self.client, **(headers or {}))
            told = f"{request.way} was answered {answer.status_code}"
            if answer.status_code not in expected:
                wrong.append(f"{told}, not one of {sorted(expected)}: {answer.text[:200]}")
            if traces := self.stage.ours.traces(unsaid(answer.text, request)):
                wrong.append(f"{told} and told of {traces}")
            if one_by_one:
                after = await digest(self.stage.runtime.db, before)
                wrong += [f"{told} and changed {rows}" for rows in differences(before, after, besides=self.besides)]
                before = after
        after = await digest(self.stage.runtime.db, before)
        return wrong + [f"something changed {rows}" for rows in differences(before, after, besides=self.besides)]


@asynccontextmanager
async def walking(
    stage: Stage,
    *,
    key: str | None = None,
    session: str | None = None,
    workspace: WorkspaceId | None = None,
    besides: WorkspaceId | None = None,
) -> AsyncIterator[Walk]:
    async with tenants.client(stage.app, key=key, session=session, workspace=workspace) as client:
        yield Walk(stage, client, besides)


def requests(ways: Iterable[Way], tenant: Tenant, **ids: Ids) -> list[Request]:
    return [asking.request(way, tenant, **ids) for way in ways]


def unsaid(text: str, request: Request, *more: object) -> str:
    """An answer without what the asker has said themselves."""
    for said in sorted((*request.path.split("/"), *request.query.values(), *map(str, more)), key=len, reverse=True):
        text = text.replace(said, "").replace(quote_plus(said), "") if len(said) > 3 else text
    return text


def nothing(wrong: list[str]) -> None:
    """All of it, one a line: pytest would show the first and a count."""
    assert not wrong, "\n" + "\n".join(wrong)


def closed(stage: Stage) -> list[Way]:
    return [way for way in stage.ways if not way.is_open]


# -- what there is


async def test_every_route_of_the_api_says_what_it_needs(stage: Stage) -> None:
    silent = [str(way) for way in stage.api if not isinstance(way.rule, Rule)]
    assert silent == [], "make it on a router with route_class=GuardedRoute, with **needs(Scope.…)"
    assert len(stage.api) > 5


def test_a_route_without_a_rule_cannot_be_made() -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(TypeError, match="does not say what it needs"):
        router.get("/leads")(lambda: None)


async def test_s01_only_the_door_itself_and_files_of_the_program_are_open(stage: Stage) -> None:
    door = {"/sign-in", "/sign-in/code", "/sign-out", "/invitations/{token}"}
    assert door | {"/health", "/ready", "/metrics"} >= PUBLIC
    assert {way.path for way in stage.pages} >= PUBLIC
    mounted = {path for path, _ in other_routes(stage.app)}
    assert mounted == {"/static", "/api/v1/docs/assets", "/api/v1/docs/swagger"}


async def test_a_description_shows_what_every_route_takes(stage: Stage) -> None:
    wrong = []
    for way in stage.ways:
        try:
            asking.request(way, replace(stage.ours, ids=stage.ours.ids | {"token": "none"}))
        except Unknown as missing:
            wrong.append(str(missing))
    nothing(wrong)


# -- people without a right


async def test_s01_nobody_gets_anything(stage: Stage) -> None:
    asked = requests(closed(stage), stage.ours)
    async with walking(stage) as walk:
        nothing(await walk.refusals([r for r in asked if r.way.is_api], {401}))
        wrong = await walk.refusals([r for r in asked if not r.way.is_api], {303, 401})
        nothing(wrong)
        for request in (r for r in asked if not r.way.is_api and r.way.method == "GET"):
            answer = await request.send(walk.client, Accept="text/html")
            assert answer.headers["Location"].startswith("/sign-in"), request.way


async def test_a_key_that_is_none_opens_nothing(stage: Stage) -> None:
    asked = requests(stage.api, stage.ours)
    good = stage.ours.key
    for header in (
        "Bearer fck_wrong",
        f"Bearer {good[:-1]}",
        f"Bearer {good}x",
        f"Bearer {good.lower()}",
        f"Basic {good}",
        good,
        "Bearer ",
        "Bearer fck_" + "a" * 10_000,
        f"Bearer {stage.ours.owner.token}",
        "Bearer fck_%",
    ):
        async with walking(stage) as walk:
            nothing(await walk.refusals(asked, {401}, {"Authorization": header}, one_by_one=False))


async def test_a_key_that_was_revoked_or_has_expired_opens_nothing(stage: Stage) -> None:
    revoked, expired = [await tenants.key(stage.runtime, stage.ours.workspace) for _ in range(2)]
    async with stage.runtime.db.connection() as connection:
        for token, change in ((revoked, "revoked_at = fleetcast_now()"), (expired, "expires_at = fleetcast_now()")):
            await connection.execute(
                f"UPDATE api_keys SET {change} WHERE token_sha256 = sha256(convert_to($1, 'UTF8'))", token
            )
    asked = requests(stage.api, stage.ours)
    for key in (revoked, expired):
        async with walking(stage, key=key) as walk:
            nothing(await walk.refusals(asked, {401}))


@pytest.mark.parametrize(
    "over",
    [
        "UPDATE sessions SET expires_at = fleetcast_now() WHERE user_id = $1",
        "UPDATE sessions SET seen_at = fleetcast_now() - interval '30 days' WHERE user_id = $1",
        "UPDATE sessions SET waits_for_code = true WHERE user_id = $1",
        "DELETE FROM sessions WHERE user_id = $1",
    ],
    ids=["expired", "not used for long", "waits for its code", "signed out"],
)
async def test_a_session_that_is_over_opens_nothing(stage: Stage, over: str) -> None:
    asked = requests(closed(stage), stage.ours)
    async with stage.runtime.db.connection() as connection:
        await connection.execute(over, stage.ours.owner.user_id)
    async with walking(stage, session=stage.ours.owner.token, workspace=stage.ours.workspace) as walk:
        nothing(await walk.refusals([r for r in asked if r.way.is_api], {401}))
        nothing(await walk.refusals([r for r in asked if not r.way.is_api], {303, 401}))


async def test_who_was_a_member_and_is_none_any_more_gets_nothing(stage: Stage) -> None:
    asked = [r for r in requests(closed(stage), stage.ours) if r.way.path not in OWN_PAGES | {"/"}]
    async with stage.runtime.db.transaction() as connection:
        await members.delete(connection, stage.ours.workspace, stage.ours.owner.user_id)
    async with walking(stage, session=stage.ours.owner.token, workspace=stage.ours.workspace) as walk:
        nothing(await walk.refusals(about_a_workspace(asked), {403, 404}))


def about_a_workspace(asked: Iterable[Request]) -> list[Request]:
    """Not what concerns the person alone: that stays theirs when they are a member of nothing."""
    return [r for r in asked if r.way.rule is None or not r.way.rule.sessions_only]


# -- people with too little of one


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_a_member_does_what_their_role_allows_and_nothing_more(stage: Stage, role: Role) -> None:
    person = {Role.VIEWER: stage.ours.viewer, Role.OPERATOR: stage.ours.operator}[role]
    beyond = [way for way in stage.api if way.rule and way.rule.scope not in SCOPES[role]]
    assert beyond
    async with walking(stage, session=person.token, workspace=stage.ours.workspace) as walk:
        nothing(await walk.refusals(requests(beyond, stage.ours), {403}))


async def test_a_viewer_changes_nothing_on_any_page(stage: Stage) -> None:
    changing = [w for w in stage.pages if w.changes and not w.is_open and w.path not in OWN_PAGES]
    async with walking(stage, session=stage.ours.viewer.token) as walk:
        nothing(await walk.refusals(requests(changing, stage.ours), {403}))


@pytest.mark.parametrize("scope", [Scope.READ, Scope.SEND])
async def test_s40_a_key_does_what_its_scopes_allow_and_nothing_more(stage: Stage, scope: Scope) -> None:
    key = await tenants.key(stage.runtime, stage.ours.workspace, {scope})
    beyond = [way for way in stage.api if way.rule and (way.rule.scope is not scope or way.rule.sessions_only)]
    async with walking(stage, key=key) as walk:
        nothing(await walk.refusals(requests(beyond, stage.ours), {403}))


async def test_a_role_in_one_workspace_is_none_in_another(stage: Stage) -> None:
    """The owner of one workspace who may look into another one only looks there."""
    both = stage.theirs.owner
    async with stage.runtime.db.transaction() as connection:
        await members.put(connection, stage.ours.workspace, both.user_id, Role.VIEWER)
    beyond = [way for way in stage.api if way.rule and way.rule.scope is not Scope.READ]
    async with tenants.client(stage.app, session=both.token, workspace=stage.ours.workspace) as client:
        for request in requests(beyond, stage.ours):
            answer = await request.send(client)
            assert answer.status_code == 403, f"{request.way}: {answer.text}"


# -- a stranger with full rights elsewhere


@pytest.fixture(params=["session", "key"])
async def stranger(stage: Stage, request: pytest.FixtureRequest) -> AsyncIterator[Walk]:
    """The owner of another workspace."""
    home = stage.theirs
    if request.param == "key":
        async with walking(stage, key=home.key, besides=home.workspace) as walk:
            yield walk
    else:
        async with walking(stage, session=home.owner.token, workspace=home.workspace, besides=home.workspace) as walk:
            yield walk


def by_key(walk: Walk) -> bool:
    return "Authorization" in walk.client.headers


def open_to(walk: Walk) -> list[Way]:
    """The ways that let them in at all."""
    return [w for w in closed(walk.stage) if not by_key(walk) or (w.is_api and w.rule and not w.rule.sessions_only)]


async def test_s02_what_belongs_to_others_is_not_there(stage: Stage, stranger: Walk) -> None:
    asked = [
        asking.request(way, stage.theirs, path_ids=stage.ours.ids) for way in open_to(stranger) if points_inside(way)
    ]
    assert asked
    nothing(await stranger.refusals(asked, REFUSED))


def points_inside(way: Way) -> bool:
    return any(hole not in asking.CHOICES for hole in way.holes)


async def test_s02_the_answer_is_the_same_as_for_what_never_was(stage: Stage, stranger: Walk) -> None:
    wrong = []
    for way in open_to(stranger):
        if not points_inside(way):
            continue
        foreign = {name: asking.id_of(way, name, stage.ours.ids) for name in way.holes}
        answers = []
        for ids in (foreign, {n: given if n in asking.CHOICES else never_was(given) for n, given in foreign.items()}):
            asked = asking.request(way, stage.theirs, path_ids=stage.ours.ids)
            path = "/".join(str(ids[n[1:-1]]) if n[1:-1] in ids else n for n in way.path.split("/"))
            answer = await replace(asked, path=path).send(stranger.client)
            text = answer.text if way.is_api else sentence_of(answer.text)
            for given in ids.values():
                text = text.replace(str(given), "ID")
            answers.append((answer.status_code, text, comparable(answer.headers)))
        if answers[0] != answers[1]:
            wrong.append(f"{way}: {answers}")
    nothing(wrong)


def sentence_of(page: str) -> str:
    """What an error page says; around it stand numbers that are not about anything."""
    found = re.search(r'<p class="sub">(.*?)</p>', page)
    assert found is not None, page
    return found[1]


def never_was(given: int | str) -> int | str:
    if isinstance(given, int):
        return given + MISSING
    return given[:-3] + ("000" if given[-3:] != "000" else "111")


def comparable(headers: httpx2.Headers) -> dict[str, str]:
    """Without what differs from one request to the next."""
    return {k: v for k, v in headers.items() if k not in {"ratelimit", "ratelimit-policy", "date", "content-length"}}


async def test_s03_a_content_that_names_what_belongs_to_others_is_refused_by_its_field(
    stage: Stage, stranger: Walk
) -> None:
    wrong = []
    for way in open_to(stranger):
        for point in id_fields(way):
            wrong += await foreign_field(stage, stranger, way, point)
    nothing(wrong)


async def foreign_field(stage: Stage, stranger: Walk, way: Way, point: IdField) -> list[str]:
    try:
        own = asking.id_of(way, point.name, stage.theirs.ids)
        foreign = asking.id_of(way, point.name, stage.ours.ids)
    except Unknown as missing:
        return [str(missing)]

    async def ask(found: Any) -> tuple[Request, httpx2.Response]:
        made = asking.request(way, stage.theirs)
        made = replace(made, content=replaced(made.content, point.place, found))
        return made, await made.send(stranger.client)

    wrong = []
    before = await digest(stage.runtime.db)
    for found in ([foreign], [own, foreign]) if point.several else (foreign,):
        made, answer = await ask(found)
        told = f"{way} with {point.name}={found} was answered {answer.status_code}"
        if answer.status_code not in REFUSED | {422}:
            wrong.append(f"{told}: {answer.text[:200]}")
        elif answer.status_code == 422 and way.is_api:
            fields = [e["field"] for e in answer.json().get("errors", ())]
            if not any(point.name in field for field in fields):
                wrong.append(f"{told} and named {fields}")
        if traces := stage.ours.traces(unsaid(answer.text, made, foreign)):
            wrong.append(f"{told} and told of {traces}")
    if changed := differences(before, await digest(stage.runtime.db, before)):
        wrong.append(f"{way} with another's {point.name} changed {changed}")
    return wrong


async def test_s03_the_database_refuses_what_belongs_to_two_workspaces(stage: Stage) -> None:
    """Even if every check before it were forgotten."""
    ours, theirs = stage.ours, stage.theirs
    message = (
        "INSERT INTO broadcast_messages (workspace_id, device_id, campaign_id, lead_id, content_id, not_before, "
        "created_at, shard_id, recipient, dedupe_key, variables) VALUES ($1, $2, $3, $4, $5, fleetcast_now(), "
        "fleetcast_now(), 0, '+60190000000', 'x', '{}')"
    )
    places = ("device_id", "campaign_id", "lead_id")
    own = [theirs.ids[place] for place in places]
    content = theirs.ids["content_id"]
    async with stage.runtime.db.connection() as connection:
        for n in range(len(places)):
            mixed = [ours.ids[place] if i == n else own[i] for i, place in enumerate(places)]
            with pytest.raises(asyncpg.ForeignKeyViolationError):
                await connection.execute(message, theirs.workspace, *mixed, content)
        for statement, values in (
            ("INSERT INTO leads (workspace_id, device_id, phone) VALUES ($1, $2, '+60190000000')", ["device_id"]),
            ("INSERT INTO campaigns (workspace_id, content_id, title) VALUES ($1, $2, 'x')", ["content_id"]),
            ("INSERT INTO contents (workspace_id, body, media_sha256) VALUES ($1, 'x', $2)", ["sha256"]),
        ):
            with pytest.raises(asyncpg.ForeignKeyViolationError):
                await connection.execute(statement, theirs.workspace, *(ours.ids[name] for name in values))
        await connection.execute(message, theirs.workspace, *own, content)


async def test_s04_no_content_takes_a_field_that_is_not_described(stage: Stage) -> None:
    """Nobody sets what is not theirs to set by naming it."""
    wrong = []
    async with tenants.client(stage.app, session=stage.theirs.owner.token) as client:
        for way in stage.api:
            if "application/json" not in way.bodies:
                continue
            described = way.resolved(way.bodies["application/json"])["properties"]
            foreign = {name: found for name, found in FOREIGN_FIELDS.items() if name not in described}
            made = asking.request(way, stage.theirs)
            answer = await replace(made, content={"json": made.content.get("json", {}) | foreign}).send(client)
            named = {e["field"] for e in answer.json().get("errors", ())} if answer.status_code == 422 else set()
            if foreign.keys() - named:
                wrong.append(f"{way} was answered {answer.status_code} and did not name {foreign.keys() - named}")
    nothing(wrong)


async def test_s05_lists_and_filters_show_ones_own_rows_only(stage: Stage, stranger: Walk) -> None:
    asked = []
    for way in open_to(stranger):
        if way.changes or way.path in STREAMS:
            continue
        plain = asking.request(way, stage.theirs)
        asked.append(plain)
        asked += [replace(plain, query={**plain.query, name: word}) for name, word in narrowed(way, stage.ours)]
    before = await digest(stage.runtime.db)
    wrong = []
    for request in asked:
        answer = await request.send(stranger.client)
        told = f"{request.way} with {request.query} was answered {answer.status_code}"
        if answer.status_code not in REFUSED | {200, 422}:
            wrong.append(f"{told}: {answer.text[:200]}")
        if traces := stage.ours.traces(unsaid(answer.text, request)):
            wrong.append(f"{told} and told of {traces}")
    nothing(wrong)
    assert differences(before, await digest(stage.runtime.db), besides=stage.theirs.workspace) == []


def narrowed(way: Way, tenant: Tenant) -> Iterable[tuple[str, str]]:
    """Each of the filters of a list, asking for what that workspace has. Raises Unknown."""
    for name, (_, schema) in way.query.items():
        if key_of(name) is not None:
            yield name, str(asking.id_of(way, name, tenant.ids))
        elif name in asking.WORDS:
            yield name, asking.WORDS[name](tenant)
        elif name not in asking.UNLISTED and schema.get("type") == "string" and not {"enum", "format"} & schema.keys():
            raise Unknown(f"{way}: add what '{name}' is asked for to `WORDS` in tests/security/asking.py.")


async def test_s06_a_workspace_of_others_cannot_be_chosen(stage: Stage) -> None:
    async with walking(stage, session=stage.theirs.owner.token, besides=stage.theirs.workspace) as walk:
        asked = about_a_workspace(requests([w for w in stage.api if not w.holes], stage.theirs))
        wrong = await walk.refusals(asked, {404}, {"Fleetcast-Workspace": str(stage.ours.workspace)})
        nothing(wrong)
        choosing = [way for way in stage.pages if "workspace" in way.query and not way.is_open]
        assert choosing
        pages = [
            replace(r, query={**r.query, "workspace": str(stage.ours.workspace)})
            for r in requests(choosing, stage.theirs)
        ]
        nothing(await walk.refusals(pages, {403, 404}))


# -- a key for one device


async def test_s40_a_key_for_one_device_sees_and_moves_that_device_only(stage: Stage) -> None:
    ours = stage.ours
    async with walking(stage, key=ours.device_key) as walk:
        others = [way for way in stage.api if way.rule and not way.rule.device_keys]
        nothing(await walk.refusals(requests(others, ours), {401, 403}))
        its = [way for way in stage.api if way.rule and way.rule.device_keys]
        pointing = [way for way in its if of_a_device(way)]
        assert pointing
        nothing(await walk.refusals(requests(pointing, ours, path_ids=ours.of_second), {403, 404}))
        wrong = []
        for way in its:
            if way.changes or of_a_device(way):
                continue
            plain = asking.request(way, ours)
            for request in (plain, *(replace(plain, query={**plain.query, n: v}) for n, v in of_second(way, ours))):
                answer = await request.send(walk.client)
                if answer.status_code not in REFUSED | {200} or ours.second_mark in answer.text:
                    wrong.append(f"{way} with {request.query}: {answer.status_code} {answer.text[:200]}")
        nothing(wrong)


def of_a_device(way: Way) -> bool:
    """Whether its path points at a device or at what hangs on one."""
    return bool({"device_id", "lead_id", "message_id", "campaign_id", "import_id"} & set(way.holes))


def of_second(way: Way, tenant: Tenant) -> Iterable[tuple[str, str]]:
    return [(n, str(tenant.of_second[k])) for n in way.query if (k := key_of(n)) in tenant.of_second]


async def test_s40_a_key_for_one_device_cannot_name_another_in_a_content(stage: Stage) -> None:
    ours = stage.ours
    before = await digest(stage.runtime.db)
    wrong = []
    async with tenants.client(stage.app, key=ours.device_key) as client:
        for way in stage.api:
            for point in id_fields(way):
                made = asking.request(way, ours)
                another = ours.of_second[key_of(point.name) or point.name]
                if another == ours.ids[key_of(point.name) or point.name]:
                    continue  # of the whole workspace, not of a device
                told = replaced(made.content, point.place, [another] if point.several else another)
                answer = await replace(made, content=told).send(client)
                if answer.status_code not in REFUSED | {422}:
                    wrong.append(f"{way} with {point.name}={another}: {answer.status_code} {answer.text[:200]}")
    nothing(wrong)
    assert differences(before, await digest(stage.runtime.db)) == []


# -- and that all of this says something


async def test_each_request_of_this_walk_is_one_that_its_owner_may_make(stage: Stage) -> None:
    """Else a refusal would show nothing but a request that nobody could make."""

    async def asked(way: Way, of: Tenant) -> httpx2.Response:
        async with tenants.client(stage.app, session=of.owner.token, workspace=of.workspace) as client:
            return await asking.request(way, of).send(client)

    wrong, changed = [], await whole_workspace(stage.runtime)
    for way in closed(stage):
        if way.path in STREAMS:
            continue
        answer = await asked(way, changed if way.changes else stage.ours)
        if answer.status_code >= 400 and way.changes:  # perhaps by what others have changed before
            changed = await whole_workspace(stage.runtime)
            answer = await asked(way, changed)
        allowed = NOT_YET | {403} if str(way) in MORE_THAN_OWNERS else NOT_YET
        if answer.status_code >= 400 and answer.status_code not in allowed:
            wrong.append(f"{way} was answered {answer.status_code}: {answer.text[:300]}")
    nothing(wrong)


async def test_lists_show_their_own_workspace_what_they_hide_from_others(stage: Stage) -> None:
    wrong = []
    async with tenants.client(stage.app, key=stage.ours.key) as client:
        for way in stage.api:
            if not way.is_list or (way.rule and way.rule.sessions_only):
                continue
            answer = await asking.request(way, stage.ours).send(client)
            if answer.status_code != 200 or not answer.json()["items"]:
                wrong.append(f"{way}: {answer.status_code} {answer.text[:200]}")
    assert wrong == [], "seed a row of it in tests/security/seeding.py"


async def test_the_digest_sees_a_change_in_any_table(stage: Stage) -> None:
    before = await digest(stage.runtime.db)
    async with stage.runtime.db.connection() as connection:
        await connection.execute("UPDATE leads SET name = 'x' WHERE id = $1", stage.ours.ids["lead_id"])
        await connection.execute("INSERT INTO campaign_tallies VALUES ($1, 1, 'sent')", stage.ours.ids["campaign_id"])
    after = await digest(stage.runtime.db, before)
    place = stage.ours.workspace
    assert differences(before, after) == [f"campaign_tallies of {place}", f"leads of {place}"]
    assert differences(before, after, besides=place) == []
    tables = {table for table, owner in after.rows if owner == place}
    assert tables >= {
        "api_keys", "audit", "broadcast_messages", "campaigns", "campaign_devices", "campaign_tallies", "contents",
        "devices", "inbox", "invitations", "lead_imports", "leads", "media", "members", "message_attempts",
        "suppressions", "workspaces",
    }  # fmt: skip
