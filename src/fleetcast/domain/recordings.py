"""Which video and audio WhatsApp plays: recognised by signature, judged by facts that a reader found in the file.

The list is that of Meta's reference of the Cloud API ("Supported media types"): MP4 and 3GP with H.264 video and one
AAC sound track or none; M4A and plain AAC, MP3, AMR, and Ogg with Opus in one channel. Linked devices play the same.
Separate from `media`, which knows pictures and documents by their bytes alone: facts of a recording need a library that
takes it apart, in a process of its own (`services/recordings`). Nothing here reads more than the first bytes and the
sizes of boxes.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fleetcast.errors import InvalidInput

FIELD: Final = "media"
MOST_PIXELS: Final = 4_096 * 2_304
"""Width times height of a video: the largest picture that H.264 has in the levels that phones play."""
SHORTEST_MS: Final = 100
LONGEST_MS: Final = 12 * 3_600_000
"""More than speech of the lowest quality has in the largest file."""


class Container(StrEnum):
    """How a recording is packed. The value is what the library that reads it calls the reader."""

    MP4 = "mov"
    """MP4, M4A and 3GP."""
    MP3 = "mp3"
    AAC = "aac"
    AMR = "amr"
    OGG = "ogg"


@dataclass(frozen=True, slots=True)
class Track:
    """One of the streams of a recording. `codec` as FFmpeg calls it."""

    kind: str
    """`video`, `audio`, or another word for what is neither."""
    codec: str
    width: int = 0
    height: int = 0
    channels: int = 0
    is_cover: bool = False
    """A picture that goes with music, and no video."""


@dataclass(frozen=True, slots=True)
class Still:
    """The first picture of a video, made small: three bytes a pixel."""

    width: int
    height: int
    turn: int
    """Degrees counter-clockwise by which it has to be turned to be seen upright; a multiple of 90."""
    rgb: bytes


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found in a recording."""

    tracks: tuple[Track, ...]
    duration_ms: int
    """By what is there."""
    declared_ms: int
    """By what its header says; 0: it says nothing."""
    is_whole: bool
    still: Still | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """A video or audio that was found good. `width` and `height`, as it is seen, are None for audio."""

    mime: str
    width: int | None
    height: int | None
    duration_ms: int


# `qt  ` (QuickTime) is not among them, nor are pictures that use the same boxes (HEIC, AVIF).
_BRANDS: Final = rb"isom|iso[2-9a-c]|mp4[12]|avc1|M4[VAB] |M4V[HP]|MSNV|dash|f4v |3g[p2][0-9a-z]|3g[grse][0-9]|mmp4"
_SIGNATURES: Final = {
    Container.MP4: re.compile(rb"....ftyp(?:" + _BRANDS + rb")", re.DOTALL),
    Container.MP3: re.compile(rb"ID3[\x02-\x04]|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"),
    Container.AAC: re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"),
    Container.AMR: re.compile(rb"#!AMR\n"),
    Container.OGG: re.compile(rb"OggS\x00[\x02\x06]"),
}
_OPINIONS: Final = {
    Container.MP4: frozenset({"video/mp4", "audio/mp4", "video/3gpp", "video/3gpp2"}),
    Container.MP3: frozenset({"audio/mpeg"}),
    Container.AAC: frozenset({"audio/aac"}),
    Container.AMR: frozenset({".amr"}),
    Container.OGG: frozenset({"application/ogg"}),
}
"""Types, or endings where it has no type, by which the library of signatures calls such a file."""
_CODECS: Final = {
    "aac": "AAC",
    "aac_latm": "AAC in LATM",
    "ac3": "AC-3",
    "alac": "Apple Lossless",
    "amr_nb": "AMR",
    "amr_wb": "AMR wideband",
    "av1": "AV1",
    "eac3": "E-AC-3",
    "flac": "FLAC",
    "h263": "H.263",
    "h264": "H.264",
    "hevc": "HEVC (H.265)",
    "mjpeg": "Motion JPEG",
    "mp1": "MPEG layer 1",
    "mp2": "MPEG layer 2",
    "mp3": "MP3",
    "mpeg4": "MPEG-4 Part 2",
    "opus": "Opus",
    "prores": "ProRes",
    "speex": "Speex",
    "theora": "Theora",
    "vorbis": "Vorbis",
    "vp8": "VP8",
    "vp9": "VP9",
    "vvc": "VVC (H.266)",
}
_AUDIO: Final = {
    Container.MP3: ("mp3", "audio/mpeg", "an MP3 file"),
    Container.AAC: ("aac", "audio/aac", "an AAC file"),
    Container.AMR: ("amr_nb", "audio/amr", "an AMR file"),
    Container.OGG: ("opus", "audio/ogg", "an Ogg file"),
    Container.MP4: ("aac", "audio/mp4", "an M4A file"),
}
_CONVERT_VIDEO: Final = "WhatsApp plays H.264 with AAC: convert it to such an MP4, for example with HandBrake."
_CONVERT_AUDIO: Final = "convert it to MP3 or M4A, for example with Audacity."


def recognise(data: bytes, opinions: frozenset[str]) -> Container | None:
    """How a file is packed, if it is a recording; its signature and `opinions`, those of the library, must agree. Where
    it has none (it does not know every kind of MP3), the facts that are found later are the second opinion.

    Raises InvalidInput for one that breaks off.
    """
    for container, signature in _SIGNATURES.items():
        if signature.match(data) and (not opinions or opinions & _OPINIONS[container]):
            if container is Container.MP4 and not _has_all_boxes(data):
                raise damaged(container, data)
            return container
    return None


def unusual_kind(data: bytes) -> str | None:
    """What a relative of MP4 is that is not among those that are taken; None for anything else."""
    if data[4:8] != b"ftyp":
        return None
    if data[8:12] == b"qt  ":
        return "a QuickTime film (MOV)"
    return f"an MP4 of an unusual kind ({data[8:12].decode('ascii', 'replace').strip()})"


def judge(container: Container, data: bytes, facts: Facts) -> Recording:
    """What a recording is, if WhatsApp plays it. Raises InvalidInput that says what it has instead, and what to do."""
    videos = [t for t in facts.tracks if t.kind == "video" and not t.is_cover]
    sounds = [t for t in facts.tracks if t.kind == "audio"]
    if videos and container is Container.MP4:
        return _video(data, facts, videos, sounds)
    if videos or not sounds:
        raise damaged(container, data)
    codec, mime, place = _AUDIO[container]
    wrong = next((t for t in sounds if t.codec != codec), None)
    if wrong is not None:
        raise InvalidInput(
            FIELD, f"The audio is {_name(wrong.codec)} in {place}, which WhatsApp does not play: {_CONVERT_AUDIO}"
        )
    if len(sounds) > 1:
        raise InvalidInput(FIELD, f"The audio has {len(sounds)} sound tracks; WhatsApp plays one: export it with one.")
    if container is Container.OGG and sounds[0].channels != 1:
        raise InvalidInput(
            FIELD,
            f"The audio is Opus with {sounds[0].channels} channels; WhatsApp plays it with one: convert it to mono, or "
            "to MP3 or M4A.",
        )
    return Recording(mime, None, None, _duration(container, data, facts))


def damaged(container: Container, data: bytes) -> InvalidInput:
    """What is said of a recording that cannot be read."""
    return InvalidInput(
        FIELD, f"The {noun(container, data)} is damaged: it cannot be read to its end. Export it again, and send that."
    )


def too_hard(container: Container, data: bytes, seconds: float) -> InvalidInput:
    """What is said of a recording that takes too long to read."""
    return InvalidInput(
        FIELD,
        f"The {noun(container, data)} could not be read within {seconds:g} seconds: export it again, shorter or with "
        "plain settings.",
    )


def unreadable_here(container: Container, data: bytes) -> InvalidInput:
    """What is said where the library is not there."""
    return InvalidInput(
        FIELD,
        f"The {noun(container, data)} cannot be looked at on this machine: video and audio need the Python package av "
        "(pip install av), which comes ready-made for Linux and macOS. Send a picture or a document, or install it.",
    )


def noun(container: Container, data: bytes) -> str:
    """`video` or `audio`, by its outside."""
    return "video" if container is Container.MP4 and data[8:11] not in (b"M4A", b"M4B") else "audio"


def _video(data: bytes, facts: Facts, videos: list[Track], sounds: list[Track]) -> Recording:
    video = videos[0]
    if len(videos) > 1:
        raise InvalidInput(FIELD, f"The video has {len(videos)} pictures at once; WhatsApp plays one: export it again.")
    if video.codec != "h264":
        raise InvalidInput(FIELD, f"The video is {_name(video.codec)}; {_CONVERT_VIDEO}")
    if len(sounds) > 1:
        raise InvalidInput(
            FIELD, f"The video has {len(sounds)} sound tracks; WhatsApp plays one or none: export it with one."
        )
    if sounds and sounds[0].codec != "aac":
        raise InvalidInput(FIELD, f"The video's sound is {_name(sounds[0].codec)}; {_CONVERT_VIDEO}")
    if video.width < 1 or video.height < 1:
        raise damaged(Container.MP4, data)
    if video.width * video.height > MOST_PIXELS:
        raise InvalidInput(
            FIELD,
            f"The video has {video.width:,} x {video.height:,} pixels; at most 4,096 x 2,304 are played: make it "
            "smaller.",
        )
    is_turned = facts.still is not None and facts.still.turn % 180 != 0
    width, height = (video.height, video.width) if is_turned else (video.width, video.height)
    mime = "video/3gpp" if data[8:10] == b"3g" else "video/mp4"
    return Recording(mime, width, height, _duration(Container.MP4, data, facts))


def _duration(container: Container, data: bytes, facts: Facts) -> int:
    name = noun(container, data)
    longest = max(facts.duration_ms, facts.declared_ms)
    if longest > LONGEST_MS:
        raise InvalidInput(
            FIELD, f"The {name} says that it lasts {longest / 3_600_000:,.0f} hours; at most 12 are sent: shorten it."
        )
    if not facts.is_whole:
        raise damaged(container, data)
    if facts.duration_ms < SHORTEST_MS:
        raise InvalidInput(FIELD, f"The {name} is empty: it lasts less than a tenth of a second. Record it again.")
    return facts.duration_ms


def _name(codec: str) -> str:
    told = codec.upper()[:20] if codec.isascii() and codec.isprintable() else ""
    return _CODECS.get(codec, told) or "of an unknown kind"


def _has_all_boxes(data: bytes) -> bool:
    """Whether the boxes of an MP4 fill the file to its end: in one that breaks off, the last is longer than what is
    left.
    """
    place = 0
    while len(data) - place >= 8:
        size = int.from_bytes(data[place : place + 4], "big")
        if size == 0:  # the last box, however long
            return True
        if size == 1:
            size = int.from_bytes(data[place + 8 : place + 16], "big")
        if size < 8:
            return False
        place += size
    return place <= len(data)
