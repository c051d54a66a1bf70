"""What a thief of the database and readers of the audit log and of the logs find: nothing that opens anything."""

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from fleetcast.domain.access import Role, Scope
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import FleetcastError
from fleetcast.observability.logging import configure_logging
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import keys, membership, people, second_factor, sign_in
from fleetcast.services.accounts.tokens import token_hash
from tests.services.accounts.stage import (
    GOOD,
    HERE,
    NEXT_CODE,
    WRONG,
    Account,
    account,
    actions,
    dump,
    found_in,
    log,
    pass_time,
)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Everything that is logged, down to the least of it."""
    root, out = logging.getLogger(), io.StringIO()
    before = root.handlers, root.level
    yield out
    root.handlers, root.level = before
    structlog.reset_defaults()


async def a_life(runtime: Runtime, workspace: WorkspaceId) -> list[str]:
    """Everything that people do with their accounts; every secret that there was on the way."""
    owner = await people.first_owner(runtime)
    assert owner is not None
    ann = await account(runtime, workspace, Role.OWNER, "ann@example.org")
    secrets = [str(owner.password), ann.password, WRONG]
    half = await sign_in.sign_in(runtime, ann.email, ann.password, HERE)
    secrets.append(half.token)
    await ann.add_second_factor()
    secrets += [ann.secret, *ann.recovery_codes]
    half = await sign_in.sign_in(runtime, ann.email, ann.password, HERE)
    secrets += [half.token, await sign_in.enter_code(runtime, half.token, ann.recovery_codes[0], HERE)]
    await pass_time(runtime, NEXT_CODE)
    secrets += await second_factor.renew_recovery_codes(runtime, ann.user_id, ann.password, await ann.code())
    await people.change_password(runtime, ann.user_id, ann.password, GOOD)
    secrets += [GOOD, await people.reset_password(runtime, ann.email, actor="cli:root")]
    made = await keys.create_key(runtime, workspace, "export", list(Scope), actor="user:ann@example.org")
    await keys.revoke_key(runtime, workspace, made.key.id, actor="user:ann@example.org")
    living = await keys.create_key(runtime, workspace, "export", [Scope.READ], actor="user:ann@example.org")
    invited = await membership.invite(runtime, workspace, "new@example.org", Role.VIEWER, actor="user:ann@example.org")
    secrets += [made.token, living.token, invited.token]
    for n in range(7):
        try:
            await sign_in.sign_in(runtime, ann.email, f"{WRONG} {n}", HERE)
        except FleetcastError:
            continue
    return secrets


async def test_s39_nothing_in_a_dump_of_the_database_opens_anything(runtime: Runtime, workspace: WorkspaceId) -> None:
    secrets = await a_life(runtime, workspace)
    text = await dump(runtime)
    assert len(secrets) > 25
    assert "ann@example.org" in text, "it is a dump"
    assert token_hash(secrets[-1]).hex() in text, "bytes stand in it in digits"
    assert found_in(text, secrets) == []


async def test_no_entry_of_the_log_holds_a_secret(runtime: Runtime, workspace: WorkspaceId) -> None:
    secrets = await a_life(runtime, workspace)
    entries = await log(runtime, workspace)
    assert {
        "session.start",
        "session.blocked",
        "second_factor.on",
        "second_factor.recovery_codes",
        "password.change",
        "password.reset",
        "key.create",
        "key.revoke",
        "member.add",
        "member.invite",
    } <= set(await actions(runtime, workspace))
    assert all(entry["actor"] and entry["subject"] for entry in entries)
    assert found_in(str(entries), [*secrets, *(token_hash(s).hex() for s in secrets), "argon2"]) == []


async def test_f23_nothing_that_is_logged_holds_a_secret(
    runtime: Runtime, workspace: WorkspaceId, written: io.StringIO
) -> None:
    configure_logging(runtime.settings, "tests", level="debug", stream=written)
    secrets = await a_life(runtime, workspace)
    assert found_in(written.getvalue(), secrets) == []


async def test_who_is_a_member_nowhere_is_in_the_log_of_the_installation(
    runtime: Runtime, workspace: WorkspaceId, ann: Account, ben: Account
) -> None:
    await membership.remove_member(runtime, workspace, ben.user_id, actor="user:Ann@example.org")
    await ben.sign_in()
    assert await actions(runtime, None) == ["session.start"]
