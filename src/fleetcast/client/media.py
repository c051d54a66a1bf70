"""Media: pictures, videos, audio and documents that messages carry."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fleetcast.client.exchange import Exchange, Upload
from fleetcast.client.pages import PAGE, Pages
from fleetcast.client.reading import read


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMedia:
    """A picture, video, audio or document. Campaigns and messages name it by `sha256`."""

    sha256: str
    mime: str
    filename: str
    size: int
    width: int | None
    height: int | None
    duration_ms: int | None
    """Of a video or audio."""
    created_at: datetime


class Media:
    """`fleet.media`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def upload(self, path: Path | str, *, filename: str | None = None) -> StoredMedia:
        """Store a file from disk. The same bytes are stored once."""
        query = {"filename": Path(path).name if filename is None else filename}
        return read(StoredMedia, await self._exchange.ask("POST", "media", query=query, content=Upload(Path(path))))

    async def fetch(self, address: str) -> StoredMedia:
        """Let the server fetch an https address, or read a data URL, once and now."""
        here = address.startswith("data:")
        content = {"url": None if here else address, "data_url": address if here else None}
        return read(StoredMedia, await self._exchange.ask("POST", "media/from", content=content))

    def list(self, *, limit: int = PAGE, after: str | None = None) -> Pages[StoredMedia]:
        """Media of the workspace, the newest first."""
        return Pages(self._exchange, "media", StoredMedia, {"limit": limit}, after=after)

    async def show(self, sha256: str) -> StoredMedia:
        """What is known of one."""
        return read(StoredMedia, await self._exchange.ask("GET", "media/{sha256}", sha256=sha256))

    async def save(self, sha256: str, target: Path | str) -> int:
        """Write its bytes to a file; how many."""
        return await self._exchange.save("media/{sha256}/content", Path(target), sha256=sha256)
