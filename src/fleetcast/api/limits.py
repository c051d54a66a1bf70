"""How much content a request may bring, and how slowly; what goes beyond is not read.

Separate from the guard, which asks who may: this holds for whoever may. Content is counted as it comes, since a length
that was declared may be wrong and need not be there at all.
"""

import asyncio
from collections.abc import Callable

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import Message

from fleetcast.settings import Settings

JSON_BYTES = 4 * 1024 * 1024
"""Of the content of an ordinary request."""
GRACE_SECONDS = 30.0
"""For the first byte, and for breaks later on."""
SLOWEST = 1_024
"""Bytes a second, beyond the grace: whoever is slower holds a connection for nothing."""

Largest = Callable[[Settings], int]
"""The most bytes of content that a route takes."""


def json_bytes(_: Settings) -> int:
    """The limit of routes that say nothing else."""
    return JSON_BYTES


def with_medium(settings: Settings) -> int:
    """The limit of routes that take a medium as a data URL: a third longer than what it carries, and other fields."""
    return 2 * settings.media_max_bytes + 512 * 1024


def limited(request: Request, largest: int) -> Request:
    """The request, whose content ends in a refusal (413, 408, 400) where it becomes too much, too slow or breaks off.

    Raises HTTPException at once when it declares too much.
    """
    declared = request.headers.get("Content-Length", "")
    if declared.isdigit() and (len(declared) > 18 or int(declared) > largest):
        raise _too_large(largest)
    loop = asyncio.get_running_loop()
    began, read, whole = loop.time(), 0, False

    async def receive() -> Message:
        nonlocal read, whole
        if whole:
            return await request.receive()
        try:
            async with asyncio.timeout_at(began + GRACE_SECONDS + read / SLOWEST):
                message = await request.receive()
        except TimeoutError:
            raise HTTPException(408, "The content came too slowly: send it again.") from None
        if message["type"] == "http.request":
            read += len(message.get("body", b""))
            if read > largest:
                raise _too_large(largest)
            whole = not message.get("more_body", False)
        elif message["type"] == "http.disconnect":
            raise HTTPException(400, "The content broke off.")
        return message

    return Request(request.scope, receive, request._send)


def _too_large(largest: int) -> HTTPException:
    told = f"{largest / 2**20:g} MB" if largest >= 2**20 else f"{largest:,} bytes"
    return HTTPException(413, f"The content has more than {told}, the most that this address takes.")
