"""Orders to a running simulator, for tests, demos and people: misbehave, speak for a person, tell the counts."""

from pathlib import Path
from typing import Any, Self

from fleetcast.domain.identifiers import DeviceId, Phone
from fleetcast.errors import Conflict, InvalidInput, Unavailable
from fleetcast.transports.simulator.behaviour import SendOutcome
from fleetcast.transports.simulator.link import Link, NoAnswer
from fleetcast.transports.simulator.protocol import Frame

ORDER_SECONDS = 10.0


class SimulatorControl:
    """A connection for orders: `async with SimulatorControl(socket) as simulator: await simulator.ban(device)`.

    Every order raises InvalidInput for a wrong value, Conflict in production mode, Unavailable without an answer.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._link: Link | None = None

    async def __aenter__(self) -> Self:
        try:
            self._link = await Link.connect(self._socket, lambda _: None, lambda: None)
        except OSError as error:
            raise Unavailable(f"The simulator does not answer on {self._socket}.") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._link is not None:
            await self._link.end()
            self._link = None

    async def _order(self, name: str, **details: Any) -> Any:
        if self._link is None:
            raise Unavailable("The control connection to the simulator is not open.")
        frame: Frame = {"t": "order", "do": name, **details}
        try:
            answer = await self._link.ask(frame, ORDER_SECONDS)
        except NoAnswer as error:
            raise Unavailable(f"The simulator did not answer the order {name!r}: {error.why}.") from error
        if answer["t"] == "error":
            if answer["kind"] == "invalid":
                raise InvalidInput(answer["field"], answer["detail"])
            raise Conflict(answer["detail"])
        return answer.get("result")

    async def stats(self) -> dict[str, Any]:
        """`counts` by word, `devices` open and by state, `held`, `kept_events`, `scheduled`, `behaviour`, `seed`, and
        `ledger`: rows on disk, groups (fsyncs), accepted, sealed, late_refusals. Allowed in production mode.
        """
        result = await self._order("stats")
        assert isinstance(result, dict)
        return result

    async def behave(self, **values: Any) -> dict[str, Any]:
        """Change values of the `Behaviour` by name; all values as they are now."""
        result = await self._order("behave", values=values)
        assert isinstance(result, dict)
        return result

    async def force(
        self, outcome: SendOutcome, *, device: DeviceId | None = None, count: int = 1, seconds: float | None = None
    ) -> None:
        """Decide the next `count` sends of a device, or of any device.

        `seconds` is how long a slow answer or a late arrival takes; without it, it is held until `release`.
        """
        await self._order("force", outcome=outcome, device=device, count=count, seconds=seconds)

    async def release(self) -> int:
        """Let every held message and answer go on; how many there were."""
        return int(await self._order("release"))

    async def disconnect(self, device: DeviceId, seconds: float | None = None) -> None:
        """Take the device offline for some seconds, or until `bring_back`."""
        await self._order("disconnect", device=device, seconds=seconds)

    async def restrict(self, device: DeviceId, seconds: float, *, answers: bool = False) -> None:
        """Restrict the device: it may not send for some seconds, perhaps only answer; events still come."""
        await self._order("restrict", device=device, seconds=seconds, answers=answers)

    async def ban(self, device: DeviceId) -> None:
        """Ban the number, until `bring_back`."""
        await self._order("ban", device=device)

    async def log_out(self, device: DeviceId) -> None:
        """End the device's link on the phone, until `bring_back`."""
        await self._order("log_out", device=device)

    async def bring_back(self, device: DeviceId) -> None:
        """The device is online again, whatever was before."""
        await self._order("bring_back", device=device)

    async def reply(self, device: DeviceId, sender: Phone, text: str) -> None:
        """A person writes to the device."""
        await self._order("reply", device=device, sender=sender, text=text)

    async def take_code(self, code: str, phone: Phone | None = None) -> DeviceId:
        """A phone reads a QR code, or a person types in the code of eight characters; returns the device it is for.

        `phone`: its number, else one that belongs to the device. Raises Conflict when the code links nothing now.
        """
        return DeviceId(await self._order("take_code", code=code, phone=phone))

    async def die(self) -> None:
        """End the simulator at once, as kill -9 would; returns when the connection is gone."""
        if self._link is None:
            raise Unavailable("The control connection to the simulator is not open.")
        self._link.write({"t": "order", "do": "die", "id": 0})
        await self._link.closed.wait()
