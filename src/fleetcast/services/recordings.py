"""Facts of a video or audio, read in a short-lived process of its own that may do next to nothing else.

Separate from `media` because of what it guards against: a file that was made to crash, to occupy or to take over what
reads it. Whatever becomes of the process, its caller gets facts or a refusal in words, in bounded time; what it says is
checked like anything else that comes from outside. Two such processes run at once in each of ours.
"""

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fleetcast.domain.recordings import (
    MOST_PIXELS,
    Container,
    Facts,
    Still,
    Track,
    damaged,
    noun,
    too_hard,
    unreadable_here,
)
from fleetcast.errors import Unavailable

PROGRAM = Path(__file__).with_name("recording_reader.py")
PATIENCE = 30.0
"""Seconds in all, the start of the process included."""
CPU_SECONDS = 10
LONGEST_ANSWER = 256 * 1024
"""Bytes; the small picture is the most of it."""
MOST_TRACKS = 100
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
"""Variables that some installations of Python need; the reader has no use for any other, least of all for secrets."""


async def read(
    data: bytes,
    container: Container,
    places: asyncio.Semaphore,
    *,
    program: Sequence[str] | None = None,
    patience: float = PATIENCE,
) -> Facts:
    """What is in a recording. Raises InvalidInput: it is damaged, takes too long, or cannot be read on this machine;
    Unavailable where no process can be started.

    `places`: for how many may run at once. `program`: what is started instead of the reader.
    """
    command = program or (sys.executable, "-I", "-B", str(PROGRAM))
    arguments = (container.value, str(MOST_PIXELS), str(CPU_SECONDS))
    async with places:
        try:
            answer = await _answer([*command, *arguments], data, patience)
        except TimeoutError:
            raise too_hard(container, data, patience) from None
        except OSError as error:
            raise Unavailable(
                f"The {noun(container, data)} cannot be looked at now, since this machine starts no process for it "
                f"({error.strerror}). Try again."
            ) from error
    try:
        told = json.loads(answer)
        if told.get("problem") == "no_library":
            raise unreadable_here(container, data)
        return _facts(told["facts"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise damaged(container, data) from None


async def _answer(command: list[str], data: bytes, patience: float) -> bytes:
    """All that the process says, up to a bound. Nothing of the process is left afterwards. Raises TimeoutError."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name in _KEPT},
        cwd="/",
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(patience), asyncio.TaskGroup() as tasks:
            tasks.create_task(_give(process.stdin, data), name="a recording to its reader")
            said = b""
            while len(said) <= LONGEST_ANSWER and (piece := await process.stdout.read(65_536)):
                said += piece
            if len(said) > LONGEST_ANSWER:
                _kill(process)  # it may never take what is still given to it
        return said if len(said) <= LONGEST_ANSWER else b""
    finally:
        _kill(process)
        await process.stdout.read()  # a pipe that nobody empties would keep `wait` from ending
        await process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):  # not by its own method, which may reap it before its watcher does
            os.killpg(process.pid, signal.SIGKILL)


async def _give(pipe: asyncio.StreamWriter, data: bytes) -> None:
    """Silent when the process is gone: then its answer is missing, too."""
    with suppress(OSError):
        pipe.write(data)
        await pipe.drain()
    pipe.close()


def _facts(told: dict[str, Any]) -> Facts:
    """Raises ValueError, TypeError or KeyError for anything but facts."""
    tracks = told["tracks"]
    if len(tracks) > MOST_TRACKS:
        raise ValueError("too many tracks")
    return Facts(
        tracks=tuple(
            Track(
                _text(t["kind"]),
                _text(t["codec"]),
                _whole(t["width"]),
                _whole(t["height"]),
                _whole(t["channels"]),
                t["is_cover"] is True,
            )
            for t in tracks
        ),
        duration_ms=_whole(told["duration_ms"]),
        declared_ms=max(0, _whole(told["declared_ms"], least=-(2**63))),
        is_whole=told["is_whole"] is True,
        still=None if told["still"] is None else _still(told["still"]),
    )


def _still(told: dict[str, Any]) -> Still:
    width, height, turn = _whole(told["width"]), _whole(told["height"]), _whole(told["turn"])
    rgb = base64.b64decode(told["rgb"], validate=True)
    if not (0 < width <= 100 and 0 < height <= 100 and len(rgb) == 3 * width * height and turn in (0, 90, 180, 270)):
        raise ValueError("no small picture")
    return Still(width, height, turn, rgb)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 100:
        raise TypeError("no word")
    return value


def _whole(value: object, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
        raise TypeError("no number")
    return value
