"""What ends the sessions that somebody else may have: another password, another role, no role at all."""

import pytest

from fleetcast.domain.access import Role, Scope
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import Conflict, InvalidInput, NotFound, TooMany, Unauthenticated
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import entrance, keys, membership, passwords, people, sign_in, tries
from fleetcast.services.workspaces import create_workspace
from tests.services.accounts.stage import (
    ELSEWHERE,
    GOOD,
    HERE,
    WRONG,
    Account,
    actions,
    is_open,
    log,
    session_of,
)


async def test_s31_another_password_ends_all_sessions_but_this_one(
    runtime: Runtime, workspace: WorkspaceId, ann: Account, ben: Account
) -> None:
    other, this, his = await ann.sign_in(ELSEWHERE), await ann.sign_in(), await ben.sign_in()
    keep = await session_of(runtime, this)
    await people.change_password(runtime, ann.user_id, ann.password, GOOD, keep=keep)
    assert [await is_open(runtime, token) for token in (other, this, his)] == [False, True, True]
    with pytest.raises(Unauthenticated):
        await ann.sign_in()
    ann.password = GOOD
    await ann.sign_in()
    [entry] = [e for e in await log(runtime, workspace) if e["action"] == "password.change"]
    assert (entry["actor"], entry["before"], entry["after"]) == ("user:Ann@example.org", None, None)


async def test_s31_another_password_ends_a_sign_in_that_waits_for_its_code(runtime: Runtime, ann: Account) -> None:
    await ann.add_second_factor()
    waiting = await sign_in.sign_in(runtime, ann.email, ann.password, ELSEWHERE)
    await people.change_password(runtime, ann.user_id, ann.password, GOOD)
    with pytest.raises(Unauthenticated):
        await sign_in.enter_code(runtime, waiting.token, await ann.code(), ELSEWHERE)


async def test_another_password_takes_the_old_one_and_a_good_new_one(runtime: Runtime, ann: Account) -> None:
    token = await ann.sign_in()
    for old, new, field in ((WRONG, GOOD, "password"), (ann.password, "password1234", "new_password")):
        with pytest.raises(InvalidInput) as refused:
            await people.change_password(runtime, ann.user_id, old, new)
        assert refused.value.field == field
    assert await is_open(runtime, token)
    await ann.sign_in()


async def test_guesses_of_the_old_password_are_counted(runtime: Runtime, ann: Account) -> None:
    for _ in range(tries.FREE):
        with pytest.raises(InvalidInput):
            await people.change_password(runtime, ann.user_id, WRONG, GOOD)
    with pytest.raises(TooMany):
        await people.change_password(runtime, ann.user_id, ann.password, GOOD)


async def test_s31_who_proved_a_password_that_was_changed_meanwhile_changes_nothing(
    runtime: Runtime, ann: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief who knows the old password, at the moment in which its owner gives herself a new one."""
    real = passwords.hashed

    async def meanwhile(password: str) -> str:
        monkeypatch.setattr(passwords, "hashed", real)
        await people.change_password(runtime, ann.user_id, ann.password, GOOD)
        return await real(password)

    monkeypatch.setattr(passwords, "hashed", meanwhile)
    with pytest.raises(Conflict, match="in this moment"):
        await people.change_password(runtime, ann.user_id, ann.password, "the thief has other plans")
    ann.password = GOOD
    await ann.sign_in()


async def test_s31_a_reset_ends_all_sessions_and_opens_a_blocked_account(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    token = await ann.sign_in()
    for n in range(tries.FREE):
        with pytest.raises(Unauthenticated):
            await sign_in.sign_in(runtime, ann.email, WRONG, sign_in.Browser("", f"203.0.113.{n}"))
    fresh = await people.reset_password(runtime, " ann@example.ORG", actor="cli:root")
    assert not await is_open(runtime, token)
    assert fresh != ann.password
    ann.password = fresh
    assert await is_open(runtime, await ann.sign_in())
    [entry] = [e for e in await log(runtime, workspace) if e["action"] == "password.reset"]
    assert entry["actor"] == "cli:root"
    with pytest.raises(NotFound, match="fleetcast user list"):
        await people.reset_password(runtime, "nobody@example.org", actor="cli:root")


async def test_s31_another_role_ends_all_sessions_and_counts_at_once(
    runtime: Runtime, workspace: WorkspaceId, ann: Account, ben: Account
) -> None:
    token, hers = await ben.sign_in(), await ann.sign_in()
    member = await membership.change_role(runtime, workspace, ben.user_id, Role.VIEWER, actor="user:Ann@example.org")
    assert member.role is Role.VIEWER
    assert not await is_open(runtime, token)
    assert await is_open(runtime, hers)
    access = (await entrance.visitor(runtime, await ben.sign_in())).access()
    assert access.scopes == {Scope.READ}
    [entry] = [e for e in await log(runtime, workspace) if e["action"] == "member.role"]
    assert (entry["subject"], entry["before"], entry["after"]) == (
        "ben@example.org",
        {"role": "operator"},
        {"role": "viewer"},
    )


async def test_the_same_role_again_ends_nothing(runtime: Runtime, workspace: WorkspaceId, ben: Account) -> None:
    token = await ben.sign_in()
    await membership.change_role(runtime, workspace, ben.user_id, Role.OPERATOR, actor="user:Ann@example.org")
    assert await is_open(runtime, token)
    assert "member.role" not in await actions(runtime, workspace)


async def test_s31_removal_from_a_workspace_ends_all_sessions_and_leaves_the_others(
    runtime: Runtime, workspace: WorkspaceId, ann: Account, ben: Account
) -> None:
    other = await create_workspace(runtime, "Other", owner=ben.email)
    token = await ben.sign_in()
    await membership.remove_member(runtime, workspace, ben.user_id, actor="user:Ann@example.org")
    assert not await is_open(runtime, token)
    visitor = await entrance.visitor(runtime, await ben.sign_in())
    assert [m.workspace_id for m in visitor.memberships] == [other.id]
    with pytest.raises(NotFound):
        visitor.access(workspace)


async def test_s31_keys_stay_unless_they_are_to_go_too_and_say_who_made_them(
    runtime: Runtime, workspace: WorkspaceId, ann: Account, ben: Account
) -> None:
    async def made(name: str, who: Account) -> str:
        return (await keys.create_key(runtime, workspace, name, [Scope.READ], actor=f"user:{who.email}")).token

    hers, his = await made("hers", ann), await made("his", ben)
    await membership.change_role(runtime, workspace, ben.user_id, Role.VIEWER, actor="user:Ann@example.org")
    await entrance.of_key(runtime, his)
    listed, _ = await keys.list_keys(runtime, workspace)
    assert {k.name: k.created_by for k in listed} == {"hers": "user:Ann@example.org", "his": "user:ben@example.org"}
    await membership.remove_member(runtime, workspace, ben.user_id, revoke_keys=True, actor="user:Ann@example.org")
    with pytest.raises(Unauthenticated):
        await entrance.of_key(runtime, his)
    await entrance.of_key(runtime, hers)
    await people.change_password(runtime, ann.user_id, ann.password, GOOD)
    await entrance.of_key(runtime, hers)
    await people.change_password(runtime, ann.user_id, GOOD, "yet another quiet winter", revoke_keys=True)
    with pytest.raises(Unauthenticated):
        await entrance.of_key(runtime, hers)
    assert (await actions(runtime, workspace)).count("key.revoke") == 2


async def test_s31_who_goes_cannot_come_back_by_an_invitation_of_their_own(
    runtime: Runtime, workspace: WorkspaceId, ann: Account, ben: Account
) -> None:
    await membership.change_role(runtime, workspace, ben.user_id, Role.OWNER, actor="user:Ann@example.org")
    his = await membership.invite(runtime, workspace, "alias@example.org", Role.OWNER, actor=f"user:{ben.email}")
    hers = await membership.invite(runtime, workspace, "carl@example.org", Role.VIEWER, actor=f"user:{ann.email}")
    await membership.remove_member(runtime, workspace, ben.user_id, actor=f"user:{ann.email}")
    with pytest.raises(NotFound):
        await membership.accept_as_new(runtime, his.token, "Alias", GOOD)
    await membership.accept_as_new(runtime, hers.token, "Carl", GOOD)
    assert await is_open(runtime, (await sign_in.sign_in(runtime, "carl@example.org", GOOD, HERE)).token)


async def test_f20_who_goes_from_one_workspace_keeps_keys_and_invitations_of_another(
    runtime: Runtime, workspace: WorkspaceId, ann: Account, ben: Account
) -> None:
    his = f"user:{ben.email}"
    other = await create_workspace(runtime, "Other", owner=ben.email)
    key = (await keys.create_key(runtime, other.id, "his", [Scope.READ], actor=his)).token
    invitation = await membership.invite(runtime, other.id, "carl@example.org", Role.VIEWER, actor=his)
    await membership.remove_member(runtime, workspace, ben.user_id, revoke_keys=True, actor=f"user:{ann.email}")
    assert (await entrance.of_key(runtime, key)).workspace_id == other.id
    await membership.accept_as_new(runtime, invitation.token, "Carl", GOOD)
    assert {"key.revoke", "member.withdraw"}.isdisjoint(await actions(runtime, workspace))
