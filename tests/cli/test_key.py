"""`fleetcast key`."""

import json

import pytest

from tests.cli.conftest import Command


def test_a_key_is_made_listed_and_revoked(command: Command) -> None:
    command("workspace", "create", "Shop")
    assert "no key yet" in command("key", "list").out
    command("device", "add", "Till")
    made = command("key", "create", "export", "--scope", "read", "--scope", "send", "--device", "till", "--days", "30")
    assert made.code == 0, made.err
    token, sentence = made.out.splitlines()
    assert token.startswith("fck_")
    assert sentence == "This is the key 'export' (read, send). It is shown this once."
    [listed] = json.loads(command("key", "list", "--json").out)
    assert (listed["name"], listed["scopes"], listed["ending"]) == ("export", ["read", "send"], token[-4:])
    assert listed["expires_at"] is not None
    text = command("key", "list").out
    assert f"…{token[-4:]}" in text
    assert "until" in text
    revoked = command("key", "revoke", str(listed["id"]))
    assert "opens nothing any more" in revoked.out
    assert command("key", "revoke", str(listed["id"])).code == 3
    assert "revoked" in command("key", "list").out


def test_s37_a_key_is_shown_once(command: Command) -> None:
    command("workspace", "create", "Shop")
    made = json.loads(command("key", "create", "export", "--json").out)
    assert made["key"]["scopes"] == ["read"]
    for told in (command("key", "list"), command("key", "list", "--json")):
        assert made["token"] not in told.out
        assert "sha256" not in told.out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("export", "--scope", "everything"), 2),
        (("export", "--days", "0"), 2),
        (("export", "--device", "nowhere"), 3),
        (("export", "--scope", "manage", "--device", "till"), 2),
        ((" ",), 2),
    ],
)
def test_a_wrong_key_is_not_made(command: Command, arguments: tuple[str, ...], code: int) -> None:
    command("workspace", "create", "Shop")
    command("device", "add", "till")
    assert command("key", "create", *arguments).code == code
    assert json.loads(command("key", "list", "--json").out) == []
