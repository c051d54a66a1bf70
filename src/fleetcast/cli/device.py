"""`fleetcast device`: the numbers that send."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from fleetcast.cli.output import emit_json, local_time, number, say, seconds, table
from fleetcast.cli.session import JsonOption, WorkspaceOption, person, with_runtime
from fleetcast.domain.device import TransportKind
from fleetcast.runtime import Runtime
from fleetcast.services import devices
from fleetcast.services.devices import Device
from fleetcast.services.workspaces import Workspace, find_workspace

app = typer.Typer(help="Devices: the numbers that send.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The device's name; capitals make no difference.")]


def _status(device: Device) -> str:
    state = f"{device.state}, paused" if device.paused_at else str(device.state)
    reason = device.paused_reason if device.paused_at else device.state_reason
    return f"{state} ({reason})" if reason else state


def _pace(device: Device) -> str:
    return f"{device.min_delay:g}-{device.max_delay:g} s" if device.max_delay else "no delay"


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="A name of its own in the workspace.")],
    workspace: WorkspaceOption = None,
    transport: Annotated[TransportKind, typer.Option(help="Through what it sends.")] = TransportKind.SIMULATOR,
    region: Annotated[str | None, typer.Option(help="Two letters; without it the workspace's.")] = None,
    min_delay: Annotated[float, typer.Option(help="Shortest gap between two sends, in seconds.")] = (
        devices.DEFAULT_MIN_DELAY
    ),
    max_delay: Annotated[float, typer.Option(help="Longest gap between two sends, in seconds.")] = (
        devices.DEFAULT_MAX_DELAY
    ),
    as_json: JsonOption = False,
) -> None:
    """Add a device. It takes part at once."""

    async def work(runtime: Runtime) -> Device:
        where = await find_workspace(runtime, workspace)
        return await devices.add_device(
            runtime,
            where.id,
            name,
            transport=transport,
            region=region,
            min_delay=min_delay,
            max_delay=max_delay,
            actor=person(),
        )

    made = with_runtime(work)
    if as_json:
        emit_json(made)
    else:
        say(f"Device {made.name} is added: {made.transport}, {_pace(made)} between two sends, now {made.state}.")


@app.command("list")
def show_all(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """All devices of the workspace."""

    async def work(runtime: Runtime) -> tuple[Workspace, list[Device]]:
        where = await find_workspace(runtime, workspace)
        return where, await devices.list_devices(runtime, where.id)

    where, found = with_runtime(work)
    if as_json:
        emit_json(found)
        return
    if not found:
        say("There is no device yet. Add one with `fleetcast device add NAME`.")
        return
    rows = [
        (
            d.name,
            d.transport,
            _status(d),
            local_time(d.state_since, where.time_zone),
            _pace(d),
            d.phone or "-",
            local_time(d.last_send_at, where.time_zone),
        )
        for d in found
    ]
    table(("name", "transport", "state", "since", "pace", "number", "last send"), rows)


def _change(
    workspace: str | None, name: str, as_json: bool, change: Callable[[Runtime, Device], Awaitable[str]]
) -> None:
    """Find the device, change it, and say what became of it."""

    async def work(runtime: Runtime) -> tuple[str, Device]:
        where = await find_workspace(runtime, workspace)
        sentence = await change(runtime, await devices.find_device(runtime, where.id, name))
        return sentence, await devices.find_device(runtime, where.id, name)

    sentence, device = with_runtime(work)
    if as_json:
        emit_json(device)
    else:
        say(sentence)


@app.command("pause")
def pause(
    name: NameArgument,
    workspace: WorkspaceOption = None,
    reason: Annotated[str, typer.Option(help="Why; shown beside the device.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Give a device no work until it is resumed. What waits for it keeps waiting."""

    async def change(runtime: Runtime, device: Device) -> str:
        done = await devices.pause_device(runtime, device.workspace_id, device.id, actor=person(), reason=reason)
        return f"Device {device.name} is paused." if done else f"Device {device.name} was paused already."

    _change(workspace, name, as_json, change)


@app.command("resume")
def resume(name: NameArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Give a paused device work again."""

    async def change(runtime: Runtime, device: Device) -> str:
        done = await devices.resume_device(runtime, device.workspace_id, device.id, actor=person())
        return f"Device {device.name} works again." if done else f"Device {device.name} was not paused."

    _change(workspace, name, as_json, change)


@app.command("pace")
def pace(
    name: NameArgument,
    min_delay: Annotated[float, typer.Argument(help="Shortest gap between two sends, in seconds.")],
    max_delay: Annotated[float, typer.Argument(help="Longest gap between two sends, in seconds.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change how fast a device sends; campaigns with a pace of their own keep theirs."""

    async def change(runtime: Runtime, device: Device) -> str:
        await devices.set_pace(runtime, device.workspace_id, device.id, min_delay, max_delay, actor=person())
        return f"Device {device.name} now waits {seconds(min_delay)} to {seconds(max_delay)} between two sends."

    _change(workspace, name, as_json, change)


@app.command("remove")
def remove(
    name: NameArgument,
    workspace: WorkspaceOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take a device away for good. What waits for it is skipped; its leads stay, but no campaign reaches them."""

    async def look(runtime: Runtime) -> tuple[Device, int]:
        where = await find_workspace(runtime, workspace)
        device = await devices.find_device(runtime, where.id, name)
        return device, await devices.waiting_messages(runtime, where.id, device.id)

    device, waiting = with_runtime(look)
    if not yes:
        typer.confirm(
            f"Remove {device.name} and skip the {number(waiting)} messages that wait for it?", abort=True, err=True
        )

    async def work(runtime: Runtime) -> None:
        await devices.remove_device(runtime, device.workspace_id, device.id, actor=person())

    with_runtime(work)
    if as_json:
        emit_json({"removed": device.name, "waiting": waiting})
    else:
        say(f"Device {device.name} is removed. {number(waiting)} messages that wait for it are being skipped.")
