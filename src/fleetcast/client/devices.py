"""Devices, as a program sees them."""

from dataclasses import dataclass, field
from datetime import datetime

from fleetcast.client.exchange import Exchange
from fleetcast.client.pages import PAGE, Pages
from fleetcast.client.reading import read


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A number that sends."""

    id: int
    name: str
    transport: str
    """`simulator`, `linked` or `cloud`."""
    state: str
    """Of its connection: `online`, `offline` and others."""
    state_reason: str
    state_since: datetime
    restricted_until: datetime | None
    is_ready: bool
    """Online and not paused: it may be given work."""
    may_answer: bool
    """Ready; or restricted by WhatsApp, and people who wrote to it within a day may still be answered."""
    paused_at: datetime | None
    paused_by: str | None
    paused_reason: str | None
    min_delay: float
    """Seconds between two sends, at least."""
    max_delay: float
    region: str | None
    phone: str | None
    last_send_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """How far a device is on its way to a phone."""

    device_id: int
    state: str
    """`pairing` while a phone is waited for; then what came of it: `connecting`, `online`, or what it was before."""
    state_reason: str
    order: int
    phone: str | None
    """The number whose phone is to type a code in; None: a QR code."""
    until: datetime | None
    unlinking: bool
    """It was logged out, and WhatsApp does not know yet."""
    twins: int
    """So many other devices of the workspace are linked to the same phone: log all but one out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingCode:
    """What links a phone: a secret."""

    kind: str
    """`qr`: draw `text` as a QR code; `phone`: type it into the phone."""
    text: str = field(repr=False)
    valid_for: float
    """Seconds from when it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPairing(Pairing):
    """The same with the code that is shown now."""

    code: PairingCode | None
    """None: none yet, or nobody waits for a phone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Through what a linked device connects."""

    shown: str | None
    """Without its password; None: it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedOut:
    """What a logout leaves behind."""

    device: Device
    waiting: int
    """Messages that wait until it is paired again, or their time is over."""


class Devices:
    """`fleet.devices`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def list(self, *, state: str | None = None, limit: int = PAGE, after: str | None = None) -> Pages[Device]:
        """All devices by id, or those in one state; `limit` at once."""
        return Pages(self._exchange, "devices", Device, {"state": state, "limit": limit}, after=after)

    async def show(self, device_id: int) -> Device:
        """One device."""
        return read(Device, await self._exchange.ask("GET", "devices/{device_id}", device_id=device_id))

    async def create(
        self,
        name: str,
        *,
        transport: str = "simulator",
        region: str | None = None,
        min_delay: float | None = None,
        max_delay: float | None = None,
        pair_first: bool | None = None,
    ) -> Device:
        """Add a device. Delays are seconds between two sends; without them 10 to 30. `pair_first`: a simulated device
        waits until a phone is linked to it.
        """
        content = {
            "name": name,
            "transport": transport,
            "region": region,
            "min_delay": min_delay,
            "max_delay": max_delay,
            "pair_first": pair_first,
        }
        given = {field: value for field, value in content.items() if value is not None}
        return read(Device, await self._exchange.ask("POST", "devices", content=given))

    async def change(self, device_id: int, *, min_delay: float, max_delay: float) -> Device:
        """Change its pace; it holds from the next draw."""
        content = {"min_delay": min_delay, "max_delay": max_delay}
        return read(
            Device, await self._exchange.ask("PATCH", "devices/{device_id}", content=content, device_id=device_id)
        )

    async def remove(self, device_id: int) -> None:
        """Remove a device for good; what waits for it is skipped."""
        await self._exchange.ask("DELETE", "devices/{device_id}", device_id=device_id)

    async def pause(self, device_id: int, reason: str = "") -> Device:
        """Stop giving it work."""
        return read(
            Device,
            await self._exchange.ask(
                "POST", "devices/{device_id}/pause", content={"reason": reason}, device_id=device_id
            ),
        )

    async def resume(self, device_id: int) -> Device:
        """Lift the pause."""
        return read(Device, await self._exchange.ask("POST", "devices/{device_id}/resume", device_id=device_id))

    async def change_proxy(self, device_id: int, address: str | None) -> Proxy:
        """Have a linked device connect through this proxy, or by itself; it connects anew."""
        return read(
            Proxy,
            await self._exchange.ask(
                "POST", "devices/{device_id}/proxy", content={"address": address}, device_id=device_id
            ),
        )

    async def pair(self, device_id: int, *, phone: str | None = None) -> Pairing:
        """Wait three minutes for a phone to be linked, by QR code, or by a code typed into the phone of that number."""
        return read(
            Pairing,
            await self._exchange.ask(
                "POST", "devices/{device_id}/pairing", content={"phone": phone}, device_id=device_id
            ),
        )

    async def pairing(self, device_id: int) -> ShownPairing:
        """How far it is, with the code to show; ask every second or two."""
        return read(ShownPairing, await self._exchange.ask("GET", "devices/{device_id}/pairing", device_id=device_id))

    async def cancel_pairing(self, device_id: int) -> None:
        """Wait for no phone any more."""
        await self._exchange.ask("DELETE", "devices/{device_id}/pairing", device_id=device_id)

    async def log_out(self, device_id: int) -> LoggedOut:
        """Unlink the device from its phone; its messages wait."""
        return read(LoggedOut, await self._exchange.ask("POST", "devices/{device_id}/logout", device_id=device_id))
