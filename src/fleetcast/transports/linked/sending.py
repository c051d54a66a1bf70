"""Sending for one device in the child: one message after the other, each judged by what the library says of it.

A message is either begun before its deadline or never, and the parent knows which before its first byte can leave. The
library waits up to 75 s for WhatsApp's word and meanwhile sends nothing else; a message for which nobody waits any more
is left to it, and the connection is begun anew once another one wants to leave.
"""

import asyncio
import base64
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fleetcast.clock import Clock
from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import Phone
from fleetcast.transports.linked import words
from fleetcast.transports.linked.library import Client, LibraryError, Upload
from fleetcast.transports.linked.protocol import Begun, File, Refused, Send, Sent, Verdict, WantsFile, Wire
from fleetcast.transports.linked.session import Session

TIME_LOCK = 463
SLOW_DOWN = 429
SLOW_DOWN_SECONDS = 60.0
"""How long to wait when WhatsApp says that it is too much, which does not say how long."""
CONTENT_CODES = frozenset({400, 413, 487, 488, 489, 490, 491, 493, 495})
"""Acknowledgements that say: this message cannot be read, whoever sends it."""
NOTHING_LEFT = (
    "failed to get device list",
    "failed to send message node: websocket not connected",
    "the store doesn't contain a device JID",
    "client is nil",
    "websocket not connected",
)
"""How the library's words begin when it gave up before the message."""
KNOWN = 500
"""Numbers of which it is known that they are on WhatsApp, the newest."""
UPLOADS = 10
"""Files of which it is known where they lie, the newest."""
UPLOAD_SECONDS = 24 * 3600.0
"""WhatsApp keeps what was uploaded for weeks; it is uploaded anew after a day."""
PICTURES = frozenset({"image/jpeg", "image/png"})
DOCUMENTS = frozenset({"application/pdf", "image/webp"})
"""WhatsApp shows WebP as a sticker or not at all: it goes as a file."""
VIDEOS = frozenset({"video/mp4", "video/3gpp"})
AUDIO = frozenset({"audio/mp4", "audio/mpeg", "audio/aac", "audio/amr", "audio/ogg"})


@dataclass(slots=True)
class Underway:
    """One send, as the child knows it."""

    order: Send
    given_up: asyncio.Event
    """Set when nobody waits for it any more."""


class Sending:
    """The messages of one device."""

    def __init__(self, session: Session, wire: Wire, clock: Clock) -> None:
        self._session = session
        self._wire = wire
        self._clock = clock
        self._turn = asyncio.Lock()
        self._known: OrderedDict[Phone, str] = OrderedDict()
        self._uploads: OrderedDict[str, tuple[Upload, float]] = OrderedDict()
        self._uploading: dict[str, asyncio.Task[Upload]] = {}
        self._left_alone: asyncio.Task[str] | None = None
        """The library's call for a message that nobody waits for any more."""

    async def send(
        self, under_way: Underway, data: bytes | None, own: Callable[[asyncio.Task[str]], None]
    ) -> Sent | Refused | WantsFile | None:
        """Send a message; None when nobody waits for the answer. `own` keeps the library's call if it outlives us."""
        order = under_way.order
        late = Refused(order.number, Verdict.NOT_SENT, "too_late", "it did not get its turn in time")
        try:
            async with asyncio.timeout(max(0.0, order.deadline - self._clock.monotonic())):
                await self._turn.acquire()
        except TimeoutError:
            return late
        try:
            if (refused := self._refused(order)) is not None:
                return refused
            try:
                async with asyncio.timeout(max(0.0, order.deadline - self._clock.monotonic())):
                    prepared = await self._prepare(order, data)
            except TimeoutError:
                return late
            if not isinstance(prepared, _Ready):
                return prepared
            return await self._leave(under_way, prepared, own)
        finally:
            self._turn.release()

    def _refused(self, order: Send) -> Refused | None:
        session = self._session
        if not session.may_send(is_answer=order.is_answer):
            return Refused(order.number, Verdict.DEVICE, str(session.state), session.reason)
        if session.state is DeviceState.OFFLINE:
            return Refused(order.number, Verdict.NOT_SENT, "disconnected", session.reason)
        return None

    # before it leaves

    async def _prepare(self, order: Send, data: bytes | None) -> "_Ready | Refused | WantsFile":
        """Everything that comes before the message itself: a connection, a number that exists, a file that lies there.

        Cut off by the deadline at any point; what was learnt by then is kept.
        """
        if self._left_alone is not None and not self._left_alone.done():
            await self._session.restart()
        await self._session.up.wait()
        client = self._session.client
        if client is None:
            return Refused(order.number, Verdict.NOT_SENT, "disconnected", words.CONNECTION_LOST)
        try:
            user = await self._user(client, order.recipient)
        except LibraryError as error:
            return Refused(order.number, Verdict.NOT_SENT, "number_not_checked", str(error))
        if user is None:
            return Refused(order.number, Verdict.RECIPIENT, "not_on_whatsapp", "WhatsApp does not know the number")
        if order.file is None:
            return _Ready(client, user, None)
        if (kind := _kind(order.file)) is None:
            detail = f"{order.file.mime} is not sent by linked devices: send a picture, video, audio or document"
            return Refused(order.number, Verdict.CONTENT, "kind_of_file", detail)
        if kind == "audio" and order.text.strip():
            detail = "WhatsApp shows no text with audio: send it as a message of its own"
            return Refused(order.number, Verdict.CONTENT, "text_with_audio", detail)
        known = self._uploads.get(order.file.sha256)
        if known is not None and self._clock.monotonic() - known[1] < UPLOAD_SECONDS:
            return _Ready(client, user, known[0])
        if data is None:
            return WantsFile(order.number)
        # Not cut off by the deadline: a large file on a slow line is there when the message is tried again.
        uploading = self._uploading.get(order.file.sha256)
        if uploading is None:
            uploading = asyncio.create_task(self._upload(client, kind, order.file, data), name="upload")
            self._uploading[order.file.sha256] = uploading
            uploading.add_done_callback(partial(self._uploaded, order.file.sha256))
        try:
            return _Ready(client, user, await asyncio.shield(uploading))
        except LibraryError as error:
            return Refused(order.number, Verdict.NOT_SENT, "upload_failed", str(error))

    async def _user(self, client: Client, recipient: Phone) -> str | None:
        """How WhatsApp writes the number; asked before the first message to it. None: it is not on WhatsApp."""
        if recipient not in self._known:
            found = await client.look_up(recipient.removeprefix("+"))
            if not found.exists:
                return None
            self._known[recipient] = found.user
            if self._session.hearing is not None:
                self._session.hearing.written_as(found.user, recipient)
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)
        return self._known[recipient]

    async def _upload(self, client: Client, kind: str, file: File, data: bytes) -> Upload:
        small = None if file.thumbnail is None else base64.b64decode(file.thumbnail)
        upload = await client.upload(kind, data, small)
        self._uploads[file.sha256] = (upload, self._clock.monotonic())
        while len(self._uploads) > UPLOADS:
            self._uploads.popitem(last=False)
        return upload

    def _uploaded(self, sha256: str, uploading: "asyncio.Task[Upload]") -> None:
        self._uploading.pop(sha256, None)
        if not uploading.cancelled():
            uploading.exception()  # nobody may wait for it any more

    # as it leaves

    async def _leave(
        self, under_way: Underway, ready: "_Ready", own: Callable[[asyncio.Task[str]], None]
    ) -> Sent | Refused | None:
        order, hearing = under_way.order, self._session.hearing
        self._wire.write(Begun(order.number))
        if not await self._wire.left():
            return None  # nobody would learn what becomes of it
        if under_way.given_up.is_set() or self._clock.monotonic() >= order.deadline:
            return Refused(order.number, Verdict.NOT_SENT, "too_late", "the message was not begun in time")
        if (refused := self._refused(order)) is not None:  # while all that was awaited
            return refused
        if hearing is not None:
            hearing.sending(order.recipient)
        call = asyncio.create_task(ready.send(order), name=f"send for {order.device}")
        own(call)
        waits = asyncio.create_task(under_way.given_up.wait(), name="nobody waits any more")
        try:
            await asyncio.wait({call, waits}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waits.cancel()
        if not call.done():
            self._left_alone = call
            call.add_done_callback(lambda done: self._answered_late(order, done))
            return None
        try:
            provider_id = call.result()
        except LibraryError as error:
            return self._judge(order, error)
        finally:
            if hearing is not None:
                hearing.sending(None)
        self._session.new_chat_worked()
        return Sent(order.number, provider_id)

    def _answered_late(self, order: Send, call: "asyncio.Task[str]") -> None:
        hearing = self._session.hearing
        if hearing is None or call.cancelled():
            return
        error = call.exception()
        if error is None:
            hearing.accepted_late(order.reference, call.result(), order.recipient)
        elif isinstance(error, LibraryError):
            self._judge(order, error)  # it may say something of the device
        if self._left_alone is call:
            self._left_alone = None
        hearing.sending(None)

    def _judge(self, order: Send, error: LibraryError) -> Refused:
        text, code = str(error), error.server_code
        if code == TIME_LOCK:
            self._session.lock_new_chats(may_answer=not order.is_answer)
            return Refused(order.number, Verdict.DEVICE, "time_lock", words.TIME_LOCK)
        if code == SLOW_DOWN:
            detail = "WhatsApp says that it is too much at once"
            return Refused(order.number, Verdict.SLOW_DOWN, "rate_limited", detail, SLOW_DOWN_SECONDS)
        if code in CONTENT_CODES:
            return Refused(order.number, Verdict.CONTENT, f"refused_{code}", "WhatsApp does not take this message")
        if code is not None:
            return Refused(order.number, Verdict.NOT_SENT, f"refused_{code}", f"WhatsApp answered with error {code}")
        if "no LID found" in text:
            self._known.pop(order.recipient, None)
            return Refused(order.number, Verdict.RECIPIENT, "not_on_whatsapp", "WhatsApp does not know the number")
        if text.startswith(NOTHING_LEFT):
            return Refused(order.number, Verdict.NOT_SENT, "disconnected", "the connection was lost before it left")
        return Refused(order.number, Verdict.UNKNOWN, "no_answer", text[:200])


@dataclass(frozen=True, slots=True)
class _Ready:
    """A message with everything that it needs."""

    client: Client
    user: str
    upload: Upload | None

    async def send(self, order: Send) -> str:
        """The one call that lets it leave; the message's id."""
        if self.upload is None or order.file is None:
            return await self.client.send_text(self.user, order.text)
        return await self.client.send_file(self.user, self.upload, order.file, order.text)


def _kind(file: File) -> str | None:
    for kind, types in (("image", PICTURES), ("video", VIDEOS), ("audio", AUDIO), ("document", DOCUMENTS)):
        if file.mime in types:
            return kind
    return None
