"""What every command needs: the servers, an open runtime, and the options that all commands share.

A command is an ordinary function that hands one coroutine to `with_runtime`. Separate from `main` because every group
of commands imports it, while `main` imports every group.
"""

import asyncio
import getpass
import importlib.util
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer

from fleetcast import failpoints
from fleetcast.cli import loading
from fleetcast.cli.output import say
from fleetcast.embedded.attach import attached
from fleetcast.errors import ConfigurationError
from fleetcast.observability.logging import configure_logging
from fleetcast.queue import client as redis_client
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.settings import Settings, load_settings
from fleetcast.store import connection as postgres
from fleetcast.store import schema

T = TypeVar("T")

_LOOPS = importlib.import_module("uvloop" if importlib.util.find_spec("uvloop") else "asyncio")

WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace", "-w", envvar="FLEETCAST_WORKSPACE", help="Which workspace; not needed if there is one."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines, errors too.")]


def person() -> str:
    """Who types: the name that audited decisions carry."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):  # an account without an entry and without environment
        return "cli"


def runner(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end, on uvloop where there is a wheel of it."""
    loading.end()
    result: T = _LOOPS.run(main)
    return result


async def check_servers(settings: Settings) -> None:
    """Try servers that the person named. Raises ConfigurationError or Unavailable in one sentence."""
    if settings.database_url is not None:
        await postgres.check_server(settings.database_url.get_secret_value())
    if settings.redis_url is not None:
        await redis_client.check_server(settings.redis_url.get_secret_value())


def _quiet(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A connection that comes about while it is being given up answers a future that is over: no news for a person."""
    if not isinstance(context.get("exception"), asyncio.InvalidStateError):
        loop.default_exception_handler(context)


def with_runtime(work: Callable[[Runtime], Awaitable[T]], *, migrate: bool = True) -> T:
    """Run one piece of work on an open runtime: on the servers named by the settings, on those of a running Fleetcast,
    or on servers started for this command. The schema is brought up to date first, unless `migrate` is False.
    """
    settings = load_settings()
    configure_logging(settings, "cli", level="warning")

    async def run(served: Settings) -> T:
        asyncio.get_running_loop().set_exception_handler(_quiet)
        try:
            await check_servers(settings)
            if migrate and served.database_url is not None:
                await schema.migrate(served.database_url.get_secret_value())
            async with open_runtime(served, pool_size=4) as runtime:
                return await work(runtime)
        except asyncio.CancelledError:  # Ctrl-C: what a half-open connection leaves behind is no news
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            raise

    loading.end()
    with attached(settings) as served:
        return asyncio.run(run(served))


def served_runtime(process: str, work: Callable[[Runtime], Awaitable[None]]) -> None:
    """Like `with_runtime` for a process that stays: its own log, a larger pool, and uvloop where there is one."""
    settings = load_settings()
    configure_logging(settings, process)
    failpoints.arm(settings.failpoints)

    async def run(served: Settings) -> None:
        await check_servers(settings)
        if served.database_url is not None:
            await schema.migrate(served.database_url.get_secret_value())
        async with open_runtime(served, patience=postgres.ANSWER_SECONDS) as runtime:
            await refuse_test_clock(runtime)
            await work(runtime)

    with attached(settings) as served:
        runner(run(served))


async def prepare_accounts(runtime: Runtime) -> None:
    """Refuse a wrong key of secrets; make the owner of a new installation and say, once, how to sign in."""
    from fleetcast.services.accounts.people import first_owner  # not into the memory of every command and sender
    from fleetcast.services.installation_key import installation_key

    await installation_key(runtime)
    made = await first_owner(runtime)
    if made is None:
        return
    if made.password is None:
        say(f"{made.email} owns this installation and all its workspaces.")
        return
    say(f"Sign in as {made.email} with the password {made.password}", style="bold")
    say("It is shown this once and stored nowhere. Change it after signing in.")


async def refuse_test_clock(runtime: Runtime) -> None:
    """A clock that was moved for a test must not send to anybody. Raises ConfigurationError in production mode."""
    if not runtime.settings.production:
        return
    async with runtime.db.connection() as connection:
        if await postgres.clock_offset(connection):
            raise ConfigurationError(
                "The database's clock is moved (installation.clock_offset), which is for tests: "
                "set it to 0, or leave FLEETCAST_MODE=production out."
            )
