"""What a picture, video, audio or document may be, decided by its bytes; data URLs; file names as harmless labels.

Nothing here trusts what somebody says about a file: not its name, not its declared type. Pictures are measured by
their headers and not decoded, so that a small file cannot ask for gigabytes; thumbnails of them have a bound. What is
in a video or audio is found elsewhere and judged by `recordings`. The libraries that look into files are loaded where
they are used: a sender passes files on, and never looks into one.
"""

import base64
import binascii
import hashlib
import io
import re
import struct
from dataclasses import dataclass, field
from datetime import datetime

from fleetcast.domain import file_names
from fleetcast.domain.recordings import Container, Facts, Still, judge, recognise, unusual_kind
from fleetcast.errors import InvalidInput

FIELD = "media"
MOST_PIXELS = 50_000_000
"""Width times height of a picture."""

ALLOWED: dict[str, tuple[str, ...]] = {
    "image/jpeg": (".jpg", ".jpeg"),
    "image/png": (".png",),
    "image/webp": (".webp",),
    "video/mp4": (".mp4", ".m4v"),
    "video/3gpp": (".3gp", ".3gpp"),
    "audio/mp4": (".m4a",),
    "audio/mpeg": (".mp3",),
    "audio/aac": (".aac",),
    "audio/amr": (".amr",),
    "audio/ogg": (".ogg", ".opus", ".oga"),
    "application/pdf": (".pdf",),
}
"""What WhatsApp shows, with the endings of its names. No GIF: WhatsApp has none. No SVG, no HTML: they run scripts."""
_ALIASES = {
    "image/jpg": "image/jpeg",
    "video/3gp": "video/3gpp",
    "video/x-m4v": "video/mp4",
    "audio/m4a": "audio/mp4",
    "audio/x-m4a": "audio/mp4",
    "audio/mp3": "audio/mpeg",
    "audio/x-aac": "audio/aac",
    "audio/opus": "audio/ogg",
}
"""Names that programs give to the same."""

_SIGNATURES = {
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/webp": re.compile(rb"RIFF....WEBPVP8[ LX]", re.DOTALL),
    "application/pdf": re.compile(rb"%PDF-[0-9]\.[0-9]"),
}
_UNSPECIFIED = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_DATA_URL = re.compile(r"data:([^,;]{0,100})((?:;[^,;]{0,100}){0,5}),", re.IGNORECASE)
_RESERVED_NAMES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE | re.DOTALL)
_THUMBNAIL = 100
"""Pixels, of the longer side."""
_MOST_DECODED = 16_000_000
"""Pixels: 64 MB of memory for a moment."""
KINDS = "a JPEG, PNG or WebP picture, an MP4 or 3GP video, an MP3, M4A, AAC, AMR or Ogg Opus audio, or a PDF document"
_LABELS = {"image": "picture", "video": "video", "audio": "audio", "application": "document"}


@dataclass(frozen=True, slots=True)
class Medium:
    """A file that was looked at and found good. `width` and `height` are None for documents and audio."""

    data: bytes
    mime: str
    filename: str
    sha256: str
    width: int | None
    height: int | None
    duration_ms: int | None = None
    """Of video and audio."""
    thumbnail: bytes | None = field(default=None, repr=False)
    """A small JPEG of a video's first picture, where one could be made."""

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """What is known of a stored medium without its bytes. `size` in bytes; `sha256` in hex, which is its name."""

    sha256: str
    mime: str
    filename: str
    size: int
    width: int | None
    height: int | None
    duration_ms: int | None
    created_at: datetime
    """When the workspace first had it."""

    @property
    def takes_text(self) -> bool:
        """Whether WhatsApp shows a text with it."""
        return takes_text(self.mime)


def takes_text(mime: str) -> bool:
    """Whether WhatsApp shows a text with a file of this type: it has no place for one below audio."""
    return not mime.startswith("audio/")


def examine(data: bytes, filename: str, max_bytes: int, facts: Facts | None = None) -> Medium:
    """Decide by its bytes what a file is. Raises InvalidInput for what is empty, too large or of no allowed kind.

    `facts` are what was found in it; a file with a `recording_in` it needs them.
    """
    kind = _looked_at(data, max_bytes)
    sha256, duration_ms, small = hashlib.sha256(data).hexdigest(), None, None
    if isinstance(kind, Container):
        if facts is None:
            raise ValueError("a video or audio is examined with the facts of it")
        recording = judge(kind, data, facts)
        mime, width, height = recording.mime, recording.width, recording.height
        duration_ms = recording.duration_ms
        small = None if facts.still is None or width is None else _jpeg_of(facts.still)
    elif kind == "application/pdf":
        mime, width, height = kind, None, None
    else:
        mime, (width, height) = kind, _measure(data, kind)
    return Medium(data, mime, clean_filename(filename, mime), sha256, width, height, duration_ms, small)


def recording_in(data: bytes, max_bytes: int) -> Container | None:
    """How a video or audio is packed; None for pictures and documents. Raises InvalidInput as `examine` does."""
    kind = _looked_at(data, max_bytes)
    return kind if isinstance(kind, Container) else None


def _looked_at(data: bytes, max_bytes: int) -> Container | str:
    if not data:
        raise InvalidInput(FIELD, "The file is empty.")
    refuse_size(len(data), max_bytes)
    return sniff(data)


def refuse_size(size: int, max_bytes: int) -> None:
    """Raise InvalidInput when `size` bytes are more than allowed."""
    if size > max_bytes:
        raise InvalidInput(
            FIELD, f"The file has more than {max_bytes / 2**20:g} MB, the most that can be sent: make it smaller."
        )


def sniff(data: bytes) -> Container | str:
    """The MIME type of a picture or document of an allowed kind, or how a video or audio is packed: the library's
    opinion and the format's own signature agree. Raises InvalidInput.
    """
    import puremagic

    try:
        matches = puremagic.magic_string(data)
    except (puremagic.PureError, ValueError):
        matches = []
    opinions = [str(match.mime_type) for match in matches if match.mime_type]
    for mime in opinions:
        if mime in _SIGNATURES and _SIGNATURES[mime].match(data):
            return mime
    known = frozenset(opinions) | {str(match.extension).lower() for match in matches if match.extension}
    if (container := recognise(data, known)) is not None:
        return container
    if (unusual := unusual_kind(data)) is not None and not any(opinion.startswith("image/") for opinion in opinions):
        raise InvalidInput(FIELD, f"It is {unusual}, which WhatsApp does not play: save it as plain MP4.")
    found = f"It looks like {opinions[0]}" if opinions else "It is of no known kind"
    raise InvalidInput(FIELD, f"{found}: send {KINDS}.")


@dataclass(frozen=True, slots=True)
class DataUrl:
    """What `data:image/png;base64,…` carries."""

    declared: str
    data: bytes

    def agrees(self, mime: str) -> None:
        """Refuse bytes that are of another family (picture, video, audio, document) than was declared.

        The type that is kept is that of the bytes. Raises InvalidInput.
        """
        if self.declared not in _UNSPECIFIED and self.declared.split("/")[0] != mime.split("/")[0]:
            raise InvalidInput(FIELD, f"The data URL declares {self.declared}, but the bytes are {mime}: correct one.")


def parse_data_url(text: str, max_bytes: int) -> DataUrl:
    """What is inside `data:image/png;base64,…`. The size is checked before anything is decoded. Raises InvalidInput."""
    header = _DATA_URL.match(text)
    if header is None:
        raise InvalidInput(FIELD, "This is not a data URL: it has to begin like data:image/png;base64, with a comma.")
    declared = header[1].strip().lower()
    declared = _ALIASES.get(declared, declared)
    if "base64" not in [parameter.strip().lower() for parameter in header[2].split(";")]:
        raise InvalidInput(FIELD, "The data URL is not base64: it has to begin like data:image/png;base64,")
    if declared not in _UNSPECIFIED and declared not in ALLOWED:
        raise InvalidInput(FIELD, f"The data URL declares {declared}: send {KINDS}.")
    start = header.end()
    # line ends inside are common; twice the size is a bound that holds before they are counted
    if len(text) - start > max_bytes * 2 + 1024:
        refuse_size(max_bytes + 1, max_bytes)
    encoded = "".join(text[start:].split())
    refuse_size(len(encoded) // 4 * 3 - encoded[-2:].count("="), max_bytes)
    try:
        return DataUrl(declared, base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        raise InvalidInput(FIELD, "The data URL is damaged: what follows the comma is not valid base64.") from None


def clean_filename(name: str, mime: str) -> str:
    """A file's name as a harmless label with an ending that tells the truth; never a path.

    Folders, control and direction characters and what some systems forbid go; at most 255 bytes are left.
    """
    label = file_names.label(name) or _LABELS[mime.split("/")[0]]
    endings = ALLOWED[mime]
    ending = next((end for end in endings if label.lower().endswith(end)), "")
    stem = label[: len(label) - len(ending)].rstrip(". ")
    if _RESERVED_NAMES.fullmatch(stem):
        stem = f"_{stem}"
    ending = ending or endings[0]
    return file_names.shortened(stem, file_names.LONGEST_NAME - len(ending)) + ending


def thumbnail(data: bytes) -> bytes | None:
    """A small JPEG of a picture, as WhatsApp shows it until the whole one is there; None where none can be made.

    The one place where a picture is decoded, and only one that was measured before it was stored.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.draft("RGB", (_THUMBNAIL, _THUMBNAIL))  # a JPEG is decoded no larger than needed
            if picture.width * picture.height > _MOST_DECODED:
                return None
            picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
            small = io.BytesIO()
            picture.convert("RGB").save(small, format="jpeg", quality=60)
    except (OSError, SyntaxError, ValueError, TypeError, struct.error, Image.DecompressionBombError):
        return None
    return small.getvalue()


def _jpeg_of(still: Still) -> bytes:
    from PIL import Image

    picture = Image.frombytes("RGB", (still.width, still.height), still.rgb)
    turns = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
    if still.turn:
        picture = picture.transpose(turns[still.turn])
    small = io.BytesIO()
    picture.save(small, format="jpeg", quality=60)
    return small.getvalue()


def _measure(data: bytes, mime: str) -> tuple[int, int]:
    try:
        width, height = _HEADERS[mime](data)
    except (OSError, SyntaxError, ValueError, IndexError, TypeError, struct.error):
        raise InvalidInput(FIELD, "The picture is damaged: its header cannot be read.") from None
    if width < 1 or height < 1:
        raise InvalidInput(FIELD, "The picture is damaged: it has no width or no height.")
    if width * height > MOST_PIXELS:
        raise InvalidInput(
            FIELD,
            f"The picture has {width:,} x {height:,} pixels; at most {MOST_PIXELS // 10**6} million are allowed: "
            "make it smaller.",
        )
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int]:
    from PIL.JpegImagePlugin import JpegImageFile

    with JpegImageFile(io.BytesIO(data)) as picture:
        return picture.size


def _png_size(data: bytes) -> tuple[int, int]:
    from PIL.PngImagePlugin import PngImageFile

    with PngImageFile(io.BytesIO(data)) as picture:
        return picture.size


def _webp_size(data: bytes) -> tuple[int, int]:
    """Read here because the library's reader allocates the whole canvas just to look."""
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("no WebP header")


_HEADERS = {"image/jpeg": _jpeg_size, "image/png": _png_size, "image/webp": _webp_size}
