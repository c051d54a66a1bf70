"""Both embedded servers as one thing: started together, watched, restarted, stopped together."""

import contextlib
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

from fleetcast.embedded import postgres as postgres_server
from fleetcast.embedded import valkey as valkey_server
from fleetcast.embedded.account import server_account
from fleetcast.embedded.children import Spawner
from fleetcast.embedded.data_directory import holding, prepare
from fleetcast.embedded.programs import postgres_programs, valkey_program
from fleetcast.embedded.sockets import give_back, socket_directory

_T = TypeVar("_T")


class EmbeddedServers:
    """PostgreSQL and Valkey on one data directory, for as long as the block runs.

    `postgres` and `valkey` choose which of them; `postgres_settings` goes over the defaults. Every method may be
    called from any thread. Starting raises ConfigurationError with one sentence for a person, and Conflict when
    another process has its servers on this directory. `interpreter` is any Python 3 for the servers'
    launcher.
    """

    def __init__(
        self,
        data: Path,
        *,
        postgres: bool = True,
        valkey: bool = True,
        postgres_settings: Mapping[str, str] | None = None,
        interpreter: str = sys.executable,
    ) -> None:
        self._data = data
        self._wanted = (postgres, valkey)
        self._postgres_settings = dict(postgres_settings or {})
        self._interpreter = interpreter
        self._change = threading.RLock()
        self._open = contextlib.ExitStack()
        self._sockets = Path()
        self._postgres: postgres_server.Postgres | None = None
        self._valkey: valkey_server.Valkey | None = None

    def __enter__(self) -> Self:
        with self._change:
            try:
                self._start()
            except BaseException:
                self.stop()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        layout = prepare(self._data)
        self._open.enter_context(
            holding(
                layout.root / "servers.lock",
                f"The servers of {layout.root} already run under process %s: stop it first, or name another data "
                "directory with FLEETCAST_DATA.",
            )
        )
        account = server_account()
        sockets = self._sockets = socket_directory(layout.run, account)
        self._open.callback(give_back, sockets, layout.run)
        spawner = Spawner(account, interpreter=self._interpreter)
        self._open.callback(spawner.close)
        if self._wanted[0]:
            self._postgres = postgres_server.Postgres(
                layout.postgres,
                sockets,
                layout.log,
                programs=postgres_programs(account, layout.bin),
                account=account,
                spawner=spawner,
                settings=self._postgres_settings,
            )
            self._open.callback(self._postgres.stop)
            self._postgres.start()
        if self._wanted[1]:
            self._valkey = valkey_server.Valkey(
                layout.valkey,
                sockets,
                layout.log,
                program=valkey_program(account, layout.bin),
                account=account,
                spawner=spawner,
            )
            self._open.callback(self._valkey.stop)
            self._valkey.start()

    @property
    def database_url(self) -> str:
        """postgresql://… through the socket."""
        self._running(postgres_server.NAME, self._postgres)
        name = postgres_server.DATABASE
        return f"postgresql://{postgres_server.USER}@/{name}?host={quote(str(self._sockets))}"

    @property
    def redis_url(self) -> str:
        """unix://… of Valkey's socket."""
        return f"unix://{quote(str(self._running(valkey_server.NAME, self._valkey).socket))}"

    @property
    def postgres_pid(self) -> int | None:
        """PostgreSQL's pid; None when it is not started here."""
        return self._postgres.pid if self._postgres else None

    @property
    def valkey_pid(self) -> int | None:
        """Valkey's pid; None when it is not started here."""
        return self._valkey.pid if self._valkey else None

    def check(self) -> list[str]:
        """Names of the servers that died; empty when all is well."""
        with self._change:
            return [name for name, server in self._started() if not server.alive]

    def restart_dead(self) -> list[str]:
        """Start what died again on its data; returns the names. Raises ConfigurationError when one does not start."""
        with self._change:
            dead = [(name, server) for name, server in self._started() if not server.alive]
            for _, server in dead:
                server.stop()
                server.start()
            return [name for name, _ in dead]

    def stop(self) -> None:
        """Stop both and let go of the directory. May be called any number of times."""
        with self._change:
            self._open.close()
            self._postgres = self._valkey = None

    def _started(self) -> "list[tuple[str, postgres_server.Postgres | valkey_server.Valkey]]":
        pairs = ((postgres_server.NAME, self._postgres), (valkey_server.NAME, self._valkey))
        return [(name, server) for name, server in pairs if server is not None]

    @staticmethod
    def _running(name: str, server: _T | None) -> _T:
        if server is None:
            raise RuntimeError(f"{name} is not started: use `with EmbeddedServers(…)`")
        return server
