"""What a picture or document may be, decided by its bytes; data URLs; and file names as harmless labels.

Nothing here trusts what somebody says about a file: not its name, not its declared type. Pictures are measured by
their headers and not decoded, so that a small file cannot ask for gigabytes; thumbnails of them have a bound. The
libraries that look into files are loaded where they are used: a sender passes files on, and never looks into one.
"""

import base64
import binascii
import hashlib
import io
import re
import struct
from dataclasses import dataclass
from datetime import datetime

from fleetcast.domain import file_names
from fleetcast.errors import InvalidInput

FIELD = "media"
MOST_PIXELS = 50_000_000
"""Width times height of a picture."""

ALLOWED: dict[str, tuple[str, ...]] = {
    "image/jpeg": (".jpg", ".jpeg"),
    "image/png": (".png",),
    "image/webp": (".webp",),
    "application/pdf": (".pdf",),
}
"""What WhatsApp shows, with the endings of its names. No GIF: WhatsApp has none. No SVG, no HTML: they run scripts."""

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
_KINDS = "a JPEG, PNG or WebP picture or a PDF document"


@dataclass(frozen=True, slots=True)
class Medium:
    """A picture or document that was looked at and found good. `width` and `height` are None for documents."""

    data: bytes
    mime: str
    filename: str
    sha256: str
    width: int | None
    height: int | None

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
    created_at: datetime
    """When the workspace first had it."""


def examine(data: bytes, filename: str, max_bytes: int) -> Medium:
    """Decide by its bytes what a file is. Raises InvalidInput for what is empty, too large or of no allowed kind."""
    if not data:
        raise InvalidInput(FIELD, "The file is empty.")
    refuse_size(len(data), max_bytes)
    mime = sniff(data)
    width, height = (None, None) if mime == "application/pdf" else _measure(data, mime)
    return Medium(data, mime, clean_filename(filename, mime), hashlib.sha256(data).hexdigest(), width, height)


def refuse_size(size: int, max_bytes: int) -> None:
    """Raise InvalidInput when `size` bytes are more than allowed."""
    if size > max_bytes:
        raise InvalidInput(
            FIELD, f"The file has more than {max_bytes / 2**20:g} MB, the most that can be sent: make it smaller."
        )


def sniff(data: bytes) -> str:
    """The MIME type of an allowed kind, by its bytes: the library's opinion and the format's own signature agree."""
    import puremagic

    try:
        opinions = [str(match.mime_type) for match in puremagic.magic_string(data) if match.mime_type]
    except (puremagic.PureError, ValueError):
        opinions = []
    for mime in opinions:
        if mime in ALLOWED and _SIGNATURES[mime].match(data):
            return mime
    found = f"It looks like {opinions[0]}" if opinions else "It is of no known kind"
    raise InvalidInput(FIELD, f"{found}: send {_KINDS}.")


def parse_data_url(text: str, max_bytes: int) -> Medium:
    """The medium inside `data:image/png;base64,…`. The size is checked before anything is decoded.

    The declared type must be of the same family (picture or document) as the bytes turn out to be; the type that is
    kept is that of the bytes.
    """
    header = _DATA_URL.match(text)
    if header is None:
        raise InvalidInput(FIELD, "This is not a data URL: it has to begin like data:image/png;base64, with a comma.")
    declared = header[1].strip().lower()
    if "base64" not in [parameter.strip().lower() for parameter in header[2].split(";")]:
        raise InvalidInput(FIELD, "The data URL is not base64: it has to begin like data:image/png;base64,")
    if declared not in _UNSPECIFIED and declared not in ALLOWED and declared != "image/jpg":
        raise InvalidInput(FIELD, f"The data URL declares {declared}: send {_KINDS}.")
    start = header.end()
    # line ends inside are common; twice the size is a bound that holds before they are counted
    if len(text) - start > max_bytes * 2 + 1024:
        refuse_size(max_bytes + 1, max_bytes)
    encoded = "".join(text[start:].split())
    refuse_size(len(encoded) // 4 * 3 - encoded[-2:].count("="), max_bytes)
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(FIELD, "The data URL is damaged: what follows the comma is not valid base64.") from None
    medium = examine(data, "", max_bytes)
    if declared not in _UNSPECIFIED and declared.split("/")[0] != medium.mime.split("/")[0]:
        raise InvalidInput(FIELD, f"The data URL declares {declared}, but the bytes are {medium.mime}: correct one.")
    return medium


def clean_filename(name: str, mime: str) -> str:
    """A file's name as a harmless label with an ending that tells the truth; never a path.

    Folders, control and direction characters and what some systems forbid go; at most 255 bytes are left.
    """
    label = file_names.label(name) or ("document" if mime == "application/pdf" else "picture")
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
