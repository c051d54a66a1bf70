"""Which transports exist: a plain table from a device's kind to what builds its transport."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleetcast.domain.device import TransportKind
from fleetcast.transports.base import SessionKeeper, Transport
from fleetcast.transports.linked.client import LinkedTransport
from fleetcast.transports.simulator.client import SimulatorTransport


@dataclass(frozen=True, slots=True)
class Ground:
    """What transports of one process stand on; each takes what it needs."""

    simulator_socket: Path
    sessions: Path
    """Folder of session files, of this node and installation."""
    keeper: SessionKeeper | None = None
    linked_per_process: int = 200


Factory = Callable[[Ground], Transport]

TRANSPORTS: dict[TransportKind, Factory] = {
    TransportKind.SIMULATOR: lambda ground: SimulatorTransport(ground.simulator_socket),
    TransportKind.LINKED: lambda ground: LinkedTransport(
        ground.sessions, keeper=ground.keeper, per_child=ground.linked_per_process
    ),
}
