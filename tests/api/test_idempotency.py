"""The header Idempotency-Key: what is sent again is done once and answered as before, whatever happens in between."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from starlette.requests import ClientDisconnect

from fleetcast.api.app import PREFIX
from fleetcast.domain.access import Scope
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.idempotency import ABANDONED_SECONDS, KEPT_HOURS
from fleetcast.services.workspaces import create_workspace
from tests.api import tenants
from tests.api.probe import Probe, application
from tests.store.broadcast import move_time

KEY = "0a8e6c1e-order-17"


@pytest.fixture
def probe() -> Probe:
    return Probe()


@pytest.fixture
async def asking(runtime: Runtime, workspace: WorkspaceId, probe: Probe) -> AsyncIterator[httpx2.AsyncClient]:
    app = application(runtime, probe)
    async with (
        app.router.lifespan_context(app),
        tenants.client(app, key=await tenants.key(runtime, workspace)) as client,
    ):
        client.base_url = httpx2.URL(tenants.BASE + PREFIX + "/")
        yield client


def with_key(token: str) -> dict[str, str]:
    """Headers of somebody else who uses the same client."""
    return {"Authorization": f"Bearer {token}"}


async def ask(
    client: httpx2.AsyncClient, do: str = "count", *, key: str | None = KEY, path: str = "probe", **more: Any
) -> httpx2.Response:
    headers = more.pop("headers", {}) | ({"Idempotency-Key": key} if key is not None else {})
    return await client.post(path, json={"do": do, **more}, headers=headers)


def fields(answer: httpx2.Response) -> list[str]:
    return [e["field"] for e in answer.json().get("errors", [])]


async def time_passes(runtime: Runtime, by: timedelta) -> None:
    async with runtime.db.connection() as connection:
        await move_time(connection, by)


async def kept(runtime: Runtime) -> list[dict[str, Any]]:
    async with runtime.db.connection() as connection:
        return [dict(row) for row in await connection.fetch("SELECT * FROM idempotency_keys ORDER BY started_at")]


async def test_f08_the_same_request_again_is_done_once_and_gets_the_same_answer(
    asking: httpx2.AsyncClient, probe: Probe
) -> None:
    first, again = await ask(asking), await ask(asking)
    assert probe.done == ["count"]
    assert (first.status_code, first.json(), first.headers["Location"]) == (201, {"count": 1}, "probe/1")
    assert (again.status_code, again.json(), again.headers["Location"]) == (201, {"count": 1}, "probe/1")
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_without_the_header_every_request_is_done(asking: httpx2.AsyncClient, probe: Probe) -> None:
    answers = [await ask(asking, key=None) for _ in range(3)]
    assert [a.json()["count"] for a in answers] == [1, 2, 3]


async def test_an_answer_without_content_is_given_again_without_content(
    asking: httpx2.AsyncClient, probe: Probe
) -> None:
    for _ in range(2):
        answer = await ask(asking, "nothing")
        assert (answer.status_code, answer.content) == (204, b"")
    assert probe.done == ["nothing"]


async def test_a_request_that_changes_nothing_does_not_use_the_key(asking: httpx2.AsyncClient, probe: Probe) -> None:
    for _ in range(2):
        await asking.get("probe", headers={"Idempotency-Key": KEY})
    assert probe.done == ["get", "get"]
    assert (await ask(asking)).status_code == 201


async def test_s44_a_key_that_was_used_for_another_request_is_refused_and_nothing_is_done(
    asking: httpx2.AsyncClient, probe: Probe
) -> None:
    await ask(asking)
    others = [
        await ask(asking, note="another body"),
        await asking.post("probe?more=1", json={"do": "count"}, headers={"Idempotency-Key": KEY}),
        await asking.put("probe", json={"do": "count"}, headers={"Idempotency-Key": KEY}),
        await ask(asking, path="probe/repeatable"),
    ]
    for answer in others:
        assert answer.status_code == 422
        assert fields(answer) == ["Idempotency-Key"]
    assert probe.done == ["count"]


async def test_s44_the_same_key_of_somebody_else_is_another_key(
    asking: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId, probe: Probe
) -> None:
    other = await create_workspace(runtime, "Elsewhere")
    colleague = await tenants.key(runtime, workspace)
    stranger = await tenants.key(runtime, other.id)
    for headers in ({}, with_key(colleague), with_key(stranger)):
        answer = await ask(asking, headers=headers)
        assert "Idempotent-Replayed" not in answer.headers
    assert (await ask(asking, note="other body", headers=with_key(stranger))).status_code == 422
    assert len(probe.done) == 3


async def test_s44_a_hundred_at_once_are_done_once(asking: httpx2.AsyncClient, probe: Probe) -> None:
    opening = asyncio.ensure_future(_open(probe))
    answers = await asyncio.gather(*(ask(asking, "hold") for _ in range(100)))
    await opening
    assert probe.done == ["hold"]
    done = [a for a in answers if a.status_code == 201]
    assert len(done) >= 1
    assert {a.text for a in done} == {'{"count":1}'}
    refused = [a for a in answers if a.status_code != 201]
    assert {a.status_code for a in refused} <= {409}
    assert {a.json()["type"] for a in refused} <= {"urn:fleetcast:request-under-way"}


async def _open(probe: Probe) -> None:
    """Let the first request end only after the others have come."""
    await probe.entered.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    probe.door.set()


async def test_while_the_first_is_under_way_the_same_request_is_told_to_wait(
    asking: httpx2.AsyncClient, probe: Probe
) -> None:
    first = asyncio.ensure_future(ask(asking, "hold"))
    await probe.entered.wait()
    second = await ask(asking, "hold")
    assert (second.status_code, "under way" in second.json()["detail"]) == (409, True)
    probe.door.set()
    assert (await first).status_code == 201
    assert (await ask(asking, "hold")).json() == {"count": 1}


@pytest.mark.parametrize(
    "wrong", [{"do": "wrong"}, {"do": 5}, {"do": "count", "colour": "red"}], ids=["service", "type", "unknown field"]
)
async def test_a_request_that_was_refused_for_its_content_leaves_the_key_free(
    asking: httpx2.AsyncClient, runtime: Runtime, probe: Probe, wrong: dict[str, Any]
) -> None:
    refused = await asking.post("probe", json=wrong, headers={"Idempotency-Key": KEY})
    assert refused.status_code == 422
    assert await kept(runtime) == []
    assert (await ask(asking)).status_code == 201


async def test_a_content_that_cannot_be_read_leaves_the_key_free(asking: httpx2.AsyncClient, runtime: Runtime) -> None:
    for content in (b"{", b"\xff\xfe", b"", b"null"):
        answer = await asking.post(
            "probe", content=content, headers={"Idempotency-Key": KEY, "Content-Type": "application/json"}
        )
        assert 400 <= answer.status_code < 500, content
        assert await kept(runtime) == []


async def test_who_may_not_ask_does_not_use_the_key_up(
    asking: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId
) -> None:
    reader = await tenants.key(runtime, workspace, {Scope.READ})
    assert (await ask(asking, headers=with_key(reader))).status_code == 403
    assert (await ask(asking, headers=with_key("fck_unknown"))).status_code == 401
    assert await kept(runtime) == []


@pytest.mark.parametrize(("do", "status"), [("conflict", 409), ("missing", 404), ("fault", 500), ("cut", 500)])
async def test_an_error_is_given_again_and_what_made_it_is_not_done_again(
    asking: httpx2.AsyncClient, probe: Probe, do: str, status: int
) -> None:
    first, again = await ask(asking, do), await ask(asking, do)
    assert (first.status_code, again.status_code) == (status, status)
    assert again.json() == first.json()
    assert again.headers["Content-Type"] == "application/problem+json"
    assert again.headers["Idempotent-Replayed"] == "true"
    assert probe.done == [do]


async def test_a_server_that_was_away_is_asked_again(asking: httpx2.AsyncClient, probe: Probe) -> None:
    for _ in range(2):
        answer = await ask(asking, "away")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert probe.done == ["away", "away"]


async def test_what_may_have_been_committed_is_done_again_only_where_that_does_no_harm(
    asking: httpx2.AsyncClient, probe: Probe
) -> None:
    for _ in range(2):
        answer = await ask(asking, "cut", path="probe/repeatable")
        assert answer.json()["type"] == "urn:fleetcast:uncertain"
        assert "Retry-After" not in answer.headers
    assert probe.done == ["cut", "cut"]


async def killed(asking: httpx2.AsyncClient, probe: Probe, path: str = "probe") -> None:
    """A request whose process dies in its middle."""
    request = asyncio.ensure_future(ask(asking, "hold", path=path))
    await probe.entered.wait()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    probe.entered.clear()
    probe.door.set()


async def test_a_key_whose_request_was_killed_can_be_used_again_by_it_after_a_while(
    asking: httpx2.AsyncClient, runtime: Runtime, probe: Probe
) -> None:
    await killed(asking, probe)
    assert (await ask(asking, "hold")).status_code == 409
    await time_passes(runtime, timedelta(seconds=ABANDONED_SECONDS - 1))
    assert (await ask(asking, "hold")).status_code == 409
    await time_passes(runtime, timedelta(seconds=2))
    assert (await ask(asking, "count")).status_code == 422, "another request still may not"
    assert (await ask(asking, "hold")).status_code == 201
    assert (await ask(asking, "hold")).headers["Idempotent-Replayed"] == "true"
    assert probe.done == ["hold", "hold"]


async def test_what_can_be_repeated_without_harm_need_not_wait_as_long(
    asking: httpx2.AsyncClient, runtime: Runtime, probe: Probe
) -> None:
    await killed(asking, probe, "probe/repeatable")
    assert (await ask(asking, "hold", path="probe/repeatable")).status_code == 409
    await time_passes(runtime, timedelta(seconds=31))
    assert (await ask(asking, "hold", path="probe/repeatable")).status_code == 201


@pytest.mark.parametrize("do", ["hold", "hold, then refuse"])
async def test_one_that_was_given_up_and_still_lives_changes_nothing_any_more(
    asking: httpx2.AsyncClient, runtime: Runtime, probe: Probe, do: str
) -> None:
    slow, first_door = asyncio.ensure_future(ask(asking, do)), probe.door
    await probe.entered.wait()
    await time_passes(runtime, timedelta(seconds=ABANDONED_SECONDS + 1))
    probe.entered, probe.door = asyncio.Event(), asyncio.Event()
    second = asyncio.ensure_future(ask(asking, do))
    await probe.entered.wait()
    if do == "hold, then refuse":
        probe.done.pop()
    first_door.set()
    await slow
    [row] = await kept(runtime)
    assert row["finished_at"] is None, "the key is the second one's"
    probe.done.append("the second goes on")
    probe.door.set()
    answer = await second
    assert answer.status_code == 201
    assert (await ask(asking, do)).text == answer.text


async def test_after_a_day_a_key_is_new(asking: httpx2.AsyncClient, runtime: Runtime, probe: Probe) -> None:
    await ask(asking)
    await time_passes(runtime, timedelta(hours=KEPT_HOURS, seconds=-5))
    assert (await ask(asking)).headers["Idempotent-Replayed"] == "true"
    await time_passes(runtime, timedelta(seconds=10))
    assert (await ask(asking, note="something else")).status_code == 201
    assert len(probe.done) == 2
    assert len(await kept(runtime)) == 1, "what is old is not kept"


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"], ids=["empty", "long", "control"])
async def test_s44_a_key_that_cannot_be_kept_is_refused(asking: httpx2.AsyncClient, probe: Probe, key: str) -> None:
    answer = await ask(asking, key=key)
    assert (answer.status_code, fields(answer)) == (422, ["Idempotency-Key"])
    assert probe.done == []


async def test_s39_neither_a_secret_in_an_answer_nor_one_in_a_request_can_be_read_from_the_database(
    asking: httpx2.AsyncClient, runtime: Runtime
) -> None:
    first = await ask(asking, "secret", note="a password")
    [row] = await kept(runtime)
    assert b"canary" not in row["body"]
    body = b'{"do":"secret","note":"a password"}'
    asked = [b"POST", b"/api/v1/probe", b"", body]
    assert row["fingerprint"] not in _guesses(asked)
    assert (await ask(asking, "secret", note="a password")).json() == first.json()


def _guesses(parts: list[bytes]) -> list[bytes]:
    joined = hashlib.sha256(b"".join(len(p).to_bytes(8, "big") + p for p in parts)).digest()
    return [joined, hashlib.sha256(joined).digest(), hashlib.sha256(parts[-1]).digest()]


@pytest.mark.parametrize("do", ["large", "stream"])
async def test_an_answer_that_is_too_large_to_keep_is_told_of_and_nothing_is_done_twice(
    asking: httpx2.AsyncClient, probe: Probe, do: str
) -> None:
    assert (await ask(asking, do)).is_success
    again = await ask(asking, do)
    assert (again.status_code, again.json()["type"]) == (409, "urn:fleetcast:done")
    assert probe.done == [do]


async def test_what_was_done_is_answered_although_the_answer_cannot_be_kept(
    asking: httpx2.AsyncClient, runtime: Runtime, probe: Probe
) -> None:
    async with runtime.db.connection() as connection:
        await connection.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END $$; "
            "CREATE TRIGGER full_disk BEFORE UPDATE ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION full_disk()"
        )
        assert (await ask(asking)).status_code == 201
        await connection.execute("DROP TRIGGER full_disk ON idempotency_keys")
    assert (await ask(asking)).status_code == 409
    assert probe.done == ["count"]


async def upload(client: httpx2.AsyncClient, content: bytes | AsyncIterator[bytes]) -> httpx2.Response:
    return await client.post("probe/stream", content=content, headers={"Idempotency-Key": KEY})


async def test_s44_a_content_that_is_read_as_a_stream_is_recognised_by_all_of_it(
    asking: httpx2.AsyncClient, probe: Probe
) -> None:
    first = await upload(asking, b"a" * 100_000)
    again = await upload(asking, b"a" * 100_000)
    assert (again.status_code, again.json()) == (201, first.json())
    for other in (b"a" * 99_999 + b"b", b"a" * 100_001):
        answer = await upload(asking, other)
        assert (answer.status_code, fields(answer)) == (422, ["Idempotency-Key"])
    assert len(probe.done) == 1


async def test_a_stream_that_does_not_say_its_length_is_recognised_too(
    asking: httpx2.AsyncClient, probe: Probe
) -> None:
    async def parts(*some: bytes) -> AsyncIterator[bytes]:
        for part in some:
            yield part

    await upload(asking, parts(b"one", b"two"))
    assert (await upload(asking, parts(b"onetwo"))).headers["Idempotent-Replayed"] == "true"
    assert (await upload(asking, parts(b"onetwo!"))).status_code == 422
    assert len(probe.done) == 1


async def test_an_upload_that_breaks_off_leaves_the_key_free(
    asking: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId, probe: Probe
) -> None:
    app = application(runtime, probe)
    token = await tenants.key(runtime, workspace)
    messages = iter([{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}])
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": f"{PREFIX}/probe/stream",
        "raw_path": f"{PREFIX}/probe/stream".encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"localhost:8080"),
            (b"authorization", f"Bearer {token}".encode()),
            (b"idempotency-key", KEY.encode()),
            (b"content-length", b"8"),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 8080),
    }

    async def receive() -> Any:
        return next(messages)

    async def send(_: Any) -> None:
        """Nobody listens any more."""

    with contextlib.suppress(ClientDisconnect):
        await app(scope, receive, send)
    assert probe.done == []
    assert await kept(runtime) == []
