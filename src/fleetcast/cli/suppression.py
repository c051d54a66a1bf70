"""`fleetcast suppression`: the people who must not be written to."""

from typing import Annotated

import typer

from fleetcast.cli.output import emit_json, local_time, number, say, table
from fleetcast.cli.session import JsonOption, WorkspaceOption, person, with_runtime
from fleetcast.runtime import Runtime
from fleetcast.services import suppressions
from fleetcast.services.suppressions import Suppressed, Suppression
from fleetcast.services.workspaces import Workspace, find_workspace

app = typer.Typer(help="The people who must not be written to.", no_args_is_help=True)

PhoneArgument = Annotated[str, typer.Argument(help="The number, with country code or as in the workspace's region.")]
NoteOption = Annotated[str, typer.Option(help="Why; kept with the entry.")]


@app.command("add")
def add(
    phone: PhoneArgument, workspace: WorkspaceOption = None, note: NoteOption = "", as_json: JsonOption = False
) -> None:
    """Put a number on the list. What still waits for it is skipped at once."""

    async def work(runtime: Runtime) -> Suppressed:
        where = await find_workspace(runtime, workspace)
        return await suppressions.add_suppression(runtime, where, phone, actor=person(), note=note)

    done = with_runtime(work)
    if as_json:
        emit_json(done)
    else:
        became = "is suppressed" if done.added else "was suppressed already"
        say(f"{done.phone} {became}; {number(done.skipped)} waiting messages were skipped.")


@app.command("lift")
def lift(
    phone: PhoneArgument, workspace: WorkspaceOption = None, note: NoteOption = "", as_json: JsonOption = False
) -> None:
    """Take a number off the list, because the person asked for it. The decision is recorded with your name."""

    async def work(runtime: Runtime) -> str:
        where = await find_workspace(runtime, workspace)
        return await suppressions.lift_suppression(runtime, where, phone, actor=person(), note=note)

    lifted = with_runtime(work)
    if as_json:
        emit_json({"phone": lifted, "lifted": True})
    else:
        say(f"{lifted} may be written to again. What was skipped stays skipped.")


@app.command("list")
def show_all(
    workspace: WorkspaceOption = None,
    phone: Annotated[str | None, typer.Option(help="Only this number.")] = None,
    after: Annotated[str, typer.Option(help="The last number of the page before.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Entries a page.")] = suppressions.PAGE,
    as_json: JsonOption = False,
) -> None:
    """The list, by number."""

    async def work(runtime: Runtime) -> tuple[Workspace, list[Suppression]]:
        where = await find_workspace(runtime, workspace)
        if phone is not None:
            one = await suppressions.find_suppression(runtime, where, phone)
            return where, [one] if one else []
        return where, await suppressions.list_suppressions(runtime, where.id, after=after, limit=limit)

    where, found = with_runtime(work)
    if as_json:
        emit_json(found)
        return
    if not found:
        say(f"{phone} is not on the list." if phone else "Nobody is on the list." if not after else "No more entries.")
        return
    rows = [(s.recipient, local_time(s.effective_at, where.time_zone), s.source, s.note) for s in found]
    table(("number", "since", "source", "note"), rows)
    if phone is None and len(found) == limit:
        say(f"More with --after {found[-1].recipient}", style="dim")
