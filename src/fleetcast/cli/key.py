"""`fleetcast key`: keys of the API."""

from typing import Annotated

import typer

from fleetcast.cli.output import emit_json, say, table
from fleetcast.cli.session import JsonOption, WorkspaceOption, person, with_runtime
from fleetcast.domain.access import KeyId, Scope
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import keys
from fleetcast.services.accounts.keys import ApiKey, NewKey
from fleetcast.services.devices import find_device
from fleetcast.services.workspaces import find_workspace

app = typer.Typer(help="Keys of the API: one for each program that uses it.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What uses it.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="What it may do; several times. Without it: read.")] = None,
    device: Annotated[str | None, typer.Option(help="Only for this device.")] = None,
    days: Annotated[int | None, typer.Option(help="Ends after so many days. Without it: never.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is shown once."""

    async def work(runtime: Runtime) -> NewKey:
        where = await find_workspace(runtime, workspace)
        device_id = None if device is None else (await find_device(runtime, where.id, device)).id
        scopes = set(scope or [Scope.READ])
        return await keys.create_key(runtime, where.id, name, scopes, device_id=device_id, days=days, actor=person())

    made = with_runtime(work)
    if as_json:
        emit_json({"key": made.key, "token": made.token})
        return
    say(made.token, style="bold")
    say(f"This is the key '{made.key.name}' ({', '.join(sorted(made.key.scopes))}). It is shown this once.")


@app.command("list")
def show_all(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """All keys of the workspace, newest first."""

    async def work(runtime: Runtime) -> list[ApiKey]:
        where = await find_workspace(runtime, workspace)
        found, following = await keys.list_keys(runtime, where.id)
        while following is not None:
            more, following = await keys.list_keys(runtime, where.id, after=following)
            found += more
        return found

    found = with_runtime(work)
    if as_json:
        emit_json(found)
    elif not found:
        say("There is no key yet. Make one with `fleetcast key create NAME --scope read`.")
    else:
        table(
            ("number", "name", "ends in", "may", "last used", "state"),
            [
                (
                    str(k.id),
                    k.name,
                    f"…{k.ending}",
                    ", ".join(sorted(k.scopes)) + (f" (device {k.device_id})" if k.device_id else ""),
                    f"{k.used_at:%Y-%m-%d %H:%M}" if k.used_at else "never",
                    "revoked" if k.revoked_at else f"until {k.expires_at:%Y-%m-%d}" if k.expires_at else "for good",
                )
                for k in found
            ],
        )


@app.command("revoke")
def revoke(
    number: Annotated[int, typer.Argument(help="Its number in `fleetcast key list`.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a key at once."""

    async def work(runtime: Runtime) -> ApiKey:
        where = await find_workspace(runtime, workspace)
        return await keys.revoke_key(runtime, where.id, KeyId(number), actor=person())

    gone = with_runtime(work)
    if as_json:
        emit_json(gone)
    else:
        say(f"The key '{gone.name}' opens nothing any more.")
