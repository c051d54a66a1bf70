"""`fleetcast workspace`: the tenants of this installation."""

from typing import Annotated

import typer

from fleetcast.cli.output import emit_json, say, table
from fleetcast.cli.session import JsonOption, person, with_runtime
from fleetcast.runtime import Runtime
from fleetcast.services.workspaces import Workspace, create_workspace, list_workspaces

app = typer.Typer(help="Workspaces: each has its own devices, leads and campaigns.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="A name of its own.")],
    time_zone: Annotated[str, typer.Option(help="IANA name; schedules and reports use it.")] = "UTC",
    region: Annotated[str, typer.Option(help="Two letters; reads numbers without a country code.")] = "MY",
    owner: Annotated[
        str | None, typer.Option(help="E-mail address of a user; without it, the first one owns it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a workspace."""

    async def work(runtime: Runtime) -> Workspace:
        return await create_workspace(runtime, name, time_zone=time_zone, region=region, owner=owner, actor=person())

    made = with_runtime(work)
    if as_json:
        emit_json(made)
    else:
        say(f"Workspace {made.name} is ready: {made.time_zone}, numbers read as in {made.region}.")


@app.command("list")
def show_all(as_json: JsonOption = False) -> None:
    """All workspaces."""
    found = with_runtime(list_workspaces)
    if as_json:
        emit_json(found)
    elif not found:
        say("There is no workspace yet. Make one with `fleetcast workspace create NAME`.")
    else:
        table(("name", "time zone", "region"), [(w.name, w.time_zone, w.region) for w in found])
