"""What a real client sends arrives at the simulated phone as it was sent, and the client learns of it."""

import asyncio
import base64
import hashlib
import io
from collections.abc import Callable

import pytest
from PIL import Image

from testbed.whatsapp_web.behaviour import Ack, Receipts, Treatment
from testbed.whatsapp_web.content import read
from testbed.whatsapp_web.control import Control
from tests.running import until
from tests.testbed.clients import Client, Failed

Number = Callable[[], str]


def picture() -> bytes:
    """A small PNG."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "seagreen").save(out, "PNG")
    return out.getvalue()


async def test_a_text_is_read_at_the_phone_word_for_word(
    shared_device: Client, control: Control, number: Number
) -> None:
    text, to = "Olá — 50 % off,\nonly today 🙂", number()
    mark = await shared_device.text(to, text)
    (arrival,) = await control.arrivals(to)
    assert (arrival.id, arrival.sender, arrival.kind, arrival.text) == (mark, shared_device.companion, "text", text)
    assert read(base64.b64decode(arrival.plain)).text == text
    assert arrival.copy == 1


async def test_the_owners_phone_gets_a_copy_that_says_whom_it_was_for(
    shared_device: Client, control: Control, number: Number
) -> None:
    to = number()
    mark = await shared_device.text(to, "hello")
    own = [each for each in await control.arrivals(shared_device.number) if each.id == mark]
    assert [each.copied_to for each in own] == [f"{(await control.phone(to)).lid}@lid"]


async def test_an_image_arrives_byte_for_byte(shared_device: Client, control: Control, number: Number) -> None:
    data, to = picture(), number()
    await shared_device.image(to, data, "A caption")
    (arrival,) = await control.arrivals(to)
    assert (arrival.kind, arrival.text, arrival.mime) == ("image", "A caption", "image/png")
    assert arrival.file_sha256 == hashlib.sha256(data).hexdigest()
    assert await control.file(arrival.file_sha256) == data


async def test_a_document_arrives_byte_for_byte_with_its_name(
    shared_device: Client, control: Control, number: Number
) -> None:
    data, to = b"%PDF-1.4 " + bytes(range(256)) * 50, number()
    await shared_device.document(to, data, caption="The list", name="prices.pdf", mime="application/pdf")
    (arrival,) = await control.arrivals(to)
    assert (arrival.kind, arrival.file_name, arrival.mime) == ("document", "prices.pdf", "application/pdf")
    assert await control.file(arrival.file_sha256) == data


async def test_delivered_and_read_come_back_from_the_lid_and_the_lid_has_a_number(
    shared_device: Client, control: Control, number: Number
) -> None:
    to = number()
    mark = await shared_device.text(to, "hello")
    lid = (await control.phone(to)).lid
    first, second = await shared_device.receipt(lid), await shared_device.receipt(lid)
    assert (first["MessageIDs"], first["Type"]) == ([mark], "DELIVERED")
    assert (second["MessageIDs"], second["Type"]) == ([mark], "READ")
    assert first["MessageSource"]["Chat"]["Server"] == "lid"
    assert await shared_device.do("number_of", lid=lid) == to


async def test_receipts_may_come_before_the_acknowledgement(
    shared_device: Client, control: Control, number: Number
) -> None:
    to = number()
    await control.treat(Treatment(ack=Ack.HELD, receipts_first=True), recipient=to)
    sending = asyncio.create_task(shared_device.text(to, "hello"), name="send")
    receipt = await shared_device.receipt((await control.phone(to)).lid)
    assert not sending.done()
    assert await control.release() == 1
    assert receipt["MessageIDs"] == [await sending]


async def test_receipts_may_fail_to_come_or_come_twice(shared_device: Client, control: Control, number: Number) -> None:
    silent, chatty = number(), number()
    await control.treat(Treatment(receipts=Receipts.NONE), recipient=silent)
    await control.treat(Treatment(receipts=Receipts.DELIVERED, repeated=2), recipient=chatty)
    await shared_device.text(silent, "hello")
    mark = await shared_device.text(chatty, "hello")
    lid, of_silent = [(await control.phone(each)).lid for each in (chatty, silent)]
    for _ in range(2):
        receipt = await shared_device.receipt(lid)
        assert (receipt["MessageIDs"], receipt.get("Type")) == ([mark], "DELIVERED")
    assert of_silent not in {each["MessageSource"]["Chat"]["User"] for each in shared_device.all("Receipt")}


async def test_a_message_without_an_acknowledgement_is_repeated_with_its_id_after_a_drop(
    shared_device: Client, control: Control, number: Number
) -> None:
    to = number()
    await control.treat(Treatment(ack=Ack.NEVER, then_drop=True), recipient=to, times=1)
    mark = await shared_device.text(to, "once or twice?")
    await shared_device.hears("Connected")
    first, second = await control.arrivals(to)
    assert (first.id, first.copy, first.text) == (mark, 1, "once or twice?")
    assert (second.id, second.copy, second.text) == (mark, 2, "once or twice?")
    doubles = [(each.by, each.what, each.times) for each in await control.doubles() if each.number == to]
    assert doubles == [("id", mark, 2)], "the phone shows it once, and the record says that it came twice"


async def test_a_message_that_was_lost_on_the_way_is_repeated_after_a_drop(
    shared_device: Client, control: Control, number: Number
) -> None:
    to = number()
    await control.treat(Treatment(delivered=False, ack=Ack.NEVER, then_drop=True), recipient=to, times=1)
    mark = await shared_device.text(to, "hello")
    await shared_device.hears("Connected")
    assert [(each.id, each.copy) for each in await control.arrivals(to)] == [(mark, 1)]


async def test_the_same_text_twice_shows_as_a_double_by_content(
    shared_device: Client, control: Control, number: Number
) -> None:
    to = number()
    marks = (await shared_device.text(to, "hello"), await shared_device.text(to, "hello"))
    await shared_device.text(to, "something else")
    (double,) = [each for each in await control.doubles() if each.number == to]
    assert (double.by, double.times, double.ids) == ("content", 2, marks)


async def test_the_time_lock_on_new_chats_is_an_error_and_nothing_is_delivered(
    shared_device: Client, control: Control, number: Number
) -> None:
    to = number()
    await control.treat(Treatment(error=463), recipient=to)
    with pytest.raises(Failed, match=r"^SendMessageError: .* 463$"):
        await shared_device.text(to, "hello")
    assert await control.arrivals(to) == []


async def test_a_number_that_whatsapp_does_not_know(shared_device: Client, control: Control, number: Number) -> None:
    absent, present = number(), number()
    await control.exists(absent, False)
    assert await shared_device.do("exists", number=absent) is False
    assert await shared_device.do("exists", number=present) is True
    with pytest.raises(Failed, match="no LID found"):
        await shared_device.text(absent, "hello")


async def test_a_person_writes_first_and_is_answered(shared_device: Client, control: Control, number: Number) -> None:
    person = number()
    mark = await control.say(person, shared_device.companion, "Is this still available?")
    event = await shared_device.hears("Message")
    assert event["Info"]["ID"] == mark
    assert event["Message"]["conversation"] == "Is this still available?"
    await shared_device.text(person, "Yes, it is.")
    assert [each.text for each in await control.arrivals(person)] == ["Yes, it is."]
    await control.say(person, shared_device.companion, "STOP")
    assert (await shared_device.hears("Message"))["Message"]["conversation"] == "STOP"


async def test_what_the_client_confirms_is_known_to_the_person(
    shared_device: Client, control: Control, number: Number
) -> None:
    person = number()
    mark = await control.say(person, shared_device.companion, "hello")
    event = await shared_device.hears("Message")
    await shared_device.do("mark_read", message=mark, lid=event["Info"]["MessageSource"]["Chat"]["User"])

    async def both() -> bool:
        return {each.kind for each in await control.confirmed(person)} >= {"inactive", "read"}

    await until(both)


async def test_what_is_typed_on_the_phone_is_shown_to_the_client_as_its_own(
    shared_device: Client, control: Control, number: Number
) -> None:
    to = number()
    mark = await control.type_on_phone(shared_device.number, to, "by hand")
    event = await shared_device.hears("Message")
    assert event["Info"]["ID"] == mark
    assert event["Info"]["MessageSource"]["IsFromMe"] is True
    (arrival,) = await control.arrivals(to)
    assert (arrival.sender, arrival.text) == (f"{shared_device.number}:0", "by hand")


async def test_two_clients_write_to_each_other(shared_device: Client, device: Client) -> None:
    await shared_device.text(device.number, "from one linked device")
    assert (await device.hears("Message"))["Message"]["extendedTextMessage"]["text"] == "from one linked device"
    await device.text(shared_device.number, "to another")
    assert (await shared_device.hears("Message"))["Message"]["extendedTextMessage"]["text"] == "to another"


async def test_the_testbed_was_taught_everything_that_the_client_asks(
    shared_device: Client, control: Control, number: Number
) -> None:
    await shared_device.image(number(), picture(), "A caption")
    counts = (await control.state()).counts
    assert [name for name in counts if name.startswith(("unknown", "unreadable", "malformed", "broken"))] == []
