"""`fleetcast node`: the machines of this installation, for whoever runs several: linked devices live on one of them."""

from typing import Annotated

import typer

from fleetcast.cli.output import emit_json, local_time, number, say, table
from fleetcast.cli.session import JsonOption, person, with_runtime
from fleetcast.runtime import Runtime
from fleetcast.services import linked_sessions
from fleetcast.services.linked_sessions import Node, Stranded

app = typer.Typer(
    help="Machines: each has a data directory with the sessions of its linked devices.", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(help="The machine's name, or the beginning of its id.")]
MOST_NAMES = 50


@app.command("list")
def show_all(as_json: JsonOption = False) -> None:
    """All machines that ever took part, and which linked devices can send only from one that is away."""

    async def work(runtime: Runtime) -> tuple[list[Node], list[Stranded]]:
        known = await linked_sessions.nodes(runtime)
        away = [n for n in known if n.sessions and not n.is_there]
        return known, [s for n in away for s in await linked_sessions.stranded_devices(runtime, n, MOST_NAMES)]

    known, stranded = with_runtime(work)
    if as_json:
        emit_json({"nodes": known, "stranded": stranded})
        return
    if not known:
        say("No machine has taken part yet. `fleetcast up` starts one.")
        return
    rows = [
        (
            n.name,
            n.id[:8],
            "at work" if n.is_there else "away",
            number(n.sessions),
            number(n.handed_over),
            local_time(n.seen_at, "UTC"),
        )
        for n in known
    ]
    table(("machine", "id", "senders", "linked devices", "of them handed over", "last start, UTC"), rows)
    if stranded:
        names = ", ".join(s.name for s in stranded[:MOST_NAMES])
        say(f"These can send only from a machine that is away: {names}.")
        say("Start Fleetcast there; or, if it is lost for good, `fleetcast node lost NAME`.")


@app.command("move")
def move(
    name: NameArgument,
    to: Annotated[str, typer.Option("--to", help="The machine that takes over; a sender must be at work there.")],
    as_json: JsonOption = False,
) -> None:
    """Move the linked devices of a machine to another: it closes their sessions and hands them over."""

    async def work(runtime: Runtime) -> int:
        return await linked_sessions.move_node(runtime, name, to, actor=person())

    moved = with_runtime(work)
    if as_json:
        emit_json({"shards": moved})
    else:
        say(f"{number(moved)} shards move to {to}. A device goes on there once {name} has closed its session.")


@app.command("lost")
def lost(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """A machine is lost for good: what it had not handed over must be linked to its phone again, on another one."""
    known = with_runtime(linked_sessions.nodes)
    left = sum(n.sessions - n.handed_over for n in known if n.name == name or n.id.startswith(name))
    if not yes:
        typer.confirm(
            f"Give {name} up? {number(left)} linked devices must be linked to their phones again.", abort=True, err=True
        )

    async def work(runtime: Runtime) -> int:
        return await linked_sessions.lose_node(runtime, name, actor=person())

    again = with_runtime(work)
    if as_json:
        emit_json({"to_link_again": again})
    else:
        say(f"{name} is given up. {number(again)} devices are logged out: link them again, where senders are at work.")
