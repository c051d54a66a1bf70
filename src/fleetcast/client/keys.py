"""Keys of the API: who else may call it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetcast.client.exchange import Exchange
from fleetcast.client.pages import PAGE, Pages
from fleetcast.client.reading import read


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key, as far as it can be shown after it was made."""

    id: int
    name: str
    scopes: tuple[str, ...]
    """Of `read`, `send`, `manage`."""
    device_id: int | None
    """It sees and moves this device alone."""
    ending: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeKey:
    """A new key and its token, which is shown this once."""

    key: Key
    token: str

    def __repr__(self) -> str:
        return f"MadeKey(key={self.key!r}, token='…{self.key.ending}')"


class Keys:
    """`fleet.keys`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def list(self, *, limit: int = PAGE, after: str | None = None) -> Pages[Key]:
        """All keys of the workspace, newest first; revoked and expired ones too."""
        return Pages(self._exchange, "keys", Key, {"limit": limit}, after=after)

    async def show(self, key_id: int) -> Key:
        """One key."""
        return read(Key, await self._exchange.ask("GET", "keys/{key_id}", key_id=key_id))

    async def create(
        self, name: str, scopes: Sequence[str], *, device_id: int | None = None, days: int | None = None
    ) -> MadeKey:
        """Make a key; it ends after so many days, None: never. Its token is shown this once."""
        content = {"name": name, "scopes": scopes, "device_id": device_id, "days": days}
        return read(MadeKey, await self._exchange.ask("POST", "keys", content=content))

    async def revoke(self, key_id: int) -> None:
        """End a key at once."""
        await self._exchange.ask("DELETE", "keys/{key_id}", key_id=key_id)
