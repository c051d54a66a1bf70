"""What a person would see of a decrypted message, read from its protobuf. Knows the message, not how it came.

The hash of what is seen is how a copy under another id is found: keys and secrets that differ in every message are
left out of it, the pictures' and documents' own bytes are in.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from testbed.whatsapp_web.protobufs import Message

_WRAPPERS: Final = (
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "documentWithCaptionMessage",
    "editedMessage",
)
_FILES: Final = {
    "imageMessage": "image",
    "videoMessage": "video",
    "audioMessage": "audio",
    "documentMessage": "document",
    "stickerMessage": "sticker",
}


@dataclass(frozen=True, slots=True)
class Attachment:
    """Where a file lies and how it is opened, as its message says."""

    kind: str
    path: str
    key: bytes
    sha256: bytes
    sealed_sha256: bytes
    length: int
    mime: str
    file_name: str
    seconds: int = 0
    """Of a video or audio, as the message says."""


@dataclass(frozen=True, slots=True)
class Content:
    """A message as a person sees it."""

    kind: str
    """text, image, video, audio, document, sticker, or the name of what is none of them."""
    text: str
    """The text, or the caption."""
    attachment: Attachment | None = None
    copied_to: str = ""
    """For the copy that one's own phone gets: the address that the message is for."""

    def seen(self, file_sha256: str) -> str:
        """Hash of what a person sees, the file being this one."""
        return hashlib.sha256("\0".join((self.kind, self.text, file_sha256)).encode()).hexdigest()


def read(plain: bytes) -> Content:
    """What is in a decrypted message."""
    message = Message.FromString(plain)
    copied_to = ""
    if message.HasField("deviceSentMessage"):
        copied_to = message.deviceSentMessage.destinationJid
        message = message.deviceSentMessage.message
    while (wrapper := next((name for name in _WRAPPERS if message.HasField(name)), None)) is not None:
        message = getattr(message, wrapper).message
    if message.HasField("conversation"):
        return Content("text", message.conversation, copied_to=copied_to)
    if message.HasField("extendedTextMessage"):
        return Content("text", message.extendedTextMessage.text, copied_to=copied_to)
    for name, kind in _FILES.items():
        if message.HasField(name):
            return _file(getattr(message, name), kind, copied_to)
    names = [field.name for field, _ in message.ListFields() if field.name != "messageContextInfo"]
    return Content(names[0] if names else "empty", "", copied_to=copied_to)


def _file(part: Any, kind: str, copied_to: str) -> Content:
    def text(name: str) -> str:
        return str(getattr(part, name, "") or "")  # not every kind has every field

    attachment = Attachment(
        kind=kind,
        path=part.directPath,
        key=part.mediaKey,
        sha256=part.fileSha256,
        sealed_sha256=part.fileEncSha256,
        length=part.fileLength,
        mime=part.mimetype,
        file_name=text("fileName") or text("title"),
        seconds=int(getattr(part, "seconds", 0) or 0),
    )
    return Content(kind, text("caption"), attachment, copied_to)


def text_message(text: str) -> bytes:
    """A text, as a phone sends it."""
    written: bytes = Message(conversation=text).SerializeToString()
    return written


def own_copy(to: str, message: bytes) -> bytes:
    """What the other devices of an account get of a message that one of them sent."""
    wrapped = Message()
    wrapped.deviceSentMessage.destinationJid = to
    wrapped.deviceSentMessage.message.ParseFromString(message)
    written: bytes = wrapped.SerializeToString()
    return written


def pad(message: bytes, amount: int) -> bytes:
    """WhatsApp's own padding inside the encryption: `amount` bytes that each say how many there are."""
    return message + bytes([amount]) * amount


def unpad(padded: bytes) -> bytes:
    """Without that padding."""
    return padded[: -padded[-1]] if padded else padded
