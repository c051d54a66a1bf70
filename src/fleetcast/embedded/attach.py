"""Where a command finds its servers: the URLs it was given, a Fleetcast that runs, or servers for its own time."""

import contextlib
import time
from collections.abc import Iterator

from pydantic import SecretStr

from fleetcast.embedded import run_file
from fleetcast.embedded.data_directory import locked
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.errors import Conflict
from fleetcast.settings import Settings

_PATIENCE_SECONDS = 20.0
"""Another command with servers of its own is usually done sooner."""


@contextlib.contextmanager
def attached(settings: Settings, *, patience: float = _PATIENCE_SECONDS) -> Iterator[Settings]:
    """The settings with both URLs filled, valid inside the block. URLs given by the person stay as they are.

    When the data directory is used by somebody who has not said where his servers are (one that starts just now, or
    a command with servers for its own time) this waits up to `patience` seconds, then raises Conflict. The schema is
    the caller's business. Blocks while servers start: from a loop, enter it in a thread.
    """
    if settings.database_url is not None and settings.redis_url is not None:
        yield settings
        return
    with contextlib.ExitStack() as stack:
        deadline = time.monotonic() + patience
        while True:
            if running := run_file.read(settings.data):
                yield _filled(settings, running.database_url, running.redis_url)
                return
            try:
                stack.enter_context(locked(settings.data))
                break
            except Conflict:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(0.1)
        servers = stack.enter_context(
            EmbeddedServers(settings.data, postgres=settings.database_url is None, valkey=settings.redis_url is None)
        )
        yield _filled(
            settings,
            servers.database_url if settings.database_url is None else None,
            servers.redis_url if settings.redis_url is None else None,
        )


def _filled(settings: Settings, database_url: str | None, redis_url: str | None) -> Settings:
    """Only what is missing is filled in."""
    given = {
        "database_url": settings.database_url or (SecretStr(database_url) if database_url else None),
        "redis_url": settings.redis_url or (SecretStr(redis_url) if redis_url else None),
    }
    return settings.model_copy(update=given)
