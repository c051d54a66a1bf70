"""Parts of a file, for players: they seek in a video by asking for bytes from some place on (RFC 9110, section 14).

Separate because the framework does this for files on disk only, and media are in the database. One part a request: who
asks for several gets the whole, as the standard allows.
"""

import re

from fastapi import Request
from fastapi.responses import Response

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


def part_of(request: Request, data: bytes, mime: str, name: str, headers: dict[str, str]) -> Response:
    """What was asked for of a file that never changes under its `name`: all of it (200), a part (206), or the word that
    there is no such part (416).
    """
    tag = f'"{name}"'
    headers = headers | {"Accept-Ranges": "bytes", "ETag": tag}
    asked = _RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    if asked is None or asked[1] == asked[2] == "" or request.headers.get("If-Range", tag) != tag:
        return Response(data, media_type=mime, headers=headers)
    size = len(data)
    if asked[1] == "":
        first, last = max(0, size - int(asked[2])), size - 1
    else:
        first, last = int(asked[1]), min(size - 1, int(asked[2] or size - 1))
        if asked[2] and int(asked[2]) < first:  # no range at all
            return Response(data, media_type=mime, headers=headers)
    if first > last:
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Response(data[first : last + 1], 206, headers, media_type=mime)
