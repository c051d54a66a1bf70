"""`fleetcast db`: the database's schema, and what to do after a restore."""

from typing import Annotated

import typer

from fleetcast.cli.output import emit_json, number, say, table
from fleetcast.cli.session import JsonOption, person, with_runtime
from fleetcast.runtime import Runtime
from fleetcast.services.installation_key import take_new_key
from fleetcast.services.restore import Restored, after_restore
from fleetcast.store.health import schema_version
from fleetcast.store.schema import head

app = typer.Typer(help="The database: its schema, and after a restore.", no_args_is_help=True)


async def _version(runtime: Runtime) -> str:
    async with runtime.db.connection() as connection:
        return await schema_version(connection)


@app.command("migrate")
def migrate(as_json: JsonOption = False) -> None:
    """Bring the schema to the version of this Fleetcast. Every command does it by itself; safe to repeat."""
    at = with_runtime(_version)
    if as_json:
        emit_json({"schema": at})
    else:
        say(f"The schema is at version {at}.")


@app.command("version")
def version(as_json: JsonOption = False) -> None:
    """The schema's version, and the one that this Fleetcast was written for."""
    at = with_runtime(_version, migrate=False)
    if as_json:
        emit_json({"schema": at, "expected": head()})
    elif at == head():
        say(f"The schema is at version {at}, as expected.")
    else:
        say(f"The schema is at version {at or 'none'}; `fleetcast db migrate` brings it to {head()}.")


@app.command("restored")
def restored(as_json: JsonOption = False) -> None:
    """Run this once after restoring a backup, before anything is started: holds every campaign, lists what to check."""

    async def work(runtime: Runtime) -> Restored:
        return await after_restore(runtime, actor=person())

    done = with_runtime(work)
    if as_json:
        emit_json(done)
        return
    rows = [
        (
            c.workspace,
            c.title,
            now,
            number(c.waiting) if c.planned else f"{number(c.waiting)} and more, not planned yet",
        )
        for now, some in (("paused", done.paused), ("a draft again", done.withdrawn))
        for c in some
    ]
    if rows:
        table(("workspace", "campaign", "now", "waiting"), rows, right=("waiting",))
        say(
            "Messages that wait in these campaigns may have gone out after the backup was made. Resume a campaign only "
            "if a second copy does no harm; else cancel it."
        )
    say(f"{number(done.in_doubt)} messages were being sent and are in doubt: `fleetcast message in-doubt list`.")
    if done.skipped:
        say(f"{number(done.skipped)} messages of no campaign waited and are skipped: they may have gone out since.")
    if done.sequences:
        say(
            f"{number(done.sequences)} sequences are paused. Steps that were due after the backup was made may have "
            "gone out; resumed in time, they go out again."
        )
    say("Fleetcast can be started now.")


@app.command("new-key")
def new_key(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, as_json: JsonOption = False
) -> None:
    """After the key of secrets was lost for good: seal with the present one. Second factors have to be set up anew."""
    if not yes:
        typer.confirm("Give up what was sealed with the old key, second factors among it?", abort=True, err=True)

    async def work(runtime: Runtime) -> int:
        return await take_new_key(runtime, actor=person())

    lost = with_runtime(work)
    if as_json:
        emit_json({"second_factors_removed": lost})
    else:
        say(
            f"The present key is the installation's. {number(lost)} second factors are gone and have to be set up anew."
        )
