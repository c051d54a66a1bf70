"""`fleetcast workspace` and `fleetcast device` on real servers."""

import json

from tests.cli.conftest import Command


def test_a_workspace_and_a_device_are_made_and_listed(command: Command) -> None:
    made = command("workspace", "create", "Shop", "--time-zone", "Asia/Kuala_Lumpur", "--region", "my")
    assert (made.code, made.err) == (0, "")
    assert "Shop" in made.out
    added = command("device", "add", "Counter 1", "--min-delay", "0.1", "--max-delay", "2.5", "--json")
    assert added.code == 0
    device = json.loads(added.out)
    assert device["name"] == "Counter 1"
    assert (device["min_delay"], device["max_delay"]) == (0.1, 2.5)
    assert device["state"] == "connecting"
    [listed] = json.loads(command("device", "list", "--json").out)
    assert listed == device
    text = command("device", "list").out
    assert "Counter 1" in text
    assert "0.1-2.5 s" in text
    assert "+08" in text


def test_the_only_workspace_need_not_be_named_but_one_of_two_must(command: Command) -> None:
    nobody = command("device", "list")
    assert nobody.code == 3
    assert "fleetcast workspace create" in nobody.err
    command("workspace", "create", "One")
    assert command("device", "list").code == 0
    command("workspace", "create", "Two")
    several = command("device", "list", "--json")
    assert several.code == 2
    assert json.loads(several.out)["error"]["field"] == "workspace"
    assert "One, Two" in several.out
    assert command("device", "list", "--workspace", "Two").code == 0
    assert command("device", "list", "-w", "Three").code == 3


def test_wrong_input_names_its_field_and_exits_with_two(command: Command) -> None:
    command("workspace", "create", "Shop")
    for arguments, field in (
        (("device", "add", "A", "--min-delay", "30", "--max-delay", "10"), "min_delay"),
        (("device", "add", "A", "--min-delay", "nan"), "min_delay"),
        (("device", "add", "A", "--max-delay", "inf"), "max_delay"),
        (("device", "add", "A", "--min-delay", "-1"), "min_delay"),
        (("device", "add", "  "), "name"),
        (("device", "add", "A", "--region", "XX"), "region"),
        (("workspace", "create", "Shop"), "name"),
        (("workspace", "create", "B", "--time-zone", "Mars/Base"), "time_zone"),
        (("workspace", "create", "B", "--region", "England"), "region"),
    ):
        refused = command(*arguments, "--json")
        assert refused.code == 2, arguments
        assert json.loads(refused.out)["error"]["field"] == field
        assert command(*arguments).err.startswith("Error: "), arguments
    assert json.loads(command("device", "list", "--json").out) == []


def test_pause_resume_and_pace_are_said_and_stay(command: Command) -> None:
    command("workspace", "create", "Shop")
    command("device", "add", "A")
    assert "is paused" in command("device", "pause", "a", "--reason", "stocktaking").out
    assert "already" in command("device", "pause", "A").out
    assert "stocktaking" in command("device", "list").out
    assert "works again" in command("device", "resume", "A").out
    changed = json.loads(command("device", "pace", "A", "1", "2", "--json").out)
    assert (changed["min_delay"], changed["max_delay"], changed["paused_at"]) == (1, 2, None)
    assert command("device", "pause", "B").code == 3


def test_a_device_is_removed_after_a_question_that_says_what_is_lost(command: Command) -> None:
    command("workspace", "create", "Shop")
    command("device", "add", "A")
    asked = command("device", "remove", "a")
    assert asked.code != 0, "nobody answered"
    assert "Remove A and skip the 0 messages that wait for it?" in asked.err
    assert len(json.loads(command("device", "list", "--json").out)) == 1
    assert "Device A is removed" in command("device", "remove", "A", "--yes").out
    assert json.loads(command("device", "list", "--json").out) == []
    assert command("device", "remove", "A", "--yes").code == 3


def test_a_linked_device_waits_for_its_phone_and_has_a_proxy_of_its_own(command: Command) -> None:
    command("workspace", "create", "Shop")
    added = command("device", "add", "Till", "--transport", "linked")
    assert "now unpaired" in added.out
    assert "fleetcast device pair Till" in added.out
    told = command("device", "proxy", "till", "socks5://agent:a-secret@proxy.example.org:1080")
    assert "connects through socks5://agent:***@proxy.example.org:1080" in told.out
    wrong = command("device", "proxy", "Till", "proxy.example.org", "--json")
    assert (wrong.code, json.loads(wrong.out)["error"]["field"]) == (2, "proxy")
    assert "by itself" in command("device", "proxy", "Till").out
    command("device", "add", "Counter")
    assert command("device", "proxy", "Counter", "http://proxy.example.org:8080").code == 4


def test_machines_are_listed_and_one_that_nobody_knows_is_not_given_up(command: Command) -> None:
    assert "No machine has taken part yet" in command("node", "list").out
    assert json.loads(command("node", "list", "--json").out) == {"nodes": [], "stranded": []}
    assert command("node", "lost", "north", "--yes").code == 3
    assert command("node", "move", "north", "--to", "south").code == 3
