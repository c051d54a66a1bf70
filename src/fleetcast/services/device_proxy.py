"""Through which proxy a linked device connects: checked, sealed, and shown without its password.

Separate from `devices`: a proxy belongs to one kind of device, and its address is a secret.
"""

from urllib.parse import urlsplit

from fleetcast.domain.device import TransportKind
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.devices import get_device
from fleetcast.services.installation_key import installation_key
from fleetcast.store import audit, devices, linked_sessions

FIELD = "proxy"
SCHEMES = frozenset({"http", "https", "socks5"})
LONGEST = 500
HOW = "write it like socks5://user:password@proxy.example.org:1080 or http://proxy.example.org:8080"


def checked(address: str) -> tuple[str, str]:
    """A proxy's address as it is used, and as people may see it. Raises InvalidInput, without what may be secret."""
    text = address.strip()
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if len(text) > LONGEST or not text.isprintable() or " " in text or not host or not port:
        raise InvalidInput(FIELD, f"this is no address of a proxy with its port: {HOW}")
    if parts.scheme not in SCHEMES:
        raise InvalidInput(FIELD, f"only http, https and socks5 proxies can be used: {HOW}")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidInput(FIELD, f"nothing may follow the port: {HOW}")
    user = "" if parts.username is None else f"{parts.username}:***@" if parts.password else f"{parts.username}@"
    shown_host = f"[{host}]" if ":" in host else host
    return text, f"{parts.scheme}://{user}{shown_host}:{port}"


async def set_proxy(
    runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId, address: str, *, actor: str
) -> str | None:
    """Have a linked device connect through this proxy from now on, or with an empty address by itself.

    Returns the address as it may be shown. Its connection is opened anew. Raises InvalidInput, NotFound, and Conflict
    for a device of another kind.
    """
    wanted = checked(address) if address.strip() else None
    device = await get_device(runtime, workspace_id, device_id)
    if device.transport is not TransportKind.LINKED:
        raise Conflict(f"{device.name} is not a linked device: it needs no proxy.")
    seal = await installation_key(runtime)  # not before: the first use of a key is remembered
    async with runtime.db.transaction() as connection:
        if await devices.locked(connection, workspace_id, device_id) is None:
            raise NotFound(f"There is no device {device_id} in this workspace.")
        before = await linked_sessions.shown_proxy(connection, device_id)
        if wanted is None:
            await linked_sessions.no_proxy(connection, device_id)
        else:
            await linked_sessions.set_proxy(connection, device_id, wanted[1], seal.close(wanted[0].encode()))
        shown = None if wanted is None else wanted[1]
        await audit.record(
            connection, workspace_id, actor, "device.proxy", device.name, {"proxy": before}, {"proxy": shown}
        )
    await runtime.nudges.devices(device_id)
    return shown


async def shown_proxy(runtime: Runtime, device_id: DeviceId) -> str | None:
    """The proxy as it may be shown; None: the device connects by itself."""
    async with runtime.db.connection() as connection:
        return await linked_sessions.shown_proxy(connection, device_id)
