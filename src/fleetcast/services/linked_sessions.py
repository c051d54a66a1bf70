"""The account of sessions for transports whose sessions are files: which node has which, and the sealed copies.

`SessionAccount` is what one node's transport asks; `nodes`, `move_node` and `lose_node` are for whoever runs several.
"""

from fleetcast.domain.identifiers import DeviceId
from fleetcast.errors import ConfigurationError, Conflict, NotFound, Unavailable
from fleetcast.runtime import Runtime
from fleetcast.sealing import Seal
from fleetcast.services.installation_key import installation_key
from fleetcast.store import audit, linked_sessions
from fleetcast.store.linked_sessions import Node, Stranded
from fleetcast.transports.base import Admission

__all__ = ["Node", "SessionAccount", "Stranded", "lose_node", "move_node", "nodes", "stranded_devices"]

LOST = "the machine that had its session is lost: link it again"
AT_MOST = 1_000


class SessionAccount:
    """The `SessionKeeper` of one node."""

    def __init__(self, runtime: Runtime, node: str) -> None:
        self._runtime = runtime
        self._node = node
        self._key: Seal | None = None

    async def admit(self, device: DeviceId, *, has_file: bool) -> Admission:
        """This node wants to open the session. Raises Unavailable."""
        async with self._runtime.db.transaction() as connection:
            row = await linked_sessions.locked(connection, device)
            copy: bytes | None = None
            if row is not None and row.node != self._node:
                if not row.handed_over or row.copy is None:
                    return Admission(elsewhere=row.node_name)
                copy = row.copy
            elif row is not None and not has_file:
                copy = row.copy
            if has_file or copy is not None:
                await linked_sessions.here(connection, device, self._node, keep_copy=copy is not None)
            sealed = await linked_sessions.proxy(connection, device)
        return Admission(
            proxy=None if sealed is None else (await self._open(sealed)).decode(),
            copy=None if copy is None else await self._open(copy),
        )

    async def link(self, device: DeviceId) -> Admission:
        """A new session is about to be made here. Raises Unavailable."""
        async with self._runtime.db.transaction() as connection:
            await linked_sessions.here(connection, device, self._node)
            sealed = await linked_sessions.proxy(connection, device)
        return Admission(proxy=None if sealed is None else (await self._open(sealed)).decode())

    async def keep(self, device: DeviceId, copy: bytes) -> None:
        """The session is closed here, and looks like this. Raises Unavailable."""
        sealed = (await self._seal()).close(copy)
        async with self._runtime.db.transaction() as connection:
            await linked_sessions.keep(connection, device, self._node, sealed)

    async def forget(self, device: DeviceId) -> None:
        """There is no session any more. Raises Unavailable."""
        async with self._runtime.db.transaction() as connection:
            await linked_sessions.forget(connection, device)

    async def _open(self, sealed: bytes) -> bytes:
        try:
            return (await self._seal()).open(sealed)
        except ConfigurationError as error:
            raise Unavailable(str(error)) from error

    async def _seal(self) -> Seal:
        if self._key is None:
            try:
                self._key = await installation_key(self._runtime)
            except ConfigurationError as error:
                raise Unavailable(str(error)) from error
        return self._key


async def nodes(runtime: Runtime) -> list[Node]:
    """The machines that ever took part, with the sessions of linked devices that are on them."""
    async with runtime.db.connection() as connection:
        return await linked_sessions.nodes(connection, 2 * runtime.settings.lease_seconds)


async def stranded_devices(runtime: Runtime, node: Node, limit: int = AT_MOST) -> list[Stranded]:
    """Devices whose session is on this node, by name."""
    async with runtime.db.connection() as connection:
        return await linked_sessions.stranded(connection, node.id, limit)


async def move_node(runtime: Runtime, name: str, to: str, *, actor: str) -> int:
    """Have the senders of another node take over a node's shards: it closes its sessions and hands them over.

    Returns how many shards move. Raises NotFound, Conflict.
    """
    known = await nodes(runtime)
    node, other = _the_one(known, name), _the_one(known, to)
    if node.id == other.id:
        raise Conflict(f"{node.name} is both: name two machines.")
    if not other.is_there:
        raise Conflict(f"No sender of {other.name} is at work: start Fleetcast there first.")
    async with runtime.db.transaction() as connection:
        moved = await linked_sessions.move(connection, node.id, other.id)
        await audit.record(connection, None, actor, "node.move", node.name, after={"to": other.name, "shards": moved})
    return moved


async def lose_node(runtime: Runtime, name: str, *, actor: str) -> int:
    """A machine is lost for good: others take its shards, and what it had not handed over has to be linked again.

    Returns how many devices that are. Raises NotFound, Conflict while it is at work.
    """
    node = _the_one(await nodes(runtime), name)
    if node.is_there:
        raise Conflict(f"A sender of {node.name} is at work: nothing is lost. `fleetcast node move` moves its devices.")
    async with runtime.db.transaction() as connection:
        await linked_sessions.move(connection, node.id, None)
        lost = await linked_sessions.lose(connection, node.id, LOST)
        await audit.record(connection, None, actor, "node.lose", node.name, after={"devices": len(lost)})
    if lost:
        await runtime.nudges.devices(*lost)
    return len(lost)


def _the_one(known: list[Node], name: str) -> Node:
    found = [node for node in known if node.name == name] or [node for node in known if node.id.startswith(name)]
    if not found:
        raise NotFound(f"There is no machine called '{name}'. `fleetcast node list` shows all.")
    if len(found) > 1:
        raise Conflict(f"Several machines are called '{name}': give the beginning of an id of `fleetcast node list`.")
    return found[0]
