"""`fleetcast db`: the database's schema."""

import typer

from fleetcast.cli.output import emit_json, say
from fleetcast.cli.session import JsonOption, with_runtime
from fleetcast.runtime import Runtime
from fleetcast.store.health import schema_version
from fleetcast.store.schema import head

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


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
