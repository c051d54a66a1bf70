"""The second factor: set up, asked for, guessed at, recovered from, turned off."""

import asyncio
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import Conflict, InvalidInput, TooMany, Unauthenticated
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import people, second_factor, sign_in, tries
from fleetcast.services.installation_key import Seal, installation_key
from tests.services.accounts.stage import (
    ELSEWHERE,
    HERE,
    NEXT_CODE,
    WRONG,
    Account,
    actions,
    code_now,
    is_open,
    log,
    pass_time,
    session_of,
)

LONG = timedelta(seconds=tries.LONGEST_WAIT)


async def half(who: Account) -> str:
    """The token between password and code."""
    done = await sign_in.sign_in(who.runtime, who.email, who.password, HERE)
    assert done.needs_code
    return done.token


async def enters(who: Account, code: str) -> bool:
    """Whether a code finishes a fresh sign-in."""
    try:
        token = await sign_in.enter_code(who.runtime, await half(who), code, HERE)
    except Unauthenticated:
        return False
    return await is_open(who.runtime, token)


async def test_a_second_factor_is_asked_for_once_a_code_of_it_was_seen(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    enrolment = await second_factor.begin(runtime, ann.user_id, ann.password)
    parts = urlsplit(enrolment.uri)
    assert (parts.scheme, parts.netloc, parts.path) == ("otpauth", "totp", "/Fleetcast:Ann%40example.org")
    assert parse_qs(parts.query) == {"secret": [enrolment.secret], "issuer": ["Fleetcast"]}
    assert len(enrolment.secret) == 32
    done = await sign_in.sign_in(runtime, ann.email, ann.password, HERE)
    assert not done.needs_code, "it is only prepared"
    with pytest.raises(InvalidInput) as refused:
        await second_factor.confirm(runtime, ann.user_id, "000000")
    assert refused.value.field == "code"
    ann.secret = enrolment.secret
    ann.recovery_codes = await second_factor.confirm(runtime, ann.user_id, await ann.code())
    assert len(set(ann.recovery_codes)) == 10
    await pass_time(runtime, NEXT_CODE)
    assert await enters(ann, await ann.code())
    assert (await actions(runtime, workspace)).count("second_factor.on") == 1


async def test_turning_it_on_ends_the_other_sessions(runtime: Runtime, ann: Account) -> None:
    other, this = await ann.sign_in(ELSEWHERE), await ann.sign_in()
    enrolment = await second_factor.begin(runtime, ann.user_id, ann.password)
    code = await code_now(runtime, enrolment.secret)
    await second_factor.confirm(runtime, ann.user_id, code, keep=await session_of(runtime, this))
    assert await is_open(runtime, this)
    assert not await is_open(runtime, other)


async def test_a_code_works_once(ann: Account) -> None:
    await ann.add_second_factor()
    code = await ann.code()
    assert await enters(ann, f" {code[:3]} {code[3:]} ")
    assert not await enters(ann, code)
    assert len(ann.secret) == 32


async def test_a_code_entered_twice_at_once_works_once(runtime: Runtime, ann: Account) -> None:
    await ann.add_second_factor()
    code = await ann.code()
    tokens = [await half(ann) for _ in range(4)]
    entered = await asyncio.gather(
        *(sign_in.enter_code(runtime, token, code, HERE) for token in tokens), return_exceptions=True
    )
    assert sorted(type(e).__name__ for e in entered) == ["Unauthenticated"] * 3 + ["str"]


async def test_the_code_that_turned_it_on_does_not_sign_in(runtime: Runtime, ann: Account) -> None:
    enrolment = await second_factor.begin(runtime, ann.user_id, ann.password)
    code = await code_now(runtime, enrolment.secret)
    await second_factor.confirm(runtime, ann.user_id, code)
    assert not await enters(ann, code)


@pytest.mark.parametrize(("steps", "works"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
async def test_a_clock_may_be_wrong_by_half_a_minute(runtime: Runtime, ann: Account, steps: int, works: bool) -> None:
    await ann.add_second_factor()
    await pass_time(runtime, 5 * NEXT_CODE)
    await pass_time(runtime, steps * NEXT_CODE)
    code = await ann.code()
    await pass_time(runtime, -steps * NEXT_CODE)
    assert await enters(ann, code) is works


async def test_a_code_older_than_one_that_was_used_does_not_work_any_more(runtime: Runtime, ann: Account) -> None:
    await ann.add_second_factor()
    older = await ann.code()
    await pass_time(runtime, NEXT_CODE)
    assert await enters(ann, await ann.code())
    assert not await enters(ann, older)


@pytest.mark.parametrize("code", ["", "12345", "1234567", "١٢٣٤٥٦", "abcdef", "\x00", "\ud800", "0" * 10_000])
async def test_what_is_no_code_is_a_wrong_code(ann: Account, code: str) -> None:
    await ann.add_second_factor()
    assert not await enters(ann, code)


async def test_each_recovery_code_works_once(runtime: Runtime, ann: Account) -> None:
    await ann.add_second_factor()
    first, second, *_ = ann.recovery_codes
    assert await enters(ann, first)
    assert not await enters(ann, first)
    assert await enters(ann, second.replace("-", " ").upper())
    assert await second_factor.recovery_codes_left(runtime, ann.user_id) == 8


async def test_a_recovery_code_of_somebody_else_opens_nothing_and_stays_theirs(
    runtime: Runtime, ann: Account, ben: Account
) -> None:
    await ann.add_second_factor()
    await ben.add_second_factor()
    assert not await enters(ann, ben.recovery_codes[0])
    assert await enters(ben, ben.recovery_codes[0])


async def test_s32_the_code_is_asked_for_after_a_password_reset(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    await ann.add_second_factor()
    ann.password = await people.reset_password(runtime, ann.email, actor="cli:test")
    done = await sign_in.sign_in(runtime, ann.email, ann.password, HERE)
    assert done.needs_code
    assert not await is_open(runtime, done.token)
    assert await is_open(runtime, await sign_in.enter_code(runtime, done.token, await ann.code(), HERE))


async def test_s32_a_thousand_codes_over_fresh_sign_ins_are_as_few_tries_as_over_one(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    await ann.add_second_factor()
    for _ in range(11):  # the next failure blocks for minutes: no time of the test's own makes a difference
        await tries.count(runtime, tries.of_code(ann.user_id))
        await pass_time(runtime, LONG)
    looked_at = 0
    for fresh in range(20):
        token = await half(ann)
        for n in range(50):
            code = f"{fresh * 50 + n:06}"
            try:
                await sign_in.enter_code(runtime, token, code, HERE)
            except TooMany:
                continue
            except Unauthenticated:
                looked_at += 1
    assert looked_at == 1
    with pytest.raises(TooMany):  # the right one is not looked at either, however fresh the sign-in
        await sign_in.enter_code(runtime, await half(ann), await ann.code(), HERE)
    [blocked] = [e for e in await log(runtime, workspace) if e["action"] == "second_factor.blocked"]
    assert blocked["actor"] == "address:192.0.2.1"
    await pass_time(runtime, LONG)
    assert await enters(ann, await ann.code()), "it is never closed for good"


async def test_s32_recovery_codes_are_counted_with_the_others(runtime: Runtime, ann: Account) -> None:
    await ann.add_second_factor()
    for n in range(tries.FREE):
        assert not await enters(ann, f"{n:020}")
    async with runtime.db.connection() as connection:
        counted = await connection.fetchval(
            "SELECT failures FROM sign_in_failures WHERE subject = $1", tries.of_code(ann.user_id)
        )
    assert counted == tries.FREE


async def test_s32_codes_asked_for_by_a_session_are_counted_with_those_of_sign_ins(
    runtime: Runtime, ann: Account, ben: Account
) -> None:
    """Who has the password and a browser left open guesses no faster than who signs in."""
    await ann.add_second_factor()
    for _ in range(tries.FREE):
        with pytest.raises(InvalidInput):
            await second_factor.turn_off(runtime, ann.user_id, ann.password, "000000")
    for act in (second_factor.turn_off, second_factor.renew_recovery_codes):
        with pytest.raises(TooMany):
            await act(runtime, ann.user_id, ann.password, await ann.code())
    with pytest.raises(TooMany):
        await enters(ann, await ann.code())
    enrolment = await second_factor.begin(runtime, ben.user_id, ben.password)
    for _ in range(tries.FREE):
        with pytest.raises(InvalidInput):
            await second_factor.confirm(runtime, ben.user_id, "000000")
    with pytest.raises(TooMany):
        await second_factor.confirm(runtime, ben.user_id, await code_now(runtime, enrolment.secret))


async def test_s32_a_session_cannot_replace_or_weaken_it_without_a_code(runtime: Runtime, ann: Account) -> None:
    await ann.add_second_factor()
    with pytest.raises(Conflict):
        await second_factor.begin(runtime, ann.user_id, ann.password)
    with pytest.raises(Conflict):
        await second_factor.confirm(runtime, ann.user_id, await ann.code())
    for act in (second_factor.turn_off, second_factor.renew_recovery_codes):
        with pytest.raises(InvalidInput) as refused:
            await act(runtime, ann.user_id, ann.password, "000000")
        assert refused.value.field == "code"
        with pytest.raises(InvalidInput) as refused:
            await act(runtime, ann.user_id, WRONG, await ann.code())
        assert refused.value.field == "password"
    assert await second_factor.recovery_codes_left(runtime, ann.user_id) == 10
    assert await enters(ann, await ann.code())


async def test_s32_confirming_at_the_moment_it_is_begun_anew_cannot_turn_it_off(
    runtime: Runtime, ann: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two browsers: one has proved the password to begin, the other confirms before it goes on."""
    first = await second_factor.begin(runtime, ann.user_id, ann.password)
    real = installation_key

    async def meanwhile(runtime: Runtime) -> Seal:
        monkeypatch.setattr(second_factor, "installation_key", real)
        await second_factor.confirm(runtime, ann.user_id, await code_now(runtime, first.secret))
        return await real(runtime)

    monkeypatch.setattr(second_factor, "installation_key", meanwhile)
    with pytest.raises(Conflict, match="set up already"):
        await second_factor.begin(runtime, ann.user_id, ann.password)
    assert (await sign_in.sign_in(runtime, ann.email, ann.password, HERE)).needs_code


async def test_new_recovery_codes_end_the_old_ones(runtime: Runtime, ann: Account) -> None:
    await ann.add_second_factor()
    fresh = await second_factor.renew_recovery_codes(runtime, ann.user_id, ann.password, await ann.code())
    assert not set(fresh) & set(ann.recovery_codes)
    assert not await enters(ann, ann.recovery_codes[0])
    assert await enters(ann, fresh[0])


async def test_turned_off_it_is_asked_for_no_more(runtime: Runtime, workspace: WorkspaceId, ann: Account) -> None:
    await ann.add_second_factor()
    await second_factor.turn_off(runtime, ann.user_id, ann.password, ann.recovery_codes[0])
    assert not (await sign_in.sign_in(runtime, ann.email, ann.password, HERE)).needs_code
    assert await second_factor.recovery_codes_left(runtime, ann.user_id) == 0
    assert "second_factor.off" in await actions(runtime, workspace)
    with pytest.raises(Conflict):
        await second_factor.turn_off(runtime, ann.user_id, ann.password, ann.recovery_codes[1])


async def test_who_runs_the_machine_takes_it_away_and_all_sessions_end(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    await ann.add_second_factor()
    token = await ann.sign_in()
    for _ in range(tries.FREE):
        await tries.count(runtime, tries.of_code(ann.user_id))
    await people.remove_second_factor(runtime, "ANN@example.org", actor="cli:root")
    assert not await is_open(runtime, token)
    assert not (await sign_in.sign_in(runtime, ann.email, ann.password, HERE)).needs_code
    [entry] = [e for e in await log(runtime, workspace) if e["action"] == "second_factor.off"]
    assert entry["actor"] == "cli:root"
    assert await tries.count(runtime, tries.of_code(ann.user_id)) == 1


async def test_the_password_asked_for_again_is_counted_apart_from_signing_in(
    runtime: Runtime, workspace: WorkspaceId, ann: Account
) -> None:
    """Who only knows the address can keep nobody who is signed in from their own account."""
    for _ in range(12):
        await tries.count(runtime, tries.of_account(ann.email))
        await pass_time(runtime, LONG)
    await tries.count(runtime, tries.of_account(ann.email))
    await second_factor.begin(runtime, ann.user_id, ann.password)
    for _ in range(tries.FREE):
        with pytest.raises(InvalidInput):
            await second_factor.begin(runtime, ann.user_id, WRONG)
    with pytest.raises(TooMany):
        await second_factor.begin(runtime, ann.user_id, ann.password)
    [entry] = [e for e in await log(runtime, workspace) if e["action"] == "password.blocked"]
    assert entry["after"] == {"failures": tries.FREE}
