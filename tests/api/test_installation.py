"""The installation over the API: for its owner alone, signed in."""

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.store import processes, shards, users
from tests.api import tenants
from tests.api.tenants import API, Person

NAME = "north:412:9ac1"


@pytest.fixture
async def keeper(runtime: Runtime, workspace: WorkspaceId) -> Person:
    """The owner of the installation, with a sender that owns all shards."""
    made = await tenants.person(runtime, workspace)
    async with runtime.db.transaction() as connection:
        await users.own_installation(connection, made.user_id)
        await connection.execute("INSERT INTO nodes (id, name) VALUES ('n1', 'north')")
        figures = {"age:claims": 0.2, "memory": 58e6, "waiting:3": 12, "late:3": 0.5}
        await processes.beat(connection, NAME, "sender", "n1", [], figures)
        await shards.acquire(connection, NAME, None, 300, 64)
    return made


async def test_its_owner_sees_processes_and_what_they_own(app: FastAPI, keeper: Person) -> None:
    async with tenants.client(app, session=keeper.token) as client:
        told = (await client.get(f"{API}/installation")).json()
    assert (told["shards_unowned"], told["rate"], told["late_99"]) == (0, None, None)
    [sender] = told["processes"]
    assert (sender["name"], sender["kind"], sender["node"], sender["shards"]) == (NAME, "sender", "north", 64)
    assert (sender["waiting"], sender["late"], sender["loops"], sender["stuck"]) == (12, 0.5, {"claims": 0.2}, [])


async def test_a_sender_rests_and_works_again_however_often_it_is_said(
    app: FastAPI, runtime: Runtime, keeper: Person
) -> None:
    async with tenants.client(app, session=keeper.token) as client:
        for _ in range(2):
            answer = await client.post(f"{API}/installation/senders/{NAME}/drain")
            assert (answer.status_code, answer.json()["drained_by"]) == (200, f"user:{keeper.email}")
        [sender] = (await client.get(f"{API}/installation")).json()["processes"]
        assert sender["state"] == "draining"
        for _ in range(2):
            answer = await client.post(f"{API}/installation/senders/{NAME}/resume")
            assert (answer.status_code, answer.json()["drained_at"]) == (200, None)
        assert (await client.post(f"{API}/installation/senders/nobody/drain")).status_code == 404
    async with runtime.db.connection() as connection:
        rows = await connection.fetch("SELECT action FROM audit WHERE workspace_id IS NULL ORDER BY id")
    assert [row["action"] for row in rows] == ["sender.drain", "sender.resume"], "only what changed something"


async def test_f21_neither_an_owner_of_a_workspace_nor_a_key_may(
    app: FastAPI, api: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId, keeper: Person
) -> None:
    owner = await tenants.person(runtime, workspace)
    async with tenants.client(app, session=owner.token) as client:
        for method, path in (("GET", ""), ("POST", f"/senders/{NAME}/drain"), ("POST", f"/senders/{NAME}/resume")):
            refused = await client.request(method, f"{API}/installation{path}")
            assert (refused.status_code, NAME in refused.text) == (403, False)
            assert (await api.request(method, f"installation{path}")).status_code == 403
    async with runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT drained_at FROM processes") is None
