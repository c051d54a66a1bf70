"""Members and invitations: who comes in by which link, and that a workspace never stands without an owner."""

import asyncio
from datetime import timedelta

import pytest

from fleetcast.domain.access import Role
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import membership
from fleetcast.services.workspaces import create_workspace
from tests.services.accounts.stage import GOOD, Account, account, actions, log, pass_time

ACTOR = "user:Ann@example.org"


async def roles(runtime: Runtime, workspace_id: WorkspaceId) -> dict[str, Role]:
    """Who is what."""
    found, _ = await membership.list_members(runtime, workspace_id)
    return {m.email: m.role for m in found}


async def test_an_invitation_makes_a_new_member_once(runtime: Runtime, workspace: WorkspaceId, ann: Account) -> None:
    made = await membership.invite(runtime, workspace, " new@example.org ", Role.VIEWER, actor=ACTOR)
    assert (made.invitation.email, made.invitation.role) == ("new@example.org", Role.VIEWER)
    shown, known = await membership.show_invitation(runtime, made.token)
    assert (shown, known) == (made.invitation, False)
    joined = await membership.accept_as_new(runtime, made.token, "New", GOOD)
    assert (joined.workspace_id, joined.role) == (workspace, Role.VIEWER)
    assert await roles(runtime, workspace) == {"Ann@example.org": Role.OWNER, "new@example.org": Role.VIEWER}
    with pytest.raises(NotFound, match="Ask for a new one"):
        await membership.accept_as_new(runtime, made.token, "Again", GOOD)
    entries = {e["action"]: e for e in await log(runtime, workspace)}
    assert entries["member.invite"]["after"] == {"role": "viewer"}
    assert entries["member.accept"]["actor"] == "user:new@example.org"
    assert entries["member.accept"]["after"] == {"role": "viewer", "invited_by": ACTOR}


async def test_a_link_opened_by_many_at_once_lets_one_in(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    made = await membership.invite(runtime, workspace, "new@example.org", Role.VIEWER, actor=ACTOR)
    outcomes = await asyncio.gather(
        *(membership.accept_as_new(runtime, made.token, f"N{n}", GOOD) for n in range(4)), return_exceptions=True
    )
    assert sum(isinstance(o, membership.Membership) for o in outcomes) == 1
    assert len(await roles(runtime, workspace)) == 2


async def test_an_invitation_ends_after_seven_days_by_withdrawal_and_by_a_newer_one(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    async def invite() -> membership.Invited:
        return await membership.invite(runtime, workspace, "new@example.org", Role.VIEWER, actor=ACTOR)

    replaced, withdrawn = await invite(), await invite()
    await membership.withdraw(runtime, workspace, withdrawn.invitation.id, actor=ACTOR)
    late = await invite()
    await pass_time(runtime, timedelta(days=7, seconds=1))
    for gone in (replaced, withdrawn, late):
        with pytest.raises(NotFound):
            await membership.show_invitation(runtime, gone.token)
        with pytest.raises(NotFound):
            await membership.accept_as_new(runtime, gone.token, "New", GOOD)
        with pytest.raises(NotFound):
            await membership.withdraw(runtime, workspace, gone.invitation.id, actor=ACTOR)
        with pytest.raises(NotFound):
            await membership.get_invitation(runtime, workspace, gone.invitation.id)
    assert (await membership.list_invitations(runtime, workspace))[0] == []
    assert (await actions(runtime, workspace)).count("member.withdraw") == 1


async def test_who_has_an_account_accepts_signed_in_and_nobody_elses_invitation(
    runtime: Runtime, workspace: WorkspaceId, ann: Account, ben: Account
) -> None:
    other = await create_workspace(runtime, "Other", owner=ann.email)
    made = await membership.invite(runtime, other.id, "BEN@example.org", Role.OPERATOR, actor=ACTOR)
    with pytest.raises(Conflict, match="sign in"):
        await membership.accept_as_new(runtime, made.token, "Thief", GOOD)
    with pytest.raises(Conflict, match="you are signed in as Ann"):
        await membership.accept_as(runtime, made.token, ann.user_id)
    assert "ben@example.org" not in await roles(runtime, other.id)
    joined = await membership.accept_as(runtime, made.token, ben.user_id)
    assert joined.workspace == "Other"
    assert (await roles(runtime, other.id))["ben@example.org"] is Role.OPERATOR
    with pytest.raises(NotFound):
        await membership.accept_as(runtime, made.token, ben.user_id)


async def test_a_member_is_not_invited_and_a_link_never_changes_a_role(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    made = await membership.invite(runtime, workspace, "carl@example.org", Role.OWNER, actor=ACTOR)
    carl = await account(runtime, workspace, Role.VIEWER, "carl@example.org")
    with pytest.raises(Conflict, match="member of"):
        await membership.accept_as(runtime, made.token, carl.user_id)
    with pytest.raises(Conflict, match="member already"):
        await membership.invite(runtime, workspace, "Carl@example.org", Role.OWNER, actor=ACTOR)
    assert (await roles(runtime, workspace))["carl@example.org"] is Role.VIEWER


@pytest.mark.parametrize(
    "email", ["", "ann", "@example.org", "ann@", "a b@example.org", "a@b@c", "ann\x00@example.org", "x" * 400 + "@a"]
)
async def test_what_is_no_address_is_refused_by_field(runtime: Runtime, workspace: WorkspaceId, email: str) -> None:
    for act in (
        membership.invite(runtime, workspace, email, Role.VIEWER, actor=ACTOR),
        membership.add_member(runtime, workspace, email, "Name", Role.VIEWER, actor=ACTOR),
    ):
        with pytest.raises(InvalidInput) as refused:
            await act
        assert refused.value.field == "email"


async def test_a_weak_password_leaves_the_invitation_open(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    made = await membership.invite(runtime, workspace, "new@example.org", Role.VIEWER, actor=ACTOR)
    for name, password, field in (("New", "password1234", "password"), ("  ", GOOD, "name")):
        with pytest.raises(InvalidInput) as refused:
            await membership.accept_as_new(runtime, made.token, name, password)
        assert refused.value.field == field
    await membership.accept_as_new(runtime, made.token, "New", GOOD)


async def test_the_last_owner_can_neither_go_nor_become_less(
    runtime: Runtime, workspace: WorkspaceId, ann: Account, ben: Account
) -> None:
    with pytest.raises(Conflict, match="only owner"):
        await membership.remove_member(runtime, workspace, ann.user_id, actor=ACTOR)
    with pytest.raises(Conflict, match="only owner"):
        await membership.change_role(runtime, workspace, ann.user_id, Role.OPERATOR, actor=ACTOR)
    await membership.change_role(runtime, workspace, ben.user_id, Role.OWNER, actor=ACTOR)
    outcomes = await asyncio.gather(
        membership.remove_member(runtime, workspace, ann.user_id, actor="user:ben@example.org"),
        membership.change_role(runtime, workspace, ben.user_id, Role.VIEWER, actor=ACTOR),
        return_exceptions=True,
    )
    assert sum(isinstance(o, Conflict) for o in outcomes) == 1, "two owners who turn on each other: one stays"
    assert list((await roles(runtime, workspace)).values()).count(Role.OWNER) == 1


async def test_f20_members_and_invitations_are_those_of_one_workspace(
    runtime: Runtime, workspace: WorkspaceId, ann: Account, ben: Account
) -> None:
    other = await create_workspace(runtime, "Other")
    mallory = await account(runtime, other.id, Role.OWNER)
    made = await membership.invite(runtime, workspace, "new@example.org", Role.VIEWER, actor=ACTOR)
    assert await roles(runtime, other.id) == {mallory.email: Role.OWNER}
    assert (await membership.list_invitations(runtime, other.id))[0] == []
    for act in (
        membership.get_member(runtime, other.id, ben.user_id),
        membership.change_role(runtime, other.id, ben.user_id, Role.OWNER, actor="m"),
        membership.remove_member(runtime, other.id, ben.user_id, actor="m"),
        membership.withdraw(runtime, other.id, made.invitation.id, actor="m"),
        membership.get_invitation(runtime, other.id, made.invitation.id),
    ):
        with pytest.raises(NotFound):
            await act
    assert (await roles(runtime, workspace))["ben@example.org"] is Role.OPERATOR
    await membership.show_invitation(runtime, made.token)


async def test_lists_go_on_where_the_page_before_ended(runtime: Runtime, workspace: WorkspaceId) -> None:
    for n in range(5):
        await membership.invite(runtime, workspace, f"n{n}@example.org", Role.VIEWER, actor=ACTOR)
    seen: list[str] = []
    after: str | None = None
    while True:
        page, after = await membership.list_invitations(runtime, workspace, after=after, limit=2)
        seen += [i.email for i in page]
        if after is None:
            break
    assert seen == [f"n{n}@example.org" for n in range(5)]


async def test_the_first_account_may_be_made_at_the_machine_and_a_second_workspace_needs_no_second_password(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    other = await create_workspace(runtime, "Other")
    assert await membership.add_member(runtime, other.id, "ann@example.org", "", Role.VIEWER, actor="cli:root") is None
    with pytest.raises(Conflict, match="member already"):
        await membership.add_member(runtime, other.id, "ann@example.org", "", Role.OWNER, actor="cli:root")
    assert await roles(runtime, other.id) == {"Ann@example.org": Role.VIEWER}
