"""What is left when a sender dies with messages of linked devices in its hands: a real process, a real kill."""

import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from fleetcast.domain.device import DeviceState
from fleetcast.embedded.data_directory import sessions_folder
from fleetcast.failpoints import Fault, Point
from fleetcast.runtime import Runtime
from fleetcast.store import identity
from fleetcast.store.invariants import broken_invariants
from fleetcast.transports.simulator.launch import SimulatorProcess
from testbed.whatsapp_web.launch import Testbed
from tests.chaos.stage import LEASE_SECONDS, Part
from tests.running import until
from tests.store.broadcast import move_time
from tests.transports.linked.scene import environment, fresh_number
from tests.transports.linked.test_fleet import LinkedFleet, fleet, hurry, recipients

PEOPLE = 12
__all__ = ["fleet"]


class Senders:
    """Senders as processes, one after the other, on the devices of a fleet."""

    def __init__(self, runtime: Runtime, testbed: Testbed, said: Path) -> None:
        self._runtime = runtime
        self._testbed = testbed
        self._said = said
        self._parts: list[Part] = []

    def start(self, failpoints: str = "") -> Part:
        """Start one; what is armed in it."""
        settings = self._runtime.settings
        assert settings.redis_url is not None
        own = {
            "DATABASE_URL": self._runtime.db.dsn,
            "REDIS_URL": settings.redis_url.get_secret_value(),
            "FLEETCAST_REDIS_PREFIX": settings.redis_prefix,
            "FLEETCAST_DATA": str(settings.data),
            "FLEETCAST_LEASE_SECONDS": str(LEASE_SECONDS),
            "FLEETCAST_FAILPOINTS": failpoints,
        }
        part = Part.typed("sender", self._said / f"{len(self._parts)}.log", own | environment(self._testbed))
        self._parts.append(part)
        return part

    async def end(self) -> None:
        """End those that still run."""
        for part in self._parts:
            if part.process.poll() is None:
                part.process.send_signal(signal.SIGTERM)
                await part.ends()


@pytest.fixture
async def senders(runtime: Runtime, testbed: Testbed, tmp_path: Path) -> AsyncIterator[Senders]:
    with SimulatorProcess(runtime.simulator_socket, tmp_path / "ledger.jsonl"):  # a sender looks for one, too
        made = Senders(runtime, testbed, tmp_path)
        yield made
        await made.end()


@pytest.mark.parametrize(
    ("point", "leaves"),
    [
        pytest.param(Point.CLAIM_COMMITTED, False, id="c04: claimed, and nothing had left"),
        pytest.param(Point.SEND_ANSWERED, True, id="c06: WhatsApp took it, and nobody had noted it"),
    ],
)
async def test_c04_c06_of_a_killed_sender_nothing_is_sent_twice_and_what_nobody_knows_is_listed(
    fleet: LinkedFleet, senders: Senders, point: Point, leaves: bool
) -> None:
    async with fleet.runtime.db.connection() as connection:
        fleet.folder = sessions_folder(fleet.runtime.settings.data, await identity.install_id(connection))
    fleet.folder.mkdir(parents=True)
    first = senders.start(f"{point}={Fault.KILL}@5")
    device = await fleet.linked("Shop", fresh_number())
    people = [fresh_number() for _ in range(PEOPLE)]
    campaign = await fleet.campaign("Hello", device, leads={"Shop": people})
    await first.hits(point, Fault.KILL)
    senders.start()
    await fleet.is_now(device, DeviceState.ONLINE)
    await hurry(fleet)

    async def receipts_have_settled_what_arrived() -> bool:
        return not any([await fleet.texts(person) for person in await recipients(fleet, "in_doubt")])

    await until(receipts_have_settled_what_arrived)
    async with fleet.runtime.db.connection() as connection:
        await move_time(connection, timedelta(hours=2))
    counts = await fleet.finished(campaign)
    arrived = [person for person in people if await fleet.texts(person)]
    assert sorted(await recipients(fleet, "sent")) == sorted(arrived)
    assert counts == ({"sent": PEOPLE} if leaves else {"sent": PEOPLE - 1, "failed": 1})
    assert await fleet.control.doubles() == []
    async with fleet.runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []
