"""`fleetcast user`, and the first start."""

import asyncio
import json

import asyncpg
import pytest

from fleetcast.cli.session import prepare_accounts
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import sign_in
from fleetcast.services.accounts.sign_in import Browser
from tests.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("quick_hashing")

HERE = Browser("tests", "192.0.2.1")


async def test_s36_the_first_start_prints_a_password_once(runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    await prepare_accounts(runtime)
    said = capsys.readouterr().out
    password = said.split("with the password ")[1].split()[0]
    assert said.startswith("Sign in as owner@localhost ")
    assert "shown this once" in said
    await sign_in.sign_in(runtime, "owner@localhost", password, HERE)
    await prepare_accounts(runtime)
    assert capsys.readouterr().out == ""


def test_somebody_is_added_and_their_password_shown_once(command: Command) -> None:
    command("workspace", "create", "Shop")
    added = command("user", "add", "ann@example.org", "--name", "Ann", "--role", "owner", "--json")
    assert added.code == 0, added.err
    made = json.loads(added.out)
    assert (made["email"], made["workspace"], made["role"]) == ("ann@example.org", "Shop", "owner")
    assert len(made["password"]) == 23
    again = command("user", "add", "ANN@example.org", "--json")
    assert again.code == 4
    assert "member already" in again.out
    command("workspace", "create", "Other")
    second = command("user", "add", "ann@example.org", "-w", "Other")
    assert second.out == "ann@example.org is operator of Other.\n"
    third = command("user", "add", "ben@example.org", "-w", "Other")
    assert "Their password is " in third.out
    assert "shown this once" in third.out


def test_a_member_is_given_another_role(command: Command) -> None:
    command("workspace", "create", "Shop")
    for email, role in (("ann@example.org", "owner"), ("ben@example.org", "viewer")):
        command("user", "add", email, "--role", role)
    assert command("user", "role", "Ben@example.org", "owner").out == "Ben@example.org is owner of Shop.\n"
    assert command("user", "role", "ann@example.org", "operator", "--json").code == 0
    last = command("user", "role", "ben@example.org", "viewer")
    assert last.code == 4
    assert "only owner" in last.err
    assert command("user", "role", "nobody@example.org", "owner").code == 3
    assert command("user", "role", "ann@example.org", "king").code == 2


def test_s37_the_list_shows_who_there_is_and_no_secret(command: Command, database_url: str) -> None:
    assert "no account yet" in command("user", "list").out
    command("workspace", "create", "Shop")
    made = json.loads(command("user", "add", "ann@example.org", "--name", "Ann", "--json").out)
    [listed] = json.loads(command("user", "list", "--json").out)
    assert listed.keys() == {
        "id",
        "email",
        "name",
        "created_at",
        "password_changed_at",
        "installation_owner",
        "second_factor_since",
    }
    text = command("user", "list").out
    assert "ann@example.org" in text
    for shown in (text, json.dumps(listed)):
        assert "argon2" not in shown
        assert made["password"] not in shown


def test_a_password_is_reset_and_a_second_factor_taken_away(command: Command, database_url: str) -> None:
    command("workspace", "create", "Shop")
    first = json.loads(command("user", "add", "ann@example.org", "--json").out)["password"]
    reset = command("user", "reset-password", "Ann@Example.org", "--json")
    assert reset.code == 0
    assert json.loads(reset.out)["password"] != first
    assert "The password of ann@example.org is now " in command("user", "reset-password", "ann@example.org").out
    assert "with the password alone" in command("user", "remove-second-factor", "ann@example.org").out
    assert json.loads(command("user", "remove-second-factor", "ann@example.org", "--json").out) == {
        "email": "ann@example.org",
        "second_factor": False,
    }
    for what in ("reset-password", "remove-second-factor"):
        nobody = command("user", what, "nobody@example.org")
        assert nobody.code == 3
        assert "fleetcast user list" in nobody.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("ann", "--name", "Ann"), 2), (("ann@example.org", "--role", "king"), 2), (("ann@example.org", "-w", "No"), 3)],
)
def test_wrong_input_says_so(command: Command, arguments: tuple[str, ...], code: int) -> None:
    command("workspace", "create", "Shop")
    assert command("user", "add", *arguments).code == code
    assert json.loads(command("user", "list", "--json").out) == []


def test_s39_a_wrong_key_of_secrets_is_told_at_the_start(command: Command, database_url: str) -> None:
    command("workspace", "create", "Shop")

    async def another_key_was_used() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute("UPDATE installation SET key_check = 'another'")
        await connection.close()

    asyncio.run(another_key_was_used())
    refused = command("web")
    assert refused.code == 5
    assert "sealed with another key" in refused.err
    assert "FLEETCAST_SECRET_KEY" in refused.err
    asked = command("db", "new-key")
    assert asked.code != 0, "nobody answered"
    assert "Give up what was sealed" in asked.err
    assert json.loads(command("db", "new-key", "--yes", "--json").out) == {"second_factors_removed": 0}
    assert "is the installation's" in command("db", "new-key", "--yes").out
