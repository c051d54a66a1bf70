"""The simulator's process: opens the ledger, listens on the socket, and ends without losing what it answered.

If anything goes wrong inside that nobody foresaw, the process ends at once: a judge that may be wrong is worse than
none.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fleetcast.clock import Clock
from fleetcast.errors import ConfigurationError, InvalidInput
from fleetcast.transports.simulator.behaviour import PROFILES, WELL_BEHAVED, Behaviour, Span
from fleetcast.transports.simulator.commit import GroupCommit
from fleetcast.transports.simulator.devices import Devices
from fleetcast.transports.simulator.ledger import Ledger
from fleetcast.transports.simulator.messages import Messages
from fleetcast.transports.simulator.orders import Orders
from fleetcast.transports.simulator.pairing import Pairings
from fleetcast.transports.simulator.protocol import socket_path, somebody_listens
from fleetcast.transports.simulator.run import Run
from fleetcast.transports.simulator.session import Session


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to run a simulator."""

    socket: Path
    ledger: Path
    seed: int = 1
    profile: str = "quiet"
    latency_ms: Span | None = None
    """In place of the profile's latency, milliseconds."""
    production: bool = False
    """Refuse to misbehave: only well-behaved profiles, no orders."""
    ends_with_stdin: bool = False
    """End when standard input is closed: how a child notices that its parent is gone, however that died."""

    def behaviour(self) -> Behaviour:
        """The behaviour to begin with. Raises InvalidInput or ConfigurationError."""
        if self.profile not in PROFILES:
            raise InvalidInput("profile", f"there is no profile {self.profile!r}; there are {', '.join(PROFILES)}")
        if self.production and self.profile not in WELL_BEHAVED:
            raise ConfigurationError(
                f"The profile {self.profile!r} misbehaves on purpose, which production mode refuses. "
                f"Use one of {', '.join(sorted(WELL_BEHAVED))}."
            )
        behaviour = PROFILES[self.profile]
        return behaviour if self.latency_ms is None else replace(behaviour, latency_ms=self.latency_ms)


def parse_latency(text: str) -> Span:
    """`20-80` or `50` as a span of milliseconds. Raises InvalidInput."""
    low, _, high = text.partition("-")
    try:
        span = float(low), float(high or low)
    except ValueError:
        raise InvalidInput(
            "latency-ms", f"{text!r} is not two numbers with a dash between them, such as 20-80"
        ) from None
    Behaviour().changed({"latency_ms": span})
    return span


def run(options: ServerOptions, ready: Callable[[], None] = lambda: None) -> None:
    """Run a simulator until SIGTERM, Ctrl-C, or the end of standard input where that was asked for.

    `ready` is called once it listens. Raises ConfigurationError or InvalidInput before that.
    """
    behaviour = options.behaviour()
    with Ledger(options.ledger) as ledger:
        listener = _bind(options.socket)
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(_serve(options, behaviour, ledger, listener, ready))
        finally:
            listener.close()
            with suppress(OSError):
                options.socket.unlink()


def _loop_factory() -> Any:
    try:
        import uvloop  # not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


def _bind(path: Path) -> socket.socket:
    """A socket that only this user may connect to; a dead one in the way is removed, a live one respected."""
    text = socket_path(path)
    if somebody_listens(path):
        raise ConfigurationError(f"Another simulator already listens on {path}.")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_socket():
            path.unlink()
        listener.bind(text)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"The simulator cannot listen on {path}: {error.strerror}.") from error
    finally:
        os.umask(before)
    return listener


def _end_at_once(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Something unforeseen: say it and end; the ledger holds all that was answered."""
    loop.default_exception_handler(context)
    sys.stderr.flush()
    os._exit(71)


async def _serve(
    options: ServerOptions, behaviour: Behaviour, ledger: Ledger, listener: socket.socket, ready: Callable[[], None]
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_end_at_once)
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    if options.ends_with_stdin:
        loop.add_reader(0, lambda: None if os.read(0, 4096) else stop.set())

    run_ = Run(options.seed, behaviour, clock=Clock())
    commit = GroupCommit(ledger, lambda error: _end_at_once(loop, {"message": "the ledger failed", "exception": error}))
    devices = Devices(run_)
    pairings = Pairings(run_, devices)
    messages = Messages(run_, devices, ledger, commit)
    orders = Orders(run_, devices, pairings, messages, ledger, commit, production=options.production)
    sessions: set[Session] = set()

    server = await loop.create_unix_server(
        lambda: Session(run_, devices, pairings, messages, orders, sessions), sock=listener, backlog=1024
    )
    ready()
    try:
        await stop.wait()
    finally:
        if options.ends_with_stdin:
            loop.remove_reader(0)
        server.close()
        for session in list(sessions):
            session.deafen()
        await commit.close()
        run_.schedule.close()
        for session in list(sessions):
            session.hang_up()
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):  # a client that does not read does not keep us
                await server.wait_closed()
