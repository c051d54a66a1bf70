"""Videos and audio through the real client library: what the simulated phones decrypt is what was sent, and how."""

import asyncio
import base64
import io
from typing import Any

import pytest
from PIL import Image

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import Phone, Reference
from fleetcast.domain.media import examine, recording_in
from fleetcast.services import recordings as reading
from fleetcast.transports.base import DeviceHandle, Media, Outbound
from fleetcast.transports.errors import ContentRefused
from testbed.whatsapp_web.protobufs import Message
from testbed.whatsapp_web.record import Arrival
from tests import recordings
from tests.transports import contract
from tests.transports.contract import BOUND
from tests.transports.linked.scene import Scene, fresh_number

LIMIT = 2**24


async def medium(data: bytes, name: str = "") -> Media:
    """As the store keeps it and a sender hands it on."""
    container = recording_in(data, LIMIT)
    assert container is not None
    m = examine(data, name, LIMIT, await reading.read(data, container, asyncio.Semaphore(1)))
    return Media(m.sha256, m.mime, m.filename, m.data, m.width, m.height, m.duration_ms, m.thumbnail)


def message(device: DeviceHandle, person: str, media: Media, text: str = "") -> Outbound:
    return Outbound(device.id, Phone(f"+{person}"), Reference(f"recording-{person}-{media.sha256[:8]}"), text, media)


async def opened(scene: Scene, reader: contract.Reader) -> DeviceHandle:
    device = await scene.device()
    await scene.transport.open(device)
    await reader.state(device.id, DeviceState.ONLINE)
    return device


def part(arrival: Arrival, name: str) -> Any:
    """The part of the decrypted message with this name."""
    told = Message.FromString(base64.b64decode(arrival.plain))
    assert told.HasField(name)
    return getattr(told, name)


async def test_a_video_arrives_with_its_caption_length_size_and_first_picture_and_is_uploaded_once(
    scene: Scene,
) -> None:
    video = await medium(recordings.video(turned=True), "offer.mp4")
    people = [fresh_number() for _ in range(3)]
    before = (await scene.control.state()).uploads.get("video", 0)
    async with contract.reading(scene.transport) as reader:
        device = await opened(scene, reader)
        for person in people:
            await scene.transport.send(message(device, person, video, "Look, Ada"), BOUND)
    assert (await scene.control.state()).uploads["video"] - before == 1
    for person in people:
        (arrival,) = await scene.control.arrivals(person)
        assert (arrival.kind, arrival.text, arrival.mime, arrival.seconds) == ("video", "Look, Ada", "video/mp4", 1)
        assert await scene.control.file(arrival.file_sha256) == recordings.video(turned=True)
        told = part(arrival, "videoMessage")
        assert (told.width, told.height, told.seconds, told.gifPlayback) == (48, 64, 1, False)
        assert told.fileLength == len(video.data)
        assert told.jpegThumbnail == video.thumbnail
        with Image.open(io.BytesIO(told.jpegThumbnail)) as picture:
            assert picture.size == (48, 64)


@pytest.mark.parametrize(
    ("data", "mime", "seconds", "is_voice"),
    [
        (recordings.mp3(), "audio/mpeg", 1, False),
        (recordings.audio(seconds=2.6), "audio/mp4", 3, False),
        (recordings.aac(), "audio/aac", 1, False),
        (recordings.amr(), "audio/amr", 1, False),
        (recordings.opus(), "audio/ogg; codecs=opus", 1, True),
    ],
)
async def test_audio_arrives_byte_for_byte_with_its_length_and_opus_as_a_voice_message(
    scene: Scene, data: bytes, mime: str, seconds: int, is_voice: bool
) -> None:
    audio, person = await medium(data), fresh_number()
    async with contract.reading(scene.transport) as reader:
        device = await opened(scene, reader)
        await scene.transport.send(message(device, person, audio), BOUND)
    (arrival,) = await scene.control.arrivals(person)
    assert (arrival.kind, arrival.text, arrival.mime, arrival.seconds) == ("audio", "", mime, seconds)
    assert await scene.control.file(arrival.file_sha256) == data
    told = part(arrival, "audioMessage")
    assert (told.ptt, told.seconds, told.fileLength) == (is_voice, seconds, len(data))


async def test_a_picture_arrives_with_its_size(scene: Scene) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 30)).save(buffer, "JPEG")
    found, person = examine(buffer.getvalue(), "a.jpg", LIMIT), fresh_number()
    picture = Media(found.sha256, found.mime, found.filename, found.data, found.width, found.height)
    async with contract.reading(scene.transport) as reader:
        device = await opened(scene, reader)
        await scene.transport.send(message(device, person, picture, "Look"), BOUND)
    (arrival,) = await scene.control.arrivals(person)
    told = part(arrival, "imageMessage")
    assert (told.width, told.height, told.caption) == (40, 30, "Look")
    assert told.jpegThumbnail


async def test_audio_with_a_text_is_refused_before_anything_leaves(scene: Scene) -> None:
    audio, person = await medium(recordings.mp3()), fresh_number()
    async with contract.reading(scene.transport) as reader:
        device = await opened(scene, reader)
        with pytest.raises(ContentRefused, match="WhatsApp shows no text with audio"):
            await scene.transport.send(message(device, person, audio, "Listen"), BOUND)
    assert await scene.control.arrivals(person) == []
