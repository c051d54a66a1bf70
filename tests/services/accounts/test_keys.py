"""Keys of the API: what they may do, until when, and what is left of them afterwards."""

from datetime import timedelta
from typing import Any

import pytest

from fleetcast.domain.access import Access, KeyId, Scope, UserId
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.errors import InvalidInput, NotFound, Unauthenticated
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import entrance, keys
from fleetcast.services.devices import add_device, remove_device
from fleetcast.services.workspaces import create_workspace
from tests.services.accounts.stage import actions, log, pass_time

ACTOR = "user:Ann@example.org"


async def opens(runtime: Runtime, token: str) -> bool:
    """Whether a key opens anything."""
    try:
        await entrance.of_key(runtime, token)
    except Unauthenticated:
        return False
    return True


async def test_s40_a_key_carries_its_scopes_its_device_and_its_name(runtime: Runtime, workspace: WorkspaceId) -> None:
    device = await add_device(runtime, workspace, "Shop", actor=ACTOR)
    made = await keys.create_key(
        runtime, workspace, " export ", {Scope.SEND, Scope.READ}, device_id=device.id, actor=ACTOR
    )
    assert made.token.startswith("fck_")
    assert made.key.ending == made.token[-4:]
    access = await entrance.of_key(runtime, made.token)
    assert access == Access(
        workspace,
        f"key:{made.key.id} export",
        frozenset({Scope.READ, Scope.SEND}),
        device_id=device.id,
        key_id=made.key.id,
    )
    [entry] = [e for e in await log(runtime, workspace) if e["action"] == "key.create"]
    assert entry["after"] == {"id": made.key.id, "scopes": ["read", "send"], "device_id": device.id, "days": None}


async def test_s40_a_key_ends_when_it_was_to_end(runtime: Runtime, workspace: WorkspaceId) -> None:
    short = (await keys.create_key(runtime, workspace, "short", [Scope.READ], days=1, actor=ACTOR)).token
    long = (await keys.create_key(runtime, workspace, "long", [Scope.READ], actor=ACTOR)).token
    await pass_time(runtime, timedelta(days=1) - timedelta(minutes=1))
    assert await opens(runtime, short)
    await pass_time(runtime, timedelta(minutes=1, seconds=1))
    assert not await opens(runtime, short)
    await pass_time(runtime, timedelta(days=10_000))
    assert await opens(runtime, long)


async def test_s40_a_revoked_key_opens_nothing_from_that_moment(runtime: Runtime, workspace: WorkspaceId) -> None:
    made = await keys.create_key(runtime, workspace, "export", [Scope.READ], actor=ACTOR)
    assert await opens(runtime, made.token)
    gone = await keys.revoke_key(runtime, workspace, made.key.id, actor=ACTOR)
    assert gone.revoked_at is not None
    assert not await opens(runtime, made.token)
    with pytest.raises(NotFound):
        await keys.revoke_key(runtime, workspace, made.key.id, actor=ACTOR)
    [listed], _ = await keys.list_keys(runtime, workspace)
    assert listed == gone
    assert (await actions(runtime, workspace)).count("key.revoke") == 1
    await keys.create_key(runtime, workspace, "EXPORT", [Scope.READ], actor=ACTOR)


async def test_s40_a_key_of_a_device_ends_with_it(runtime: Runtime, workspace: WorkspaceId) -> None:
    device = await add_device(runtime, workspace, "Shop", actor=ACTOR)
    made = await keys.create_key(runtime, workspace, "till", [Scope.SEND], device_id=device.id, actor=ACTOR)
    await remove_device(runtime, workspace, device.id, actor=ACTOR)
    assert not await opens(runtime, made.token)
    with pytest.raises(InvalidInput) as refused:
        await keys.create_key(runtime, workspace, "till 2", [Scope.SEND], device_id=device.id, actor=ACTOR)
    assert refused.value.field == "device_id"


async def test_s40_nothing_that_resembles_a_key_opens_anything(runtime: Runtime, workspace: WorkspaceId) -> None:
    token = (await keys.create_key(runtime, workspace, "export", [Scope.READ], actor=ACTOR)).token
    async with runtime.db.connection() as connection:
        stored: bytes = await connection.fetchval("SELECT token_sha256 FROM api_keys")
    for wrong in ("", "fck_", token[:-1], token + "x", token.upper(), f" {token}", stored.hex(), f"fck_{stored.hex()}"):
        assert not await opens(runtime, wrong), wrong


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "TAKEN"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"days": 0}, "days"),
        ({"days": 4_000}, "days"),
        ({"device_id": DeviceId(999)}, "device_id"),
        ({"scopes": [Scope.MANAGE], "device_id": DeviceId(1)}, "scopes"),
    ],
)
async def test_a_wrong_key_is_refused_by_field(
    runtime: Runtime, workspace: WorkspaceId, wrong: dict[str, Any], field: str
) -> None:
    await keys.create_key(runtime, workspace, "taken", [Scope.READ], actor=ACTOR)
    asked: dict[str, Any] = {"name": "export", "scopes": [Scope.READ]} | wrong
    with pytest.raises(InvalidInput) as refused:
        await keys.create_key(runtime, workspace, asked.pop("name"), asked.pop("scopes"), **asked, actor=ACTOR)
    assert refused.value.field == field
    assert len((await keys.list_keys(runtime, workspace))[0]) == 1


async def test_f20_keys_and_devices_of_another_workspace_are_as_if_they_were_not_there(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    other = await create_workspace(runtime, "Other")
    device = await add_device(runtime, workspace, "Shop", actor=ACTOR)
    made = await keys.create_key(runtime, workspace, "export", [Scope.READ], actor=ACTOR)
    assert (await keys.list_keys(runtime, other.id))[0] == []
    for act in (
        keys.revoke_key(runtime, other.id, made.key.id, actor="m"),
        keys.get_key(runtime, other.id, made.key.id),
    ):
        with pytest.raises(NotFound):
            await act
    with pytest.raises(InvalidInput, match=f"there is no device {device.id} in this workspace"):
        await keys.create_key(runtime, other.id, "till", [Scope.READ], device_id=device.id, actor="m")
    assert await opens(runtime, made.token)


async def test_last_use_is_noted_to_the_minute(runtime: Runtime, workspace: WorkspaceId) -> None:
    made = await keys.create_key(runtime, workspace, "export", [Scope.READ], actor=ACTOR)

    async def used() -> Any:
        return (await keys.get_key(runtime, workspace, made.key.id)).used_at

    assert await used() is None
    await entrance.of_key(runtime, made.token)
    first = await used()
    assert first is not None
    await entrance.of_key(runtime, made.token)
    assert await used() == first
    await pass_time(runtime, timedelta(minutes=1, seconds=1))
    await entrance.of_key(runtime, made.token)
    assert await used() > first


async def test_lists_go_on_where_the_page_before_ended(runtime: Runtime, workspace: WorkspaceId) -> None:
    for n in range(5):
        await keys.create_key(runtime, workspace, f"key {n}", [Scope.READ], actor=ACTOR)
    seen: list[str] = []
    after: str | None = None
    while True:
        page, after = await keys.list_keys(runtime, workspace, after=after, limit=2)
        seen += [k.name for k in page]
        if after is None:
            break
    assert seen == [f"key {n}" for n in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize(
    ("scopes", "person", "given", "may"),
    [
        (set(Scope), True, set(Scope), True),
        (set(Scope), True, {Scope.READ}, True),
        (set(Scope), False, {Scope.READ, Scope.SEND}, True),
        (set(Scope), False, {Scope.READ, Scope.MANAGE}, False),
        ({Scope.MANAGE}, False, {Scope.READ}, False),
        ({Scope.MANAGE}, False, {Scope.MANAGE}, False),
        ({Scope.READ}, True, {Scope.READ, Scope.SEND}, False),
    ],
)
def test_s40_nobody_gives_what_they_do_not_have_and_no_key_gives_manage(
    scopes: set[Scope], person: bool, given: set[Scope], may: bool
) -> None:
    user, key = (UserId(1), None) if person else (None, KeyId(1))
    access = Access(WorkspaceId(1), "somebody", frozenset(scopes), user_id=user, key_id=key)
    assert access.may_give(given) is may
