"""The embedded PostgreSQL: makes its data once, starts it as a foreground child, stops it cleanly.

No driver is used: readiness is an answer to the start-up packet on the socket.
"""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from fleetcast.embedded import children, memory
from fleetcast.embedded.account import Account, check_reachable
from fleetcast.embedded.failures import why_not
from fleetcast.embedded.programs import PostgresPrograms
from fleetcast.embedded.server_log import ServerLog
from fleetcast.errors import ConfigurationError

log = structlog.get_logger()

NAME = "PostgreSQL"
USER = DATABASE = "fleetcast"
PORT = 5432
"""Only part of the socket's name; no TCP port is opened."""
_START_SECONDS = 60.0
_RECOVERY_SECONDS = 1800.0
"""While it says that it is starting up: it reads its log after a crash, and nothing is gained by killing it."""
_STILL_IN_USE = "still in use"


def default_settings() -> dict[str, str]:
    """Settings for a machine that is shared with everything else; nothing that weakens a commit."""
    return {
        "shared_buffers": f"{memory.share(8, least=16, most=256)}MB",
        "max_connections": "200",
        "dynamic_shared_memory_type": "mmap",
        "max_wal_size": "4GB",
        "checkpoint_completion_target": "0.9",
        "wal_compression": "on",
        "autovacuum_naptime": "5s",
        # Its log is not the place for numbers and texts: no values of the row that broke a rule, no statements.
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
    } | ({"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {})


def _fast_stop() -> tuple[tuple[signal.Signals, float], ...]:
    """Fast, and after a minute at once: it then recovers from its log at the next start."""
    return (signal.SIGINT, 60.0), (signal.SIGQUIT, 15.0)


class Postgres:
    """One server on one data directory. The caller holds the directory's lock."""

    def __init__(
        self,
        data: Path,
        sockets: Path,
        log_directory: Path,
        *,
        programs: PostgresPrograms,
        account: Account,
        spawner: children.Spawner,
        settings: Mapping[str, str],
    ) -> None:
        self._data = data
        self._sockets = sockets
        self._socket = sockets / f".s.PGSQL.{PORT}"
        self._log = ServerLog(log_directory / "postgres.log")
        self._programs = programs
        self._account = account
        self._spawner = spawner
        self._settings = default_settings() | dict(settings)
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
        """Make the data if there is none, clear what a killed predecessor left, start, wait until it answers."""
        self._make_data()
        deadline = time.monotonic() + _START_SECONDS
        while True:
            self._clear_the_way()
            if self._try_to_start():
                return
            if time.monotonic() > deadline:
                raise why_not(NAME, self._log.since_mark(), self._data, self._log.path)
            time.sleep(0.2)  # processes of a killed server are still leaving

    def stop(self) -> None:
        """A fast, clean stop: open transactions are rolled back, everything is written."""
        if self._child is not None:
            children.stop(self._child, _fast_stop())
            self._child = None

    def _try_to_start(self) -> bool:
        """False when remains of a killed server still hold its shared memory."""
        self._log.mark()
        options = self._settings | {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            "logging_collector": "off",
        }
        command = [str(self._programs.postgres), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with self._log.opened() as output:
            self._child = self._spawner.start(command, at_parents_death=signal.SIGINT, output=output)
        try:
            self._wait_until_it_answers()
        except ConfigurationError:
            self.stop()
            if _STILL_IN_USE in self._log.since_mark():
                return False
            raise
        except BaseException:
            self.stop()
            raise
        return True

    def _wait_until_it_answers(self) -> None:
        assert self._child is not None
        begun = time.monotonic()
        told = False
        while (state := _ask(self._socket)) != "ready":
            waited = time.monotonic() - begun
            if self._child.poll() is not None or waited > (
                _RECOVERY_SECONDS if state == "starting" else _START_SECONDS
            ):
                raise why_not(NAME, self._log.since_mark(), self._data, self._log.path)
            if state == "starting" and waited > 3 and not told:
                log.info("PostgreSQL recovers after a crash", data=str(self._data))
                told = True
            time.sleep(0.01)

    def _make_data(self) -> None:
        """initdb into a folder beside, renamed when whole: half-made data never carries the name."""
        for half in self._data.parent.glob(f"{self._data.name}.new-*"):
            shutil.rmtree(half, ignore_errors=True)
        if self._data.is_dir() and any(self._data.iterdir()):
            self._check_data()
            return
        check_reachable(self._account, self._data)
        try:
            half = Path(tempfile.mkdtemp(prefix=f"{self._data.name}.new-", dir=self._data.parent))
            if self._account.change:
                os.chown(half, self._account.uid, self._account.gid)
            self._run_initdb(half)
            with contextlib.suppress(FileNotFoundError):
                self._data.rmdir()
            half.rename(self._data)
        except OSError as error:
            raise why_not(NAME, error.strerror or str(error), self._data) from error

    def _run_initdb(self, folder: Path) -> None:
        postgres = str(self._programs.postgres)
        steps = (
            (
                [str(self._programs.initdb), "-D", str(folder), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale"],
                "",
            ),
            (
                [postgres, "--single", "-D", str(folder), "-c", "exit_on_error=on", "postgres"],
                f"CREATE DATABASE {DATABASE}\n",
            ),
        )
        try:
            for command, given in steps:
                finished = self._spawner.run(command, given=given)
                if finished.code:
                    raise why_not(NAME, finished.output, self._data)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _check_data(self) -> None:
        try:
            major = (self._data / "PG_VERSION").read_text(encoding="utf-8").strip()
            owner = self._data.stat().st_uid
        except FileNotFoundError:
            raise ConfigurationError(
                f"{self._data} is not empty but holds no PostgreSQL data: move it away, or name another data "
                "directory with FLEETCAST_DATA."
            ) from None
        except OSError as error:
            raise why_not(NAME, error.strerror or str(error), self._data) from error
        if major != str(self._programs.major):
            raise ConfigurationError(
                f"{self._data} was made by PostgreSQL {major}, and this Fleetcast brings PostgreSQL "
                f"{self._programs.major}: dump it with the Fleetcast that made it and load it into a new data "
                "directory, or set DATABASE_URL to a server that can read it."
            )
        if owner != self._account.uid:
            raise ConfigurationError(
                f"{self._data} belongs to the user with id {owner}, but the server would run as "
                f"`{self._account.name}`: start Fleetcast as the user who made it, or name another data directory with "
                "FLEETCAST_DATA."
            )

    def _clear_the_way(self) -> None:
        """Stop a server that outlived its Fleetcast; remove a pid file that points at nobody or somebody else."""
        pid_file = self._data / "postmaster.pid"
        orphan = _pid_in(pid_file)
        if orphan and _is_server_on(orphan, self._data):
            log.warning("a PostgreSQL that outlived its Fleetcast is stopped first", pid=orphan)
            if not children.end(orphan, _fast_stop()):
                raise ConfigurationError(
                    f"An older PostgreSQL (process {orphan}) on {self._data} does not stop: end it."
                )
        for straggler in children.working_in(
            self._data, "postgres"
        ):  # children of a postmaster that was killed; data is safe
            log.warning("a process of a killed PostgreSQL is stopped", pid=straggler)
            children.end(straggler, ((signal.SIGQUIT, 2.0), (signal.SIGKILL, 10.0)))
        if orphan is None or children.identity(orphan) is not None:  # rubbish, or another program's pid by now
            pid_file.unlink(missing_ok=True)
        self._socket.unlink(missing_ok=True)
        self._socket.with_name(f"{self._socket.name}.lock").unlink(missing_ok=True)


def _pid_in(path: Path) -> int | None:
    try:
        return abs(int(path.read_text(encoding="utf-8", errors="replace").splitlines()[0]))
    except (OSError, ValueError, IndexError):
        return None


def _is_server_on(pid: int, data: Path) -> bool:
    """Whether the process really is a PostgreSQL server on this directory."""
    return f"postgres -D {data} " in f"{' '.join(children.arguments(pid))} "


def _ask(path: Path) -> str:
    """One start-up packet: `ready`, `starting` (it answers, but not yet for us) or `absent`."""
    body = struct.pack("!I", 196608) + b"".join(
        text.encode() + b"\0" for text in ("user", USER, "database", DATABASE, "application_name", "fleetcast start")
    )
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(path))
            connection.sendall(struct.pack("!I", len(body) + 5) + body + b"\0")
            kind = connection.recv(1)
            if kind == b"R":
                connection.sendall(b"X" + struct.pack("!I", 4))
                return "ready"
            return "starting" if kind == b"E" else "absent"
    except OSError:
        return "absent"
