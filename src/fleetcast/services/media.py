"""Use cases of media: a file comes in as a file of this machine, a data URL, an upload or an https address, and is
stored once.

All ways meet in one examination of the bytes; what differs is only how the bytes arrive. A text is never read as the
path of a file: that takes a `LocalFile`, which the commands make and nothing that comes over HTTP can. `actor` is who
brings them.
"""

import asyncio
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import httpx2

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.media import FIELD, Medium, StoredMedia, examine, parse_data_url, recording_in, refuse_size
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import outbound, paging, recordings
from fleetcast.store import audit, media


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of this machine, named by a person at its keyboard."""

    path: Path


Source = LocalFile | str
"""Where a medium comes from. A text is an https address, a data URL, or the SHA-256 of a stored medium in hex."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def checked_source(source: Source) -> Source:
    """The source without blanks around it. Raises InvalidInput for a text that is no source."""
    if isinstance(source, LocalFile):
        return source
    text = source.strip()
    if text[:64].lower().startswith(("https:", "data:")) or _SHA256.fullmatch(text):
        return text
    raise InvalidInput(
        FIELD, "give the sha256 of a stored medium, an address that begins with https:// or a data URL, or leave it out"
    )


def is_hash(text: str) -> bool:
    """Whether a source names a stored medium."""
    return _SHA256.fullmatch(text.strip()) is not None


def unknown_medium(sha256: str) -> InvalidInput:
    """What is said of a hash that no medium of the workspace has."""
    return InvalidInput(FIELD, f"there is no medium {sha256[:12]}… in this workspace; upload it first")


async def take(runtime: Runtime, workspace_id: WorkspaceId, source: Source, *, actor: str = "system") -> StoredMedia:
    """Store what a source gives, or find it. Raises InvalidInput.

    Outside of any transaction: a slow server must not hold a lock.
    """
    source = checked_source(source)
    if isinstance(source, LocalFile):
        return await from_file(runtime, workspace_id, source.path, actor=actor)
    if _SHA256.fullmatch(source):
        async with runtime.db.connection() as connection:
            found = await media.find(connection, workspace_id, source)
        if found is None:
            raise unknown_medium(source)
        return found
    fetch = from_data_url if source[:5].lower() == "data:" else from_url
    return await fetch(runtime, workspace_id, source, actor=actor)


def check_text(text: str, medium: StoredMedia | None, field: str) -> None:
    """Refuse a text that WhatsApp would not show, and a message that says nothing. Raises InvalidInput of `field`."""
    if medium is not None and not medium.takes_text:
        if text.strip():
            raise InvalidInput(field, "WhatsApp shows no text with audio: empty it, or send it as a message of its own")
    elif not text.strip():
        raise InvalidInput(field, "a text is needed; only audio goes without one")


async def from_bytes(
    runtime: Runtime, workspace_id: WorkspaceId, data: bytes, filename: str, *, actor: str = "system"
) -> StoredMedia:
    """Store an upload. Raises InvalidInput for what is of no allowed kind, or too large."""
    return await _store(runtime, workspace_id, await _examine(runtime, data, filename), actor)


async def from_file(runtime: Runtime, workspace_id: WorkspaceId, path: Path, *, actor: str = "system") -> StoredMedia:
    """Store a file of this machine, chosen by a person at its keyboard. Raises InvalidInput."""
    data = await asyncio.to_thread(_read, path, runtime.settings.media_max_bytes)
    return await from_bytes(runtime, workspace_id, data, path.name, actor=actor)


async def from_data_url(
    runtime: Runtime, workspace_id: WorkspaceId, text: str, *, actor: str = "system"
) -> StoredMedia:
    """Store what a `data:…;base64,…` carries. Raises InvalidInput."""
    url = await asyncio.to_thread(parse_data_url, text, runtime.settings.media_max_bytes)
    medium = await _examine(runtime, url.data, "")
    url.agrees(medium.mime)
    return await _store(runtime, workspace_id, medium, actor)


async def from_url(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    url: str,
    *,
    resolver: outbound.Resolver = outbound.system_resolver,
    transport: httpx2.AsyncBaseTransport | None = None,
    actor: str = "system",
) -> StoredMedia:
    """Fetch an https address once and store it; nothing is fetched again when messages go out. Raises InvalidInput."""
    fetched = await outbound.fetch(url, runtime.settings.media_max_bytes, resolver=resolver, transport=transport)
    return await from_bytes(runtime, workspace_id, fetched.data, fetched.filename, actor=actor)


async def list_media(
    runtime: Runtime, workspace_id: WorkspaceId, *, after: str | None = None, limit: int = 50
) -> tuple[list[StoredMedia], str | None]:
    """Media of the workspace, the newest first, and where the next page begins. Raises InvalidInput for an `after` of
    another list.
    """
    place = None
    if after is not None:
        found = _PLACE.fullmatch(after)
        if found is None or int(found[1]) > media.LAST_PLACE:
            raise InvalidInput("after", f"'{after[:40]}' does not belong to this list; take it from the page before")
        place = int(found[1]), found[2]
    async with runtime.db.connection() as connection:
        rows = await media.page(connection, workspace_id, place, limit + 1)
    page, following = paging.cut(rows, limit, lambda row: f"{row[1]}-{row[0].sha256}")
    return [stored for stored, _ in page], following


_PLACE = re.compile(r"([0-9]{1,16})-([0-9a-f]{64})")


async def show_medium(runtime: Runtime, workspace_id: WorkspaceId, sha256: str) -> StoredMedia:
    """What is known of a medium. Raises NotFound."""
    async with runtime.db.connection() as connection:
        found = await media.find(connection, workspace_id, sha256)
    if found is None:
        raise NotFound(_NONE)
    return found


async def read_medium(runtime: Runtime, workspace_id: WorkspaceId, sha256: str) -> Medium:
    """A medium with its bytes. Raises NotFound."""
    async with runtime.db.connection() as connection:
        found = await media.get(connection, workspace_id, sha256)
    if found is None:
        raise NotFound(_NONE)
    return found


_NONE = "There is no such picture, video, audio or document in this workspace."


async def _examine(runtime: Runtime, data: bytes, filename: str) -> Medium:
    largest = runtime.settings.media_max_bytes
    container = await asyncio.to_thread(recording_in, data, largest)
    facts = None if container is None else await recordings.read(data, container, runtime.readers)
    return await asyncio.to_thread(examine, data, filename, largest, facts)


async def _store(runtime: Runtime, workspace_id: WorkspaceId, medium: Medium, actor: str) -> StoredMedia:
    async with runtime.db.transaction() as connection:
        held = await media.find(connection, workspace_id, medium.sha256)
        if held is not None:
            return held  # spares sending megabytes for nothing
        stored = await media.put(connection, workspace_id, medium)
        facts: dict[str, object] = {"mime": medium.mime, "size": medium.size}
        if medium.duration_ms is not None:
            facts["duration_ms"] = medium.duration_ms
        await audit.record(connection, workspace_id, actor, "media.add", medium.sha256, after=facts)
        return stored


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        # without NONBLOCK, opening a pipe that nobody writes to would wait for ever
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no such name"
        raise InvalidInput(FIELD, f"The file {path} cannot be read: {reason}.") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput(FIELD, f"{path} is not a file.")
        refuse_size(status.st_size, max_bytes)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    refuse_size(len(data), max_bytes)
    return data
