"""The testbed as a whole: its world, its way in and its control, listening on loopback and nowhere else."""

import asyncio
import ipaddress
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from testbed.whatsapp_web.certificates import authority
from testbed.whatsapp_web.control import Listener
from testbed.whatsapp_web.front import Front
from testbed.whatsapp_web.orders import Orders
from testbed.whatsapp_web.world import World

_BACKLOG = 4_096


class NotLoopback(Exception):
    """An address that other machines could reach."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How a client and a test find a running testbed."""

    proxy: str
    """The proxy setting of clients: `http://127.0.0.1:…`."""
    control: int
    """Port of the control, on loopback."""
    authority: str
    """File of the certificate to trust: in SSL_CERT_FILE before the client's process starts."""
    root: str
    """The Noise root key to trust, hexadecimal."""
    record: str
    """File of everything that arrived at phones."""


class Server:
    """`async with Server(folder) as server:`; everything it writes is in the folder."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: bytes,
        host: str = "127.0.0.1",
        port: int = 0,
        control_port: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise NotLoopback(
                f"The testbed listens on loopback only, not on {host}: it signs for WhatsApp's names and asks nobody "
                "who they are."
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._host, self._port, self._control_port = host, port, control_port
        self.world = World(folder, seed=seed, now=now)
        self._authority, context = authority(folder / "tls", now=now())
        self._front = Front(self.world, context)
        self._way_in: asyncio.Server | None = None
        self._control = Listener(Orders(self.world, self))

    async def __aenter__(self) -> Self:
        await self._listen()
        self._control_port = await self._control.open(self._host, self._control_port)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._control.close()
        await self._hang_up()
        await self._front.end()
        self.world.close()

    @property
    def reach(self) -> Reach:
        """How to find it."""
        return Reach(
            proxy=f"http://{self._host}:{self._port}",
            control=self._control_port,
            authority=str(self._authority),
            root=self.world.server.root.hex(),
            record=str(self.world.record.path),
        )

    async def _listen(self) -> None:
        self._way_in = await asyncio.start_server(
            self._front.accept, self._host, self._port, backlog=_BACKLOG, reuse_address=True
        )
        self._port = self._way_in.sockets[0].getsockname()[1]

    async def _hang_up(self) -> int:
        if self._way_in is not None:
            self._way_in.close()
        cut = self._front.cut()
        if self._way_in is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._way_in.wait_closed()  # from Python 3.12 on also for its connections
        return cut

    def cut_all(self) -> int:
        """Every connection ends without a word; how many there were."""
        return self._front.cut()

    async def restart(self, seconds: float) -> int:
        """Be gone for a while, as a server that restarts: connections are cut, new ones refused. State is kept."""
        cut = await self._hang_up()
        await asyncio.sleep(seconds)
        await self._listen()
        return cut
