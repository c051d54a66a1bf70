"""The workspace that the key is for, and who asks there."""

from dataclasses import dataclass
from typing import TypedDict, Unpack

from fleetcast.client.exchange import Exchange
from fleetcast.client.keys import Key
from fleetcast.client.reading import read


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceFacts:
    """What people may change of a workspace."""

    id: int
    name: str
    time_zone: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace(WorkspaceFacts):
    """The workspace that the key is for."""

    attribute_keys: tuple[str, ...]
    """Every attribute that some lead has: what a text may name besides name, phone and the like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """Who asks, where, and what they may do there."""

    actor: str
    """As the audit log names them."""
    workspace_id: int
    workspace: str
    scopes: tuple[str, ...]
    key: Key | None


class WorkspaceChange(TypedDict, total=False):
    """What may change of a workspace; what is left out stays."""

    name: str
    time_zone: str
    region: str


class WorkspaceOfKey:
    """`fleet.workspace`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def show(self) -> Workspace:
        """The workspace of the key."""
        return read(Workspace, await self._exchange.ask("GET", "workspace"))

    async def change(self, **changes: Unpack[WorkspaceChange]) -> WorkspaceFacts:
        """Change what is given and nothing else."""
        return read(WorkspaceFacts, await self._exchange.ask("PATCH", "workspace", content=changes))

    async def me(self) -> Me:
        """Who asks there: the key, and what it may do."""
        return read(Me, await self._exchange.ask("GET", "me"))
