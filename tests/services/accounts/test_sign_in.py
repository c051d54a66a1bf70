"""Signing in: what proves who somebody is, what they learn when it does not, and what their tokens are worth."""

import asyncio
from datetime import timedelta

import pytest

from fleetcast.domain.access import Role
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import NotFound, TooMany, Unauthenticated
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import entrance, passwords, sign_in, tries
from fleetcast.services.accounts.sign_in import Browser
from fleetcast.services.accounts.tokens import SESSION, new_token, token_hash
from fleetcast.store import sessions
from tests.services.accounts.stage import (
    ELSEWHERE,
    HERE,
    WRONG,
    Account,
    account,
    actions,
    is_open,
    log,
    pass_time,
)


async def test_a_password_opens_a_session_that_knows_its_person(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    done = await sign_in.sign_in(runtime, " ann@EXAMPLE.org ", ann.password, HERE)
    assert not done.needs_code
    visitor = await entrance.visitor(runtime, done.token)
    assert (visitor.user_id, visitor.email) == (ann.user_id, "Ann@example.org")
    access = visitor.access()
    assert (access.workspace_id, access.actor) == (workspace, "user:Ann@example.org")
    [entry] = [e for e in await log(runtime, workspace) if e["action"] == "session.start"]
    assert (entry["actor"], entry["after"]) == ("user:Ann@example.org", {"address": "192.0.2.1"})


@pytest.mark.parametrize("token", [None, "", "fcs_unknown", "fck_unknown", "\udcff", "fcs_" + "x" * 10_000])
async def test_f22_no_session_and_an_invented_one_open_nothing(
    runtime: Runtime, ann: Account, token: str | None
) -> None:
    await ann.sign_in()
    with pytest.raises(Unauthenticated):
        await entrance.visitor(runtime, token)


async def test_s30_each_sign_in_makes_a_new_token_and_the_one_known_before_is_worthless(
    runtime: Runtime, ann: Account
) -> None:
    planted = new_token(SESSION)
    first = (await sign_in.sign_in(runtime, ann.email, ann.password, HERE, before=planted)).token
    assert first != planted
    assert not await is_open(runtime, planted)
    second = (await sign_in.sign_in(runtime, ann.email, ann.password, HERE, before=first)).token
    assert second != first
    assert await is_open(runtime, second)
    assert not await is_open(runtime, first)


async def test_s30_the_token_between_password_and_code_opens_nothing_before_and_after(
    runtime: Runtime, ann: Account
) -> None:
    await ann.add_second_factor()
    half = await sign_in.sign_in(runtime, ann.email, ann.password, HERE)
    assert half.needs_code
    assert not await is_open(runtime, half.token)
    whole = await sign_in.enter_code(runtime, half.token, await ann.code(), HERE)
    assert whole != half.token
    assert await is_open(runtime, whole)
    assert not await is_open(runtime, half.token)
    await pass_time(runtime, timedelta(seconds=30))
    with pytest.raises(Unauthenticated, match="password again"):
        await sign_in.enter_code(runtime, half.token, await ann.code(), HERE)


async def test_half_a_sign_in_ends_after_ten_minutes(runtime: Runtime, ann: Account) -> None:
    await ann.add_second_factor()
    half = await sign_in.sign_in(runtime, ann.email, ann.password, HERE)
    await pass_time(runtime, timedelta(minutes=10, seconds=1))
    with pytest.raises(Unauthenticated, match="took too long"):
        await sign_in.enter_code(runtime, half.token, await ann.code(), HERE)


async def refusal(runtime: Runtime, email: str, password: str = WRONG) -> str:
    """What somebody is told who cannot sign in."""
    with pytest.raises(Unauthenticated) as refused:
        await sign_in.sign_in(runtime, email, password, HERE)
    return str(refused.value)


async def test_s33_who_has_no_account_is_told_the_same_as_who_has_one(runtime: Runtime, ann: Account) -> None:
    told = {await refusal(runtime, email) for email in (ann.email, "nobody@example.org", "", "\x00", "ä" * 400)}
    assert told == {"E-mail address or password is wrong."}
    for email in (ann.email, "nobody@example.org"):
        for _ in range(12):  # the next failure blocks for minutes
            await tries.count(runtime, tries.of_account(email))
            await pass_time(runtime, timedelta(seconds=tries.LONGEST_WAIT))
        await refusal(runtime, email)
        with pytest.raises(TooMany, match="Too many tries"):
            await sign_in.sign_in(runtime, email, WRONG, HERE)


async def test_s33_guesses_side_by_side_are_no_more_than_guesses_one_by_one(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    for _ in range(12):  # the next failure blocks for minutes
        await tries.count(runtime, tries.of_account(ann.email))
        await pass_time(runtime, timedelta(seconds=tries.LONGEST_WAIT))
    guesses = [sign_in.sign_in(runtime, ann.email, f"{WRONG} {n}", Browser("", f"203.0.113.{n}")) for n in range(30)]
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert sorted(type(o).__name__ for o in outcomes) == ["TooMany"] * 29 + ["Unauthenticated"]
    with pytest.raises(TooMany):  # the right one is not looked at either
        await ann.sign_in(ELSEWHERE)
    await pass_time(runtime, timedelta(seconds=tries.LONGEST_WAIT))
    assert await is_open(runtime, await ann.sign_in(ELSEWHERE))
    assert "session.blocked" in await actions(runtime, workspace)


async def test_s33_one_address_cannot_go_through_all_accounts(runtime: Runtime, ann: Account) -> None:
    for _ in range(tries.FREE_OF_ADDRESS + 12):
        await tries.count(runtime, tries.of_address(HERE.address), free=tries.FREE_OF_ADDRESS)
        await pass_time(runtime, timedelta(seconds=tries.LONGEST_WAIT))
    await tries.count(runtime, tries.of_address(HERE.address), free=tries.FREE_OF_ADDRESS)
    with pytest.raises(TooMany):
        await ann.sign_in(HERE)
    async with runtime.db.connection() as connection:
        counted = await connection.fetchval(
            "SELECT count(*) FROM sign_in_failures WHERE subject = $1", tries.of_account(ann.email)
        )
    assert counted == 0, "an address that is shut out locks out no account"
    assert await is_open(runtime, await ann.sign_in(ELSEWHERE))


async def test_s33_an_address_is_not_cleared_by_an_account_of_ones_own(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    mallory = await account(runtime, workspace, Role.VIEWER)
    for n in range(8):
        await refusal(runtime, f"somebody-{n}@example.org")
        await mallory.sign_in(HERE)
    assert await tries.count(runtime, tries.of_address(HERE.address)) == 9


async def test_a_block_is_in_the_log_of_each_workspace_with_the_address_it_came_from(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    for _ in range(tries.FREE):
        await refusal(runtime, ann.email)
    [entry] = [e for e in await log(runtime, workspace) if e["action"] == "session.blocked"]
    assert entry == {
        "actor": "address:192.0.2.1",
        "action": "session.blocked",
        "subject": "Ann@example.org",
        "before": None,
        "after": {"failures": tries.FREE},
    }


async def test_a_password_changed_while_the_old_one_is_looked_at_wins(
    runtime: Runtime, ann: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verification takes a while; what it found may be over by then."""
    real = passwords.verify

    async def slow(password: str, stored: str | None) -> tuple[bool, str | None]:
        found = await real(password, stored)
        async with runtime.db.connection() as connection:
            await connection.execute("UPDATE users SET password_hash = 'another'")
        return found

    monkeypatch.setattr(passwords, "verify", slow)
    assert await refusal(runtime, ann.email, ann.password) == "E-mail address or password is wrong."
    async with runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM sessions") == 0


async def test_a_session_ends_after_thirty_days_and_after_a_week_without_use(runtime: Runtime, ann: Account) -> None:
    used, unused = await ann.sign_in(), await ann.sign_in()
    for _ in range(5):
        await pass_time(runtime, timedelta(days=5))
        assert await is_open(runtime, used)
    assert not await is_open(runtime, unused)
    await pass_time(runtime, timedelta(days=5, seconds=1))
    assert not await is_open(runtime, used)
    await ann.sign_in()
    async with runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM sessions") == 1, "those that are over are swept"


async def test_a_session_says_when_it_was_used_last(runtime: Runtime, ann: Account) -> None:
    token = await ann.sign_in()
    [before], _ = await sign_in.list_sessions(runtime, ann.user_id)
    await pass_time(runtime, timedelta(hours=1))
    await entrance.visitor(runtime, token)
    [after], _ = await sign_in.list_sessions(runtime, ann.user_id)
    assert (before.browser, before.address) == ("Firefox", "192.0.2.1")
    assert after.seen_at - before.seen_at >= timedelta(hours=1)


async def test_signing_out_ends_this_session_and_no_other(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    one, two = await ann.sign_in(), await ann.sign_in(ELSEWHERE)
    await sign_in.sign_out(runtime, one)
    await sign_in.sign_out(runtime, one)
    await sign_in.sign_out(runtime, "fcs_unknown")
    assert not await is_open(runtime, one)
    assert await is_open(runtime, two)
    assert (await actions(runtime, workspace)).count("session.end") == 1


async def test_a_session_is_ended_by_whom_it_belongs_to(
    runtime: Runtime, workspace: WorkspaceId, ann: Account, ben: Account
) -> None:
    mine, his = await ann.sign_in(), await ben.sign_in()
    [session], _ = await sign_in.list_sessions(runtime, ben.user_id)
    with pytest.raises(NotFound):
        await sign_in.end_session(runtime, ann.user_id, session.id)
    assert await is_open(runtime, his)
    await sign_in.end_session(runtime, ben.user_id, session.id)
    assert not await is_open(runtime, his)
    assert await is_open(runtime, mine)


async def test_f36_signing_out_everywhere_ends_nobody_elses_sessions(
    runtime: Runtime, ann: Account, ben: Account
) -> None:
    tokens, his = [await ann.sign_in() for _ in range(3)], await ben.sign_in()
    [newest, *_], _ = await sign_in.list_sessions(runtime, ann.user_id)
    assert await sign_in.sign_out_everywhere(runtime, ann.user_id, keep=newest.id) == 2
    assert [await is_open(runtime, t) for t in tokens] == [False, False, True]
    assert await sign_in.sign_out_everywhere(runtime, ann.user_id) == 1
    assert not await is_open(runtime, tokens[2])
    assert await is_open(runtime, his)


async def test_a_token_is_looked_up_by_its_hash(runtime: Runtime, ann: Account) -> None:
    token = await ann.sign_in()
    async with runtime.db.connection() as connection:
        stored = await connection.fetchval("SELECT token_sha256 FROM sessions")
        found = await sessions.by_token(connection, token_hash(token), idle_seconds=60.0)
    assert stored == token_hash(token)
    assert found is not None
    for known in (stored.hex(), "fcs_" + stored.hex(), f"\\x{stored.hex()}"):
        assert not await is_open(runtime, known)


async def test_a_long_name_of_a_browser_is_cut(runtime: Runtime, ann: Account) -> None:
    await ann.sign_in(Browser("x" * 100_000, "y" * 1_000))
    [session], _ = await sign_in.list_sessions(runtime, ann.user_id)
    assert (len(session.browser), len(session.address)) == (200, 64)
