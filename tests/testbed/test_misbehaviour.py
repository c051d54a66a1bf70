"""Everything that a server, a phone or a network can do to a real client, and what the client makes of it."""

import asyncio
from collections.abc import Callable

import pytest

from testbed.whatsapp_web.control import Control, Refused
from testbed.whatsapp_web.launch import Testbed
from tests.running import until
from tests.testbed.clients import Client

Number = Callable[[], str]


async def is_offline(client: Client, control: Control) -> bool:
    """Whether the server has no connection of it any more."""
    return not any(each.online for each in (await control.phone(client.number)).companions)


async def test_after_a_drop_the_client_comes_back_by_itself(
    shared_device: Client, control: Control, number: Number
) -> None:
    await control.drop(shared_device.companion)
    await shared_device.hears("Disconnected")
    await shared_device.hears("Connected")
    to = number()
    await shared_device.text(to, "here again")
    assert [each.text for each in await control.arrivals(to)] == ["here again"]


async def test_after_a_stream_error_503_the_client_comes_back_by_itself(
    shared_device: Client, control: Control
) -> None:
    await control.stream_error(shared_device.companion, 503)
    await shared_device.hears("Disconnected")
    await shared_device.hears("Connected")


async def test_after_a_restart_of_the_server_the_client_comes_back_and_its_conversations_go_on(
    shared_device: Client, control: Control, number: Number
) -> None:
    to = number()
    await shared_device.text(to, "before")
    await control.restart(0.2)
    await shared_device.hears("Disconnected")
    await shared_device.hears("Connected")
    await shared_device.text(to, "after")
    assert [each.text for each in await control.arrivals(to)] == ["before", "after"]


async def test_while_connections_are_refused_the_client_stays_away(shared_device: Client, control: Control) -> None:
    await control.refuse_connections(True)
    await control.drop(shared_device.companion)
    await shared_device.hears("Disconnected")
    with pytest.raises(Refused, match="is not connected"):
        await control.silence(shared_device.companion)
    await control.refuse_connections(False)
    await shared_device.hears("Connected")


async def test_another_client_of_the_session_replaces_it_and_it_does_not_fight(
    device: Client, control: Control
) -> None:
    await control.replace(device.companion)
    await device.hears("StreamReplaced")
    await until(lambda: is_offline(device, control))
    assert await device.do("is_connected") is False
    assert device.all("Disconnected") == []


async def test_a_temporary_ban_says_why_and_how_long_and_holds_for_logins(device: Client, control: Control) -> None:
    await control.ban(device.number, code=101, seconds=3600)
    event = await device.hears("TemporaryBan")
    assert (event["Code"], event["Expire"]) == ("SEND_TO_TOO_MANY_PEOPLE", "3600")
    await until(lambda: is_offline(device, control))
    assert device.all("Disconnected") == [], "it does not come back by itself"


@pytest.mark.parametrize(
    ("reason", "event"),
    [(401, "LoggedOut"), (403, "LoggedOut"), (405, "ClientOutdated"), (409, "ConnectFailure")],
)
async def test_a_failed_connection_is_told_by_its_reason(
    device: Client, control: Control, reason: int, event: str
) -> None:
    await control.fail(device.companion, reason)
    await device.hears(event)


async def test_a_reason_that_the_library_has_no_name_for_ends_the_client_itself(
    device: Client, control: Control
) -> None:
    await control.fail(device.companion, 418)
    assert "Reason not set" in (await device.hears("Ended"))["why"]


async def test_a_busy_server_is_tried_again(shared_device: Client, control: Control) -> None:
    await control.fail(shared_device.companion, 503)
    await shared_device.hears("Disconnected")
    await shared_device.hears("Connected")


async def test_an_unknown_stream_error_is_told_with_its_code(device: Client, control: Control) -> None:
    await control.stream_error(device.companion, 599)
    assert (await device.hears("StreamError"))["Code"] == "599"


async def test_a_slow_server_is_waited_for(shared_device: Client, control: Control, number: Number) -> None:
    to, loop = number(), asyncio.get_running_loop()
    await shared_device.text(to, "quick")
    await control.slow(0.3)
    began = loop.time()
    await shared_device.text(to, "slow")
    assert loop.time() - began >= 0.3


async def test_a_half_open_connection_answers_nothing_until_it_is_cut(
    shared_device: Client, control: Control, testbed: Testbed, number: Number
) -> None:
    to = number()
    await shared_device.text(to, "first")
    await control.silence(shared_device.companion)
    sending = asyncio.create_task(shared_device.text(to, "into the void"), name="send")
    await asyncio.wait({sending}, timeout=1)
    assert not sending.done()
    await control.drop(shared_device.companion)
    mark = await sending
    await shared_device.hears("Connected")
    assert [(each.text, each.id, each.copy) for each in await control.arrivals(to)][1:] == [("into the void", mark, 1)]
