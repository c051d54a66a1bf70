"""`fleetcast device pair`, followed to its end: codes as they come, drawn for a phone's camera, then what came of it.

Separate from the other commands of devices, which say one sentence and are over.
"""

import asyncio
import io

import segno
from rich.console import Console
from rich.text import Text

from fleetcast.cli.output import console, errors
from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.pairing import Code, CodeKind
from fleetcast.domain.phone import international
from fleetcast.errors import Conflict
from fleetcast.runtime import Runtime
from fleetcast.services import pairing
from fleetcast.services.devices import Device
from fleetcast.services.pairing import NOBODY_CAME, Pairing

LOOK_EVERY = 0.5
"""Seconds between two looks."""
CONNECTS_WITHIN = 15.0
"""Seconds that a device is waited for that is linked and not online yet."""
TERMS = (
    "Bulk sending from an ordinary account breaks WhatsApp's terms and can get its number banned; the Cloud API is the "
    "official way. Write only to people who agreed to it."
)


async def follow(runtime: Runtime, workspace_id: WorkspaceId, started: Pairing, *, actor: str, as_json: bool) -> Device:
    """Show codes until a phone is linked; called off by Ctrl-C. Raises Conflict when none was."""
    out = errors if as_json else console
    name, device_id = started.device.name, started.device.id
    try:
        ended = await _until_over(runtime, workspace_id, device_id, out)
    except asyncio.CancelledError:
        await pairing.cancel_pairing(runtime, workspace_id, device_id, actor=actor)
        raise
    if ended.device.state in (DeviceState.UNPAIRED, DeviceState.PAIRING, DeviceState.LOGGED_OUT, DeviceState.BANNED):
        reason = ended.device.state_reason if ended.device.state is not DeviceState.PAIRING else NOBODY_CAME
        raise Conflict(f"{name} is not paired: {reason or NOBODY_CAME}. Run the command again for new codes.")
    if ended.warning:
        out.print(Text(ended.warning, style="yellow"))
    return ended.device


async def _until_over(runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId, out: Console) -> Pairing:
    shown, told, ends = "", False, asyncio.get_running_loop().time() + CONNECTS_WITHIN
    while True:
        found = await pairing.look(runtime, workspace_id, device_id, with_code=True)
        now = asyncio.get_running_loop().time()
        if not found.under_way:
            if found.device.state is not DeviceState.CONNECTING or now > ends:
                return found
        else:
            ends = now + CONNECTS_WITHIN
            if not found.has_owner and not told:
                told = True
                out.print(
                    "No sender runs at this moment (`fleetcast up` starts one); the code comes as soon as one does."
                )
            if found.code is not None and found.code.text != shown:
                shown = found.code.text
                _draw(found, found.code, out)
        await asyncio.sleep(LOOK_EVERY)


def _draw(found: Pairing, code: Code, out: Console) -> None:
    name = found.device.name
    if code.kind is CodeKind.PHONE:
        number = "" if found.code_for is None else f" with {international(found.code_for)}"
        out.print(Text(f"On the phone{number}: Linked devices, Link a device, Link with phone number instead. Type:"))
        out.print(Text(f"\n    {code.spelled}\n", style="bold"))
        out.print(Text(TERMS, style="dim"))
        return
    drawn = io.StringIO()
    segno.make(code.text, micro=False).terminal(drawn, border=2, compact=True)
    if out.is_terminal:
        out.clear()
    out.print(Text(drawn.getvalue().rstrip("\n"), style="#ffffff on #000000"), soft_wrap=True)
    out.print(Text(f"On the phone for {name}: Linked devices, Link a device, then point its camera here."))
    out.print(Text(f"The next code comes in {code.valid_for:.0f} s by itself. Ctrl-C calls it off.\n"))
    out.print(Text(TERMS, style="dim"))
