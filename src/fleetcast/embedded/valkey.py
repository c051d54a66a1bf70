"""The embedded Valkey: keeps nothing on disk, because nothing in it matters after a restart."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import structlog

from fleetcast.embedded import children, memory
from fleetcast.embedded.account import Account
from fleetcast.embedded.failures import why_not
from fleetcast.embedded.server_log import ServerLog

log = structlog.get_logger()

NAME = "Valkey"
SOCKET = "valkey.sock"
_STOP = ((signal.SIGTERM, 10.0),)
_START_SECONDS = 30.0


class Valkey:
    """One server. The caller holds the data directory's lock."""

    def __init__(
        self,
        data: Path,
        sockets: Path,
        log_directory: Path,
        *,
        program: Path,
        account: Account,
        spawner: children.Spawner,
    ) -> None:
        self._data = data
        self.socket = sockets / SOCKET
        self._log = ServerLog(log_directory / "valkey.log")
        self._record = log_directory.parent / "run" / "valkey.pid"
        self._program = program
        self._account = account
        self._spawner = spawner
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's pid while it was started and not stopped."""
        return self._child.pid if self._child else None

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Clear what a killed predecessor left, start, wait until it answers."""
        self._clear_the_way()
        try:
            self._data.mkdir(mode=0o700, exist_ok=True)
            if self._account.change:
                os.chown(self._data, self._account.uid, self._account.gid, follow_symlinks=False)
        except OSError as error:
            raise why_not(NAME, error.strerror or str(error), self._data) from error
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "dir": str(self._data),
            "maxmemory": f"{memory.share(8, least=64, most=512)}mb",
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
        }
        command = [
            str(self._program),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ]
        self._log.mark()
        with self._log.opened() as output:
            self._child = self._spawner.start(command, at_parents_death=signal.SIGTERM, output=output)
        try:
            self._record.write_text(f"{self._child.pid} {children.identity(self._child.pid)}", encoding="utf-8")
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it; it has nothing to write."""
        if self._child is not None:
            children.stop(self._child, _STOP)
            self._child = None
            self._record.unlink(missing_ok=True)

    def _wait_until_it_answers(self) -> None:
        assert self._child is not None
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(self.socket):
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise why_not(NAME, self._log.since_mark(), self._data, self._log.path)
            time.sleep(0.01)

    def _clear_the_way(self) -> None:
        try:
            number, _, started = self._record.read_text(encoding="utf-8").partition(" ")
            pid = int(number)
        except (OSError, ValueError):
            pid, started = 0, ""
        if pid and started and children.identity(pid) == started:
            log.warning("a Valkey that outlived its Fleetcast is stopped first", pid=pid)
            children.end(pid, (*_STOP, (signal.SIGKILL, 5.0)))
        self._record.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG"
    except OSError:
        return False
