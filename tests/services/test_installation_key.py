"""The installation's key: recognised by the database, and given up on purpose only."""

from dataclasses import replace

import pytest
from pydantic import SecretStr

from fleetcast.domain.access import Role
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import ConfigurationError
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import second_factor, sign_in
from fleetcast.services.installation_key import installation_key, take_new_key
from tests.services.accounts.stage import HERE, account, is_open, log

pytestmark = pytest.mark.usefixtures("quick_hashing")

OTHER = "kZ3v9QmX2pL7tR5wB8nY4cF6hJ1dG0sA"


def with_another_key(runtime: Runtime) -> Runtime:
    """The same installation as a machine sees it that was given another key."""
    return replace(runtime, settings=runtime.settings.model_copy(update={"secret_key": SecretStr(OTHER)}))


async def test_s39_a_machine_with_another_key_is_told_so_at_once_and_not_what_the_keys_are(runtime: Runtime) -> None:
    mine = await installation_key(runtime)
    assert (await installation_key(runtime)).open(mine.close(b"secret")) == b"secret"
    with pytest.raises(ConfigurationError, match="FLEETCAST_SECRET_KEY") as refused:
        await installation_key(with_another_key(runtime))
    assert "\n" not in str(refused.value)
    assert OTHER not in str(refused.value)
    assert (runtime.settings.data / "secret.key").read_text() not in str(refused.value)


async def test_two_machines_share_a_key_by_their_settings(runtime: Runtime) -> None:
    one = with_another_key(runtime)
    two = replace(one, settings=one.settings.model_copy(update={"data": runtime.settings.data / "second"}))
    sealed = (await installation_key(one)).close(b"secret")
    assert (await installation_key(two)).open(sealed) == b"secret"
    assert not (runtime.settings.data / "second").exists(), "no file is made where the setting says it"


async def test_s39_a_second_factor_does_not_open_with_another_key(runtime: Runtime, workspace: WorkspaceId) -> None:
    ann = await account(runtime, workspace, Role.OWNER)
    await ann.add_second_factor()
    half = await sign_in.sign_in(runtime, ann.email, ann.password, HERE)
    with pytest.raises(ConfigurationError, match="another key"):
        await sign_in.enter_code(with_another_key(runtime), half.token, await ann.code(), HERE)


async def test_a_key_that_was_lost_is_replaced_and_what_it_sealed_has_to_be_made_anew(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    ann, ben = await account(runtime, workspace, Role.OWNER), await account(runtime, workspace, Role.OPERATOR)
    await ann.add_second_factor()
    hers, his = await ann.sign_in(), await ben.sign_in()
    found = with_another_key(runtime)
    assert await take_new_key(found, actor="cli:root") == 1
    await installation_key(found)
    with pytest.raises(ConfigurationError):
        await installation_key(runtime)
    assert not (await sign_in.sign_in(found, ann.email, ann.password, HERE)).needs_code
    assert not await is_open(found, hers)
    assert await is_open(found, his)
    await second_factor.begin(found, ann.user_id, ann.password)
    [entry] = [e for e in await log(runtime, None) if e["action"] == "key.replace"]
    assert (entry["actor"], entry["after"]) == ("cli:root", {"second_factors": 1})


async def test_the_key_in_use_is_not_given_up_by_mistake(runtime: Runtime, workspace: WorkspaceId) -> None:
    ann = await account(runtime, workspace, Role.OWNER)
    await ann.add_second_factor()
    assert await take_new_key(runtime, actor="cli:root") == 0
    assert (await sign_in.sign_in(runtime, ann.email, ann.password, HERE)).needs_code
