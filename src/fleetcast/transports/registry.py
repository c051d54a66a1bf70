"""Which transports exist: a plain table from a device's kind to what builds its transport."""

from collections.abc import Callable
from pathlib import Path

from fleetcast.domain.device import TransportKind
from fleetcast.transports.base import Transport
from fleetcast.transports.simulator.client import SimulatorTransport

Factory = Callable[[Path], Transport]

TRANSPORTS: dict[TransportKind, Factory] = {
    TransportKind.SIMULATOR: lambda socket: SimulatorTransport(socket),
}
