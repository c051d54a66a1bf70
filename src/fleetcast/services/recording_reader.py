"""A program, not a module: reads one recording from standard input and says on standard output what is in it.

The recording comes from strangers, and a library of a million lines of C takes it apart. So this runs as a process of
its own, started for one file by `recordings`, and it gives up everything it can before the first byte of it comes: new
files and connections, new processes, memory beyond a bound, seconds beyond a bound, and root's rights. It knows nothing
of the rest of Fleetcast, is started by its path, and is the only place that imports the library.

    python -I recording_reader.py CONTAINER MOST_PIXELS SECONDS < file

The reader of the container is named, never guessed: a list of addresses that is called a video is damaged, not opened.
"""

import base64
import importlib
import io
import json
import os
import sys
from contextlib import suppress
from typing import Any

MOST_MEMORY = 640 * 2**20
"""Bytes of address space. The library alone takes 120 MB of it; a file of 16 MB and some pictures of the largest size
fit into the rest.
"""
MOST_PACKETS = 2_000_000
LONGEST_SIDE = 100
"""Pixels of the small picture."""
NOBODY = 65_534
_LATE = tuple(f"av.{kind}.{part}" for kind in ("audio", "subtitles", "video") for part in ("codeccontext", "stream"))
"""What the library would load when it is needed, and no file can be opened any more."""


def give_up(seconds: int) -> None:
    """Lay down all that a file could misuse."""
    import resource

    limits = (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),  # what is open stays so; nothing else can be opened, no connection either
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, MOST_MEMORY),
    )
    for what, most in limits:
        with suppress(ValueError, OSError):  # macOS has not all of them
            resource.setrlimit(what, (most, most))
    if os.geteuid() == 0:  # RLIMIT_NPROC does not hold for root
        with suppress(OSError):  # some containers have nobody else
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)


def refuse_to_open(*_: object) -> None:
    """For what a recording names beside itself."""
    raise PermissionError("a recording may not open anything else")


def read(av: Any, data: bytes, container: str, most_pixels: int) -> dict[str, Any]:
    """The facts of a recording."""
    with _opened(av, data, container) as found:
        tracks = [_track(av, stream) for stream in found.streams]
        units = [float(stream.time_base or 0) for stream in found.streams]
        whole = True
        counted = [0] * len(tracks)
        first, last = [0.0] * len(tracks), [0.0] * len(tracks)
        for number, packet in enumerate(found.demux()):
            if number > MOST_PACKETS:
                raise ValueError("too many packets")
            if packet.size == 0:
                continue
            whole = whole and not packet.is_corrupt
            at = packet.stream.index
            counted[at] += 1
            if packet.pts is None:
                continue
            begins = packet.pts * units[at]
            first[at] = begins if counted[at] == 1 else min(begins, first[at])
            last[at] = max(last[at], begins + (packet.duration or 0) * units[at])
        for stream, track, count in zip(found.streams, tracks, counted, strict=True):
            if track["kind"] in ("video", "audio"):  # an index that promises more than there is
                whole = whole and count > 0 and count >= (stream.frames or 0)
        lasts = [
            end - max(0.0, begin)
            for track, begin, end in zip(tracks, first, last, strict=True)
            if track["kind"] in ("video", "audio") and not track["is_cover"]
        ]
        declared = (found.duration or 0) / 1_000_000
    facts: dict[str, Any] = {
        "tracks": tracks,
        "duration_ms": round(max(lasts, default=0.0) * 1000),
        "declared_ms": round(declared * 1000),
        "is_whole": whole,
        "still": None,
    }
    videos = [t for t in tracks if t["kind"] == "video" and not t["is_cover"]]
    if len(videos) == 1 and videos[0]["codec"] == "h264" and videos[0]["width"] * videos[0]["height"] <= most_pixels:
        facts["still"] = _still(av, data, container, most_pixels)
    return facts


def _opened(av: Any, data: bytes, container: str) -> Any:
    return av.open(io.BytesIO(data), format=container, io_open=refuse_to_open)


def _track(av: Any, stream: Any) -> dict[str, Any]:
    codec = stream.codec_context
    return {
        "kind": str(stream.type),
        "codec": "" if codec is None else str(codec.codec.canonical_name),
        "width": int(getattr(codec, "width", 0) or 0),
        "height": int(getattr(codec, "height", 0) or 0),
        "channels": int(getattr(codec, "channels", 0) or 0),
        "is_cover": bool(stream.disposition & av.stream.Disposition.attached_pic),
    }


def _still(av: Any, data: bytes, container: str, most_pixels: int) -> dict[str, Any]:
    """The first picture, small. The only thing that is decoded on purpose; a video without one is damaged."""
    with _opened(av, data, container) as found:
        stream = found.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(most_pixels)}
        frame = next(found.decode(stream), None)
        if frame is None:
            raise ValueError("no picture")
        part = min(1.0, LONGEST_SIDE / max(frame.width, frame.height))
        width, height = max(1, round(frame.width * part)), max(1, round(frame.height * part))
        small = frame.reformat(width=width, height=height, format="rgb24", threads=1)
        plane = small.planes[0]
        rows = bytes(plane)
        rgb = b"".join(rows[y * plane.line_size : y * plane.line_size + 3 * width] for y in range(height))
        turn = round(frame.rotation / 90) * 90 % 360
    return {"width": width, "height": height, "turn": turn, "rgb": base64.b64encode(rgb).decode("ascii")}


def main(container: str, most_pixels: int, seconds: int) -> int:
    """One file. What goes wrong is said in a word; how the process ends says the rest."""
    try:
        import av

        for late in _LATE:
            importlib.import_module(late)
    except ImportError:
        sys.stdout.write('{"problem": "no_library"}')
        return 0
    give_up(seconds)
    data = sys.stdin.buffer.read()
    try:
        told = json.dumps({"facts": read(av, data, container, most_pixels)})
    except (av.FFmpegError, ValueError, TypeError, OSError, MemoryError, ArithmeticError, LookupError):
        told = '{"problem": "damaged"}'
    sys.stdout.write(told)
    sys.stdout.flush()
    os._exit(0)  # nothing of the library is asked to tidy up


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
