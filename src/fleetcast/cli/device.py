"""`fleetcast device`: the numbers that send."""

import shlex
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from fleetcast.cli.output import emit_json, local_time, number, say, seconds, table
from fleetcast.cli.session import JsonOption, WorkspaceOption, person, with_runtime
from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.phone import international
from fleetcast.runtime import Runtime
from fleetcast.services import devices, pairing
from fleetcast.services.device_proxy import set_proxy
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
    pair_first: Annotated[
        bool, typer.Option("--pair-first", help="A simulated device waits for a phone, as all others always do.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Add a device. It takes part at once, or when a phone is linked to it."""

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
            pair_first=pair_first,
            actor=person(),
        )

    made = with_runtime(work)
    if as_json:
        emit_json(made)
        return
    say(f"Device {made.name} is added: {made.transport}, {_pace(made)} between two sends, now {made.state}.")
    if made.state is DeviceState.UNPAIRED:
        say(f"Link a phone to it with `fleetcast device pair {shlex.quote(made.name)}`.")


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


@app.command("proxy")
def proxy(
    name: NameArgument,
    address: Annotated[
        str, typer.Argument(help="Like socks5://user:password@host:1080 or http://host:8080; none: no proxy.")
    ] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a linked device connect through a proxy of its own, or by itself again. It connects anew."""

    async def change(runtime: Runtime, device: Device) -> str:
        shown = await set_proxy(runtime, device.workspace_id, device.id, address, actor=person())
        return f"Device {device.name} connects {'by itself' if shown is None else f'through {shown}'} from now on."

    _change(workspace, name, as_json, change)


@app.command("pair")
def pair(
    name: NameArgument,
    workspace: WorkspaceOption = None,
    phone: Annotated[
        str | None, typer.Option(help="Number of the phone: it gets a code to type in, in place of a QR code.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Link a device to a phone: shows codes until one is taken, or nobody came in three minutes."""
    from fleetcast.cli.pairing import follow  # draws; not into the memory of every other command

    async def work(runtime: Runtime) -> Device:
        where = await find_workspace(runtime, workspace)
        device = await devices.find_device(runtime, where.id, name)
        started = await pairing.start_pairing(runtime, where.id, device.id, actor=person(), phone=phone)
        return await follow(runtime, where.id, started, actor=person(), as_json=as_json)

    device = with_runtime(work)
    if as_json:
        emit_json(device)
    else:
        to = "a phone" if device.phone is None else international(device.phone)
        say(f"{device.name} is linked to {to} and {_status(device)}.")


@app.command("logout")
def log_out(
    name: NameArgument,
    workspace: WorkspaceOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Unlink a device from its phone. What waits for it waits until it is paired again, or its time is over."""
    device, waiting = _waiting(workspace, name)
    if not yes:
        typer.confirm(f"Log {device.name} out? {_messages(waiting)} until it is paired again.", abort=True, err=True)

    async def work(runtime: Runtime) -> int:
        return await pairing.log_out(runtime, device.workspace_id, device.id, actor=person())

    waiting = with_runtime(work)
    if as_json:
        emit_json({"logged_out": device.name, "waiting": waiting})
    else:
        say(f"Device {device.name} is logged out. {_messages(waiting)} until it is paired again.")


def _messages(waiting: int) -> str:
    return "1 message waits" if waiting == 1 else f"{number(waiting)} messages wait"


def _waiting(workspace: str | None, name: str) -> tuple[Device, int]:
    """The device, and how many messages wait for it: what a person is asked about."""

    async def look(runtime: Runtime) -> tuple[Device, int]:
        where = await find_workspace(runtime, workspace)
        device = await devices.find_device(runtime, where.id, name)
        return device, await devices.waiting_messages(runtime, where.id, device.id)

    return with_runtime(look)


@app.command("remove")
def remove(
    name: NameArgument,
    workspace: WorkspaceOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take a device away for good. What waits for it is skipped; its leads stay, but no campaign reaches them."""

    device, waiting = _waiting(workspace, name)
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
