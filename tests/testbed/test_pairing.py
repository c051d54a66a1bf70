"""A real client becomes a linked device, comes back as one, and ceases to be one."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from testbed.whatsapp_web.control import Control, Refused
from testbed.whatsapp_web.launch import Testbed
from testbed.whatsapp_web.session_files import ONE_TIME_KEYS, SessionFiles
from tests.running import until
from tests.testbed.clients import Client, Process

Number = Callable[[], str]
NewClient = Callable[[], Awaitable[Client]]


async def test_by_qr_code(new_client: NewClient, control: Control, number: Number) -> None:
    client, owner = await new_client(), number()
    await client.connect()
    shown = await client.hears("Qr")
    name = await control.scan(owner, shown["code"])
    paired = await client.hears("PairStatus")
    assert (paired["Status"], paired["ID"]["User"]) == ("SUCCESS", owner)
    await client.hears("Connected")
    (companion,) = (await control.phone(owner)).companions
    assert (companion.name, companion.online) == (name, True)
    assert companion.one_time_keys > 800, "it uploaded its keys, so others can write to it first"


async def test_by_a_code_that_is_typed_on_the_phone(new_client: NewClient, control: Control, number: Number) -> None:
    client, owner = await new_client(), number()
    await client.connect()
    await client.hears("Qr")
    code = await client.do("pair_phone", number=owner)
    assert len(code) == 9
    name = await control.enter_code(owner, code)
    await client.hears("Connected")
    assert [each.name for each in (await control.phone(owner)).companions] == [name]


async def test_a_mistyped_code_links_nothing_and_can_be_typed_again(
    new_client: NewClient, control: Control, number: Number
) -> None:
    client, owner = await new_client(), number()
    await client.connect()
    await client.hears("Qr")
    code = await client.do("pair_phone", number=owner)
    wrong = code[:-1] + ("A" if code[-1] != "A" else "B")
    with pytest.raises(Refused, match="not the code that the client shows"):
        await control.enter_code(owner, wrong)
    assert (await control.phone(owner)).companions == ()
    with pytest.raises(Refused, match="No client shows a code"):
        await control.enter_code(number(), code)
    await control.enter_code(owner, await client.do("pair_phone", number=owner))
    await client.hears("Connected")


async def test_a_client_that_was_killed_logs_in_again_and_gets_what_it_missed(
    testbed: Testbed, short_directory: Path, control: Control, number: Number
) -> None:
    person = number()
    async with Process(testbed, short_directory) as process:
        client = await process.client("phoenix")
        await client.pair(number())
        companion = client.companion
    await until(lambda: _is_online(control, companion, False))
    mark = await control.say(person, companion, "Are you there?")
    async with Process(testbed, short_directory) as process:
        client = await process.client("phoenix")
        await client.connect()
        event = await client.hears("Message")
        assert (event["Info"]["ID"], event["Message"]["conversation"]) == (mark, "Are you there?")
        await client.hears("Connected")
        assert client.all("Qr") == []
        await client.text(person, "Yes.")
    assert [each.text for each in await control.arrivals(person)] == ["Yes."]


async def test_the_client_logs_out(device: Client, control: Control) -> None:
    await device.do("logout")
    assert (await control.phone(device.number)).companions == ()


async def test_the_phone_logs_the_client_out(device: Client, control: Control) -> None:
    assert await control.log_out(device.companion) is True
    event = await device.hears("LoggedOut")
    assert event.get("OnConnect", False) is False
    assert (await control.phone(device.number)).companions == ()


async def test_a_client_that_was_logged_out_while_it_was_away_learns_it_at_its_login(
    device: Client, control: Control
) -> None:
    await control.refuse_connections(True)
    await control.drop(device.companion)
    await device.hears("Disconnected")
    assert await control.log_out(device.companion) is False
    await control.refuse_connections(False)
    event = await device.hears("LoggedOut")
    assert event["OnConnect"] is True


async def test_a_phone_may_have_several_clients(new_client: NewClient, device: Client, control: Control) -> None:
    second = await new_client()
    await second.pair(device.number)
    assert second.companion != device.companion
    names = {each.name for each in (await control.phone(device.number)).companions if each.online}
    assert names == {device.companion, second.companion}
    to = "5511555555555"
    await device.text(to, "seen by the other as well")
    event = await second.hears("Message")
    assert event["Info"]["MessageSource"]["IsFromMe"] is True
    assert event["Message"]["extendedTextMessage"]["text"] == "seen by the other as well"


async def _is_online(control: Control, name: str, online: bool) -> bool:
    number = name.partition(":")[0]
    return [each.online for each in (await control.phone(number)).companions if each.name == name] == [online]


async def test_a_session_file_that_was_made_without_pairing_logs_in_like_any_other(
    process: Process, control: Control, testbed: Testbed, short_directory: Path, number: Number
) -> None:
    async with Process(testbed, short_directory) as first:
        await (await first.client("pattern")).pair(number())
    files = SessionFiles(short_directory / "pattern.db", seed=b"a test")
    owner, person = number(), number()
    name = await files.make(control, owner, process.folder / "made.db")
    client = await process.client("made")
    await client.connect()
    await client.hears("Connected")
    await client.text(person, "never paired")
    assert [(each.sender, each.text) for each in await control.arrivals(person)] == [(name, "never paired")]
    await control.say(number(), name, "with one of its own keys")
    assert (await client.hears("Message"))["Message"]["conversation"] == "with one of its own keys"
    assert client.all("Qr") == []
    (companion,) = (await control.phone(owner)).companions
    assert companion.one_time_keys == ONE_TIME_KEYS - 1, "it made no new keys, and one of them was used"
    files.close()
