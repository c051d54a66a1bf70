"""QR codes that nobody scans. A file of its own, since it waits for most of its time and others run beside it."""

from collections.abc import Awaitable, Callable

import pytest

from testbed.whatsapp_web.control import Control, Refused
from tests.running import until
from tests.testbed.clients import Client

Number = Callable[[], str]
NewClient = Callable[[], Awaitable[Client]]


async def is_away(client: Client) -> bool:
    """Whether the client has given up its connection."""
    return not await client.do("is_connected")


async def test_codes_rotate_and_an_old_one_is_refused_and_without_a_scan_pairing_times_out(
    new_client: NewClient, control: Control, number: Number
) -> None:
    """Both in one test, since the client shows each code for 20 seconds and nothing makes it quicker."""
    hesitant, absent = await new_client(), await new_client()
    await control.offer_codes(2)
    await hesitant.connect()
    first = await hesitant.hears("Qr")
    await control.offer_codes(1)
    await absent.connect()
    shown = await absent.hears("Qr")
    second = await hesitant.hears("Qr")
    assert second["code"] != first["code"]
    with pytest.raises(Refused, match="not valid any more"):
        await control.scan(number(), first["code"])
    await control.scan(number(), second["code"])
    await hesitant.hears("Connected")
    await until(lambda: is_away(absent))
    assert [each["code"] for each in absent.all("Qr")] == [shown["code"]], "the library tells nobody of the time-out"
