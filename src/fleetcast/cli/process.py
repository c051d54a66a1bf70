"""`fleetcast process`: who runs, what stands still, and senders that are to rest. `processes` starts them."""

from typing import Annotated

import typer
from rich.text import Text

from fleetcast.cli.output import emit_json, number, say, seconds, table
from fleetcast.cli.session import JsonOption, person, with_runtime
from fleetcast.runtime import Runtime
from fleetcast.services import senders
from fleetcast.services.monitoring import Monitor, Watch
from fleetcast.store.processes import Process
from fleetcast.web.words import PROCESS, plural

app = typer.Typer(help="Processes that run now, and senders that are to rest.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="As `fleetcast process list` names it.")]
_STYLES = {"ok": "green", "run": "blue", "warn": "yellow", "bad": "red", "wait": "", "end": "dim"}


@app.command("list")
def list_processes(as_json: JsonOption = False) -> None:
    """Processes of the installation: state, shards, devices, and loops that are slow."""

    async def work(runtime: Runtime) -> Monitor:
        return await Watch().look(runtime)

    found = with_runtime(work)
    if as_json:
        emit_json(found.members)
        return
    if not found.members:
        say("Nothing runs. `fleetcast up` starts everything on this machine.")
        return
    rows = []
    for m in found.members:
        word, kind = PROCESS[m.state]
        slow = ", ".join(f"{loop} {seconds(age)}" for loop, age in m.slow)
        memory = f"{number(round(m.process.figures.get('memory', 0.0) / 1e6))} MB"
        rows.append(
            (
                m.process.name,
                m.process.kind,
                Text(word, _STYLES[kind]),
                m.shards if m.process.kind == "sender" else "",
                number(m.devices) if m.process.kind == "sender" else "",
                seconds(round(m.process.silent, 1)),
                memory,
                slow,
            )
        )
    table(
        ("process", "kind", "state", "shards", "devices", "heard of", "memory", "slow loops"),
        rows,
        right=("shards", "devices", "heard of", "memory"),
    )
    if found.gauges.shards_unowned:
        say(
            f"{plural(found.gauges.shards_unowned, 'shard')} without a sender: their devices send nothing.",
            style="yellow",
        )


@app.command("drain")
def drain(name: Name, as_json: JsonOption = False) -> None:
    """Have a sender rest: it gives its shards to the others and takes none until `resume`. Nothing is lost."""
    _decide(senders.drain_sender, name, as_json, "rests from now on; its shards go to the other senders.")


@app.command("resume")
def resume(name: Name, as_json: JsonOption = False) -> None:
    """Have a sender take its share of the shards again."""
    _decide(senders.resume_sender, name, as_json, "takes its share of the shards again.")


def _decide(decide: senders.Decision, name: str, as_json: bool, sentence: str) -> None:
    async def work(runtime: Runtime) -> Process:
        return await decide(runtime, name, actor=person())

    found = with_runtime(work)
    if as_json:
        emit_json({"name": found.name, "drained_at": found.drained_at, "drained_by": found.drained_by})
    else:
        say(f"The sender {found.name} {sentence}")
