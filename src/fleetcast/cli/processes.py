"""`fleetcast web | scheduler | sender`: the parts of the tree, each in the foreground of its own process.

`fleetcast up` starts them with servers of its own; on several machines they are started alone, with DATABASE_URL and
REDIS_URL pointing at shared servers. Each part loads only what it runs: there may be many, and all stay in memory.
"""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from fleetcast.cli.session import prepare_accounts, served_runtime
from fleetcast.engine.presence import PATIENCE_SECONDS, Presence
from fleetcast.engine.supervisor import Beat, Supervisor
from fleetcast.runtime import Runtime

app = typer.Typer()

WithParent = Annotated[bool, typer.Option("--with-parent", hidden=True, help="Stop when standard input is closed.")]

LATE_SECONDS = 25.0
"""A part whose parent is gone and that has not stopped after so long ends hard."""


def _stop_with_parent() -> None:
    """Stop like on SIGTERM when the pipe to the parent closes; that is the only sign a killed parent gives."""

    def wait() -> None:
        while os.read(0, 4096):  # not through sys.stdin: its lock, held here, would abort the interpreter's end
            continue
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(LATE_SECONDS)
        os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def _run(process: str, work: Callable[[Runtime], Awaitable[None]], with_parent: bool) -> None:
    if with_parent:
        _stop_with_parent()
    served_runtime(process, work)


@app.command()
def sender(with_parent: WithParent = False) -> None:
    """Claim and send for the shards this process can lease. Any number may run."""
    from fleetcast.engine.processes import run_sender

    _run("sender", run_sender, with_parent)


@app.command()
def scheduler(with_parent: WithParent = False) -> None:
    """Plan, dispatch, sweep and reconcile. Two may run."""
    from fleetcast.engine.processes import run_scheduler

    _run("scheduler", run_scheduler, with_parent)


@app.command()
def web(with_parent: WithParent = False) -> None:
    """Serve the dashboard on PORT."""
    from fleetcast.api.app import PREFIX, create_api
    from fleetcast.web.app import serve

    async def pages(runtime: Runtime) -> None:
        await prepare_accounts(runtime)

        async def loop(stop: asyncio.Event, beat: Beat) -> None:
            api = create_api(runtime)
            gc.collect()
            gc.freeze()  # looking through all that stays held up one page in a dozen by 150 ms
            await serve(runtime, stop, beat=beat, api=(PREFIX, api))

        parts = Supervisor("web", patience=PATIENCE_SECONDS)
        Presence(runtime, parts, "web")
        parts.add("pages", loop)
        await parts.run()

    _run("web", pages, with_parent)
