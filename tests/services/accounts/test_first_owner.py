"""The first start: one owner with a password that nobody knows beforehand, of everything that is there."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from fleetcast.domain.access import Role
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import ConfigurationError, Unauthenticated
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import entrance, membership, passwords, people, sign_in
from fleetcast.services.workspaces import create_workspace, list_workspaces
from tests.services.accounts.stage import HERE, Account, is_open

STARTS = """
import asyncio, sys
from pathlib import Path
from fleetcast.runtime import open_runtime
from fleetcast.services.accounts.people import first_owner
from fleetcast.settings import Settings

async def main():
    settings = Settings(database_url=sys.argv[1], redis_url=sys.argv[2], data=Path(sys.argv[3]))
    async with open_runtime(settings) as runtime:
        made = await first_owner(runtime)
        print(made.password if made else "none")

asyncio.run(main())
"""


async def test_s36_the_first_start_makes_an_owner_with_a_random_password_and_a_workspace(runtime: Runtime) -> None:
    made = await people.first_owner(runtime)
    assert made is not None
    assert (made.email, made.workspaces) == ("owner@localhost", ("Main",))
    assert made.password is not None
    passwords.check_password(made.password, made.email)
    visitor = await entrance.visitor(runtime, (await sign_in.sign_in(runtime, made.email, made.password, HERE)).token)
    assert visitor.installation_owner
    assert [(m.workspace, m.role) for m in visitor.memberships] == [("Main", Role.OWNER)]
    assert await people.first_owner(runtime) is None, "once"


async def test_s36_processes_that_start_at_once_make_one_owner(
    runtime: Runtime, redis_url: str, tmp_path: Path
) -> None:
    command = (sys.executable, "-c", STARTS, runtime.db.dsn, redis_url, str(tmp_path))
    started = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(2)]
    said = [out.decode().strip() for out, _ in await asyncio.gather(*(process.communicate() for process in started))]
    assert [process.returncode for process in started] == [0, 0]
    assert said.count("none") == 1
    [password] = [s for s in said if s != "none"]
    assert await is_open(runtime, (await sign_in.sign_in(runtime, "owner@localhost", password, HERE)).token)
    assert len(await people.list_users(runtime)) == 1
    assert len(await list_workspaces(runtime)) == 1


async def test_s36_starts_side_by_side_in_one_process_make_one_owner(runtime: Runtime) -> None:
    made = await asyncio.gather(*(people.first_owner(runtime) for _ in range(5)))
    assert sum(m is not None for m in made) == 1


async def test_workspaces_that_were_there_before_belong_to_the_owner(runtime: Runtime) -> None:
    await create_workspace(runtime, "Shop KL")
    await create_workspace(runtime, "Shop JB")
    made = await people.first_owner(runtime)
    assert made is not None
    assert made.workspaces == ("Shop JB", "Shop KL")
    assert {w.name for w in await list_workspaces(runtime)} == {"Shop JB", "Shop KL"}, "no other one is made"
    further = await create_workspace(runtime, "Shop PG")
    [owner], _ = await membership.list_members(runtime, further.id)
    assert (owner.email, owner.role) == ("owner@localhost", Role.OWNER)


async def test_somebody_added_before_the_first_start_does_not_stand_in_its_way(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    made = await people.first_owner(runtime)
    assert made is not None
    assert made.password is not None
    found, _ = await membership.list_members(runtime, workspace)
    assert {m.email for m in found} == {"Ann@example.org", "owner@localhost"}


async def test_an_owners_address_that_has_an_account_keeps_its_password(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    password = await membership.add_member(
        runtime, workspace, "owner@localhost", "Somebody", Role.VIEWER, actor="cli:root"
    )
    assert password is not None
    made = await people.first_owner(runtime)
    assert made is not None
    assert made.password is None
    visitor = await entrance.visitor(runtime, (await sign_in.sign_in(runtime, made.email, password, HERE)).token)
    assert visitor.installation_owner
    assert [(m.workspace_id, m.role) for m in visitor.memberships] == [(workspace, Role.OWNER)]


async def test_the_owners_address_is_a_setting(runtime: Runtime) -> None:
    mine = runtime.settings.model_copy(update={"owner_email": "ann@example.org"})
    made = await people.first_owner(replace(runtime, settings=mine))
    assert made is not None
    assert made.email == "ann@example.org"
    with pytest.raises((ConfigurationError, ValidationError)):
        type(mine)(owner_email="nobody")


@pytest.mark.parametrize("known", ["admin", "password", "admin123", "changeme", "owner", "fleetcast", "secret", ""])
async def test_s36_f23_no_usual_password_opens_a_new_installation(runtime: Runtime, known: str) -> None:
    await people.first_owner(runtime)
    for email in ("owner@localhost", "admin@localhost", "admin"):
        with pytest.raises(Unauthenticated):
            await sign_in.sign_in(runtime, email, known, HERE)
