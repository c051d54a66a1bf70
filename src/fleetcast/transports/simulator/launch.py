"""A simulator as a child process, for tests, `fleetcast up` and `fleetcast demo`.

The child's standard input is a pipe that only we hold: when this process is gone, however it died, the pipe is closed
and the child ends. It is in a session of its own, so that Ctrl-C in the terminal stops us first and it last.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Self

from fleetcast.clock import Clock
from fleetcast.errors import Unavailable
from fleetcast.transports.simulator.behaviour import Span
from fleetcast.transports.simulator.protocol import socket_path, somebody_listens

START_SECONDS = 20.0
STOP_SECONDS = 10.0


class SimulatorProcess:
    """Starts, stops and kills one simulator; may be started again on the same ledger.

    Works as `with` and as `async with`. Raises Unavailable when it does not come up, with its words if `log` is set.
    """

    def __init__(
        self,
        socket: Path,
        ledger: Path,
        *,
        seed: int = 1,
        profile: str = "quiet",
        latency_ms: Span | None = None,
        production: bool = False,
        log: Path | None = None,
    ) -> None:
        self.socket = socket
        self.ledger = ledger
        self._log = log
        """Where the child's output goes; without it, to our own."""
        self._child: subprocess.Popen[bytes] | None = None
        self._command = [
            *(sys.executable, "-m", "fleetcast.transports.simulator", "--ends-with-stdin"),
            *("--socket", str(socket), "--ledger", str(ledger), "--seed", str(seed), "--profile", profile),
        ]
        if latency_ms is not None:
            self._command += ["--latency-ms", f"{latency_ms[0]:g}-{latency_ms[1]:g}"]
        if production:
            self._command.append("--production")

    @property
    def pid(self) -> int | None:
        """The running child's process id."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def start(self) -> None:
        """Start the child and wait until its socket accepts. Blocks for about half a second."""
        if self.pid is not None and somebody_listens(self.socket):
            return
        self.stop()  # also one that is just dying: it no longer listens, and is not gone yet
        socket_path(self.socket)
        log = self._open_log()
        try:
            self._child = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, env=os.environ
            )
        finally:
            if log is not None:
                log.close()
        try:
            self._wait_until_ready(self._child)
        except BaseException:
            self.kill()
            raise

    def _open_log(self) -> IO[bytes] | None:
        if self._log is None:
            return None
        self._log.parent.mkdir(parents=True, exist_ok=True)
        return self._log.open("ab")

    def _wait_until_ready(self, child: "subprocess.Popen[bytes]") -> None:
        clock, pause = Clock(), threading.Event()
        deadline = clock.monotonic() + START_SECONDS
        while not somebody_listens(self.socket):
            code = child.poll()
            if code is not None:
                raise Unavailable(f"The simulator ended at once with exit code {code}.{self._last_words()}")
            if clock.monotonic() > deadline:
                raise Unavailable(f"The simulator did not listen on {self.socket} within {START_SECONDS:g} seconds.")
            pause.wait(0.01)

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f" It said: {lines[-1]}" if lines else ""

    def stop(self) -> None:
        """End the child in order; kill it if it does not end. Idempotent."""
        if self._child is None:
            return
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
        self._reap()

    def kill(self) -> None:
        """kill -9, and wait until it is gone. Idempotent."""
        if self._child is not None:
            self._child.kill()
            self._reap()

    def freeze(self) -> None:
        """Stop the child's time (SIGSTOP) until `thaw`."""
        if self._child is not None:
            self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen child go on."""
        if self._child is not None:
            self._child.send_signal(signal.SIGCONT)

    def _reap(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.wait()
            if child.stdin is not None:
                child.stdin.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)
