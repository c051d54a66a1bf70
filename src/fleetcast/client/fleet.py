"""The client itself: one installation, one key, and what can be asked."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random, SystemRandom
from typing import Self

import httpx2

from fleetcast.client.audit import Audit
from fleetcast.client.campaigns import Campaigns
from fleetcast.client.devices import Devices
from fleetcast.client.enrolments import Enrolments
from fleetcast.client.exchange import Exchange
from fleetcast.client.imports import Imports
from fleetcast.client.keys import Keys
from fleetcast.client.leads import Leads
from fleetcast.client.media import Media
from fleetcast.client.members import Invitations, Members
from fleetcast.client.messages import Messages
from fleetcast.client.reports import Reports
from fleetcast.client.sequences import Sequences
from fleetcast.client.suppressions import Suppressions
from fleetcast.client.workspace import WorkspaceOfKey
from fleetcast.clock import Clock

PATIENCE, SILENCE = 60.0, 30.0


class Resources:
    """What can be asked."""

    def __init__(self, exchange: Exchange) -> None:
        self.audit = Audit(exchange)
        self.campaigns = Campaigns(exchange)
        self.devices = Devices(exchange)
        self.enrolments = Enrolments(exchange)
        self.imports = Imports(exchange)
        self.invitations = Invitations(exchange)
        self.keys = Keys(exchange)
        self.leads = Leads(exchange)
        self.media = Media(exchange)
        self.members = Members(exchange)
        self.messages = Messages(exchange)
        self.reports = Reports(exchange)
        self.sequences = Sequences(exchange)
        self.suppressions = Suppressions(exchange)
        self.workspace = WorkspaceOfKey(exchange)


class Client(Resources):
    """The REST API of one installation, with one key.

        async with Client("http://127.0.0.1:8080", key) as fleet:
            async for device in fleet.devices.list(state="online"):
                print(device.name)

    `patience` bounds in seconds how long a call goes on asking when there is no answer, too many were asked, or a
    server is away; `silence` how long one try waits for the next piece of its answer. Uploads and downloads take as
    long as their pieces keep coming. `transport` replaces the network; `clock`, `random` and `sleep` are for tests.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        patience: float = PATIENCE,
        silence: float = SILENCE,
        clock: Clock | None = None,
        random: Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._exchange = Exchange(
            url,
            key,
            patience=patience,
            silence=silence,
            clock=clock or Clock(),
            random=random or SystemRandom(),
            sleep=sleep,
            transport=transport,
        )
        super().__init__(self._exchange)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def once(self, name: str) -> Resources:
        """The same client, under whose eyes a change is made once even if this program is killed and asks again.

            await fleet.once("order 4711 shipped").messages.send(…)

        Without it a change is made once however often its answer is lost, but a program that was started again makes
        another one. `name` is the Idempotency-Key, for 24 hours; further changes through what is returned count on.
        """
        return Resources(self._exchange.named(name))

    async def close(self) -> None:
        """Close the connections."""
        await self._exchange.close()
