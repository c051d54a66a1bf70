"""The audit log: who decided what, when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetcast.client.exchange import Exchange
from fleetcast.client.pages import PAGE, Pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One decision in the audit log."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class Audit:
    """`fleet.audit`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def list(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = PAGE,
        after: str | None = None,
    ) -> Pages[Entry]:
        """What was decided, newest first. `action` is a whole one or how it begins: `device.`."""
        query = {"actor": actor, "action": action, "from": since, "to": until, "limit": limit}
        return Pages(self._exchange, "audit", Entry, query, after=after)
