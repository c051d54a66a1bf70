"""neonize, as the child's other modules know it: the only place that imports the library or reads its messages.

One `Client` is one session file. What the library tells arrives as the small values below, in order; what it is asked
goes through the gate. Names of its events, numbers of its errors and the shape of WhatsApp's messages end here.
"""

import asyncio
import ctypes
import logging
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pylibmagic  # noqa: F401 the library in it has to be known before neonize looks for one

# isort: split
from google.protobuf.message import Message
from neonize._binder import ProxySettings
from neonize.aioze import events
from neonize.aioze.client import NewAClient
from neonize.events import INT_TO_EVENT
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import (
    AudioMessage,
    DocumentMessage,
    ExtendedTextMessage,
    ImageMessage,
    VideoMessage,
)
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import Message as Content
from neonize.utils.enum import MediaType
from neonize.utils.jid import Jid2String, build_jid
from neonize.utils.log import log as library_log

from fleetcast.domain.media import thumbnail
from fleetcast.transports.linked.gate import Gate
from fleetcast.transports.linked.happenings import (
    Away,
    Back,
    Banned,
    Down,
    Ended,
    Failed,
    Happening,
    Incoming,
    LoggedOut,
    Marks,
    Outdated,
    PairedWith,
    PairingFailed,
    QrCode,
    Replaced,
    Silent,
    Up,
)
from fleetcast.transports.linked.protocol import File

FIRST_EVENT_SECONDS = 3.0
"""How long nobody else may connect, send or end a session after one began to connect and said nothing yet."""
END_SECONDS = 3.0
_PEOPLE = frozenset({"lid", "s.whatsapp.net"})
_LID = "lid"
_ME = 0
"""The event by which the library says who the linked device is."""
_DELIVERED, _READ = frozenset({"DELIVERED"}), frozenset({"READ", "PLAYED"})
_WRAPPERS = ("ephemeralMessage", "viewOnceMessage", "viewOnceMessageV2", "documentWithCaptionMessage")
_SILENT_KINDS = frozenset({"protocolMessage", "reactionMessage", "senderKeyDistributionMessage", "messageContextInfo"})
"""Of messages that a person did not write as a message."""
_CAPTIONED = ("imageMessage", "videoMessage", "documentMessage")
_CHOSEN = (("buttonsResponseMessage", "selectedDisplayText"), ("listResponseMessage", "title"))
_MEDIA_TYPES = {
    "image": MediaType.MediaImage,
    "video": MediaType.MediaVideo,
    "audio": MediaType.MediaAudio,
    "document": MediaType.MediaDocument,
}
_OPUS = "audio/ogg; codecs=opus"
"""How phones name what they record."""
_SERVER_ERROR = re.compile(r"server returned error (\d+)")


class LibraryError(Exception):
    """The library's own words on what it could not do."""

    @property
    def server_code(self) -> int | None:
        """What WhatsApp's server answered, if it is that."""
        found = _SERVER_ERROR.search(str(self))
        return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Upload:
    """Where a file lies at WhatsApp, so that any number of messages can name it."""

    kind: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """What WhatsApp says of a number."""

    exists: bool
    user: str
    """How WhatsApp writes the number, which may differ from ours."""


def prepare(threads: int) -> None:
    """Once a process: room for the thread that the library keeps for each client for ever, and for calls."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads, thread_name_prefix="library"))
    library_log.setLevel(logging.ERROR)
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(name)s: %(message)s", force=True)


class Client:
    """One session of WhatsApp Web. Made, connected and ended once; another try is another client."""

    def __init__(
        self,
        session: str,
        name: str,
        proxy: str | None,
        gate: Gate,
        told: Callable[[Happening], None],
        write_down: Callable[[Marks | Incoming], Marks | Incoming] | None = None,
    ) -> None:
        self._proxy = proxy
        self._gate = gate
        self._told = told
        self._write_down = write_down
        """Called in threads of the library, before it confirms to WhatsApp what it tells us, or as it does."""
        self._loop = asyncio.get_running_loop()
        self._first = asyncio.Event()
        self._ended = asyncio.Event()
        self._client = NewAClient(session, uuid=name)
        self._client._stop_finalizer.detach()  # it would end the session from wherever garbage is collected
        self._client.qr(self._on_qr)
        for event in _READERS:
            self._client.event(event)(_unused)
        self._client.event.execute = self._hear  # its own goes by the event loop before anything can be written down

    # life

    async def connect(self) -> None:
        """Begin to connect. Returns once the library has said something, or after a while; all else is told."""
        async with self._gate.change():
            task = await self._client.connect(None if self._proxy is None else ProxySettings(self._proxy))
            task.add_done_callback(self._is_over)
            try:
                async with asyncio.timeout(FIRST_EVENT_SECONDS):
                    await self._first.wait()
            except TimeoutError:
                pass

    async def end(self, patience: float = END_SECONDS) -> None:
        """End the session without logging out. Idempotent. A client that shows codes never says that it has ended."""
        if self._ended.is_set():
            return
        async with self._gate.change():
            await self._client.stop()
            try:
                async with asyncio.timeout(patience):
                    await self._ended.wait()
            except TimeoutError:
                pass

    async def log_out(self) -> None:
        """Unlink at WhatsApp. Raises LibraryError."""
        await self._call(self._client.logout())

    @property
    def identity(self) -> tuple[str, str, str | None] | None:
        """Number, JID and LID of the linked device, once it has connected."""
        me = self._client.me
        if me is None or not me.JID.User:
            return None
        lid = Jid2String(me.LID) if me.LID.User else None
        return me.JID.User, Jid2String(me.JID), lid

    # asking

    async def _call(self, call: Any) -> Any:
        try:
            async with self._gate.call():
                return await call
        except Exception as error:  # the library has a class for each of its calls, and texts inside
            raise LibraryError(str(error) or type(error).__name__) from error

    async def pair_code(self, number: str) -> str:
        """The eight characters that are typed into the phone of this number. Raises LibraryError."""
        return str(await self._call(self._client.PairPhone(number, True))).replace("-", "")

    async def look_up(self, number: str) -> Known:
        """Whether WhatsApp knows a number. Raises LibraryError."""
        found = await self._call(self._client.is_on_whatsapp(number))
        if not found:
            raise LibraryError("WhatsApp did not say whether the number exists")
        return Known(bool(found[0].IsIn), str(found[0].JID.User) or number)

    async def number_of(self, lid: str) -> str | None:
        """The number behind a LID; None: the session does not know it. Raises LibraryError."""
        return str((await self._call(self._client.get_pn_from_lid(build_jid(lid, _LID)))).User) or None

    async def upload(self, kind: str, data: bytes, small: bytes | None) -> Upload:
        """Upload a file; `kind` is image, video, audio or document, `small` a JPEG of a video. Raises LibraryError."""
        lies = await self._call(self._client.upload(data, _MEDIA_TYPES[kind]))
        shared = {
            "URL": lies.url,
            "directPath": lies.DirectPath,
            "mediaKey": lies.MediaKey,
            "fileEncSHA256": lies.FileEncSHA256,
            "fileSHA256": lies.FileSHA256,
            "fileLength": lies.FileLength,
        }
        if kind == "image":
            small = thumbnail(data)
        return Upload(kind, shared | ({"JPEGThumbnail": small} if small else {}))

    async def send_text(self, user: str, text: str) -> str:
        """Send a text, as it is; the message's id. Raises LibraryError."""
        return await self._send(user, Content(extendedTextMessage=ExtendedTextMessage(text=text)))

    async def send_file(self, user: str, upload: Upload, file: File, caption: str) -> str:
        """Send an uploaded file; the message's id. Raises LibraryError."""
        return await self._send(user, _message_of(upload, file, caption))

    async def _send(self, user: str, message: Message) -> str:
        return str((await self._call(self._client.send_message(build_jid(user), message))).ID)

    # hearing

    def _tell(self, happening: Happening) -> None:
        self._first.set()
        self._told(happening)

    def _is_over(self, task: "asyncio.Task[None]") -> None:
        problem = None if task.cancelled() else task.exception()
        self._ended.set()
        self._tell(Ended("" if problem is None else str(problem)))

    async def _on_qr(self, _: Any, code: bytes) -> None:
        if code:  # the library also tells empty ones
            self._tell(QrCode(code.decode()))

    def _hear(self, _: int, data: int, size: int, code: int) -> None:
        """An event, in a thread of the library."""
        kind = INT_TO_EVENT.get(code)
        if kind is None:
            return
        event = kind.FromString(ctypes.string_at(data, size))
        if code == _ME:
            self._client.me = event
            return
        read = _READERS.get(kind)
        happening = None if read is None else read(event)
        if happening is None:
            return
        if self._write_down is not None and isinstance(happening, Marks | Incoming):
            happening = self._write_down(happening)
        self._loop.call_soon_threadsafe(self._tell, happening)


def _message_of(upload: Upload, file: File, caption: str) -> Message:
    """A message around a file. `seconds` as phones show them; a caption wherever WhatsApp has one."""
    shared, size = {"mimetype": file.mime, **upload.fields}, {"width": file.width, "height": file.height}
    seconds = max(1, round((file.duration_ms or 0) / 1000))
    match upload.kind:
        case "image":
            return Content(imageMessage=ImageMessage(caption=caption, **size, **shared))
        case "video":
            return Content(videoMessage=VideoMessage(caption=caption, seconds=seconds, **size, **shared))
        case "audio":
            # Phones write Ogg with Opus for voice messages only, and some play it as nothing else.
            is_voice = file.mime == "audio/ogg"
            shared |= {"mimetype": _OPUS} if is_voice else {}
            return Content(audioMessage=AudioMessage(seconds=seconds, PTT=is_voice, **shared))
    name = {"fileName": file.filename, "title": file.filename}
    return Content(documentMessage=DocumentMessage(caption=caption, **name, **shared))


async def _unused(_: Any, __: Any) -> None:
    """Registered so that the library tells the event at all."""


def _name_of(event: Any, field: str) -> str:
    """The name of an enum's value."""
    descriptor = event.DESCRIPTOR.fields_by_name[field].enum_type
    found = descriptor.values_by_number.get(getattr(event, field))
    return str(found.name) if found is not None else ""


def _seconds(stamp: int) -> datetime:
    """The library tells some times in seconds and others in milliseconds."""
    return datetime.fromtimestamp(stamp / 1000 if stamp > 10**11 else stamp, tz=UTC)


def _receipt(event: Any) -> Marks | None:
    source, kind = event.MessageSource, _name_of(event, "Type")
    if source.IsGroup or source.IsFromMe or source.Chat.Server not in _PEOPLE or kind not in _DELIVERED | _READ:
        return None
    return Marks(
        ids=tuple(str(mark) for mark in event.MessageIDs),
        read=kind in _READ,
        user=str(source.Chat.User),
        by_lid=source.Chat.Server == _LID,
        at=_seconds(event.Timestamp),
    )


def _incoming(event: Any) -> Incoming | None:
    source = event.Info.MessageSource
    if source.IsGroup or source.Chat.Server not in _PEOPLE or event.IsEdit:
        return None
    text = _text(event.Message)
    if text is None:
        return None
    other, aside = (source.Chat, source.RecipientAlt) if source.IsFromMe else (source.Sender, source.SenderAlt)
    if other.Server == _LID and aside.User and aside.Server != _LID:
        other = aside
    return Incoming(
        id=str(event.Info.ID),
        mine=bool(source.IsFromMe),
        user=str(other.User),
        by_lid=other.Server == _LID,
        text=text,
        at=_seconds(event.Info.Timestamp),
    )


def _text(message: Any) -> str | None:
    """What a person wrote: the text or the caption, empty for a sticker or a voice message; None if nobody wrote."""
    while (wrapper := next((name for name in _WRAPPERS if message.HasField(name)), None)) is not None:
        message = getattr(message, wrapper).message
    if message.HasField("conversation"):
        return str(message.conversation)
    if message.HasField("extendedTextMessage"):
        return str(message.extendedTextMessage.text)
    for name in _CAPTIONED:
        if message.HasField(name):
            return str(getattr(message, name).caption)
    for name, field in _CHOSEN:
        if message.HasField(name):
            return str(getattr(getattr(message, name), field))
    told = {field.name for field, _ in message.ListFields()}
    return "" if told - _SILENT_KINDS else None


def _pair_status(event: Any) -> Happening:
    if _name_of(event, "Status") != "SUCCESS":
        return PairingFailed(str(event.Error) or "the phone and this device did not agree")
    return PairedWith(str(event.ID.User), Jid2String(event.ID))


_READERS: dict[Any, Callable[[Any], Happening | None]] = {
    events.ConnectedEv: lambda _: Up(),
    events.DisconnectedEv: lambda _: Down(),
    events.KeepAliveTimeoutEv: lambda event: Silent(int(event.ErrorCount)),
    events.KeepAliveRestoredEv: lambda _: Back(),
    events.LoggedOutEv: lambda event: LoggedOut(_name_of(event, "Reason")),
    events.StreamReplacedEv: lambda _: Replaced(),
    events.TemporaryBanEv: lambda event: Banned(_name_of(event, "Code"), float(event.Expire)),
    events.ConnectFailureEv: lambda event: Failed(_name_of(event, "Reason"), str(event.Message)),
    events.ClientOutdatedEv: lambda _: Outdated(),
    events.StreamErrorEv: lambda event: Away(str(event.Code)),
    events.PairStatusEv: _pair_status,
    events.ReceiptEv: _receipt,
    events.MessageEv: _incoming,
}
