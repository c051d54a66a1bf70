"""Real videos and audio, a few kilobytes each: made once a test process by the encoders in the library's own wheel."""

import io
from fractions import Fraction
from functools import cache
from typing import Any, cast

import av
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

SECONDS = 1.0


@cache
def video(
    codec: str = "libx264",
    *,
    container: str = "mp4",
    audio: str | None = "aac",
    audios: int = 1,
    width: int = 64,
    height: int = 48,
    frames: int = 12,
    turned: bool = False,
    movflags: str = "",
) -> bytes:
    """A video of twelve frames a second, red on the left and blue on the right."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options={"movflags": movflags} if movflags else {}) as out:
        stream = cast("VideoStream", out.add_stream(codec, rate=12))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if codec == "libx264":
            stream.options = {"preset": "ultrafast"}
        if codec == "libx265":
            stream.options = {"x265-params": "log-level=none"}
        stream.codec_context.thread_count = 1
        sounds = [_sound(out, audio) for _ in range(audios)] if audio else []
        for number in range(frames):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane, left, right in zip(frame.planes, (76, 84, 255), (29, 255, 107), strict=True):
                half = plane.line_size // 2
                plane.update((bytes([left]) * half + bytes([right]) * (plane.line_size - half)) * plane.height)
            frame.pts = number
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
        for sound in sounds:
            _silence(out, sound, SECONDS)
    return _turned(file.getvalue()) if turned else file.getvalue()


@cache
def audio(
    codec: str = "aac", container: str = "ipod", *, layout: str = "mono", seconds: float = SECONDS, rate: int = 0
) -> bytes:
    """Silence."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = _sound(out, codec, layout, rate)
        _silence(out, stream, seconds)
    return file.getvalue()


def mp3() -> bytes:
    """An MP3 file."""
    return audio("libmp3lame", "mp3")


def opus(layout: str = "mono") -> bytes:
    """Opus in Ogg, as phones record it."""
    return audio("libopus", "ogg", layout=layout)


def amr() -> bytes:
    """AMR, as old phones record it."""
    return audio("libopencore_amrnb", "amr")


def aac() -> bytes:
    """AAC without a container."""
    return audio("aac", "adts")


def _sound(out: Any, codec: str, layout: str = "mono", rate: int = 0) -> AudioStream:
    rates = {"libopus": 48_000, "libopencore_amrnb": 8_000}
    stream = cast("AudioStream", out.add_stream(codec, rate=rate or rates.get(codec, 44_100)))
    stream.codec_context.layout = layout
    if codec == "libopencore_amrnb":
        stream.codec_context.bit_rate = 12_200
    return stream


def _silence(out: Any, stream: AudioStream, seconds: float) -> None:
    context = stream.codec_context
    size, rate = context.frame_size or 1_024, context.sample_rate
    for start in range(0, int(rate * seconds), size):
        frame = av.AudioFrame(format=context.format.name, layout=context.layout.name, samples=size)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        for packet in stream.encode(frame):
            out.mux(packet)
    for packet in stream.encode():
        out.mux(packet)


def _turned(data: bytes) -> bytes:
    """The same video, to be shown turned by a quarter clockwise: what phones write that were held upright."""
    unity = b"".join(n.to_bytes(4, "big") for n in (65_536, 0, 0, 0, 65_536, 0, 0, 0, 1 << 30))
    quarter = b"".join(n.to_bytes(4, "big") for n in (0, 65_536, 0, 2**32 - 65_536, 0, 0, 0, 0, 1 << 30))
    place = data.index(b"tkhd")
    at = data.index(unity, place)
    return data[:at] + quarter + data[at + len(unity) :]
