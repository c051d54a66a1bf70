"""Rows whose columns a person may write, as far as they name them: made with some, changed in some.

One place for drafts of campaigns and of sequences, because names of columns enter a statement here: each is checked
against the table's own list first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store.connection import Connection


@dataclass(frozen=True, slots=True)
class Writable:
    """A table of a workspace, and the types of the columns that a person's wish may write."""

    table: str
    types: Mapping[str, str]

    def _names(self, values: Mapping[str, Any]) -> list[str]:
        unknown = set(values) - set(self.types)
        if unknown:
            raise ValueError(f"not a person's to write: {sorted(unknown)}")
        return list(values)

    async def insert(self, connection: Connection, workspace_id: WorkspaceId, values: Mapping[str, Any]) -> int:
        """A new row with the given columns; what is not given has its default. Returns its id."""
        names = self._names(values)
        slots = ", ".join(f"${i}::{self.types[n]}" for i, n in enumerate(names, 2))
        made: int = await connection.fetchval(
            f"INSERT INTO {self.table} (workspace_id, {', '.join(names)}) VALUES ($1, {slots}) RETURNING id",
            workspace_id,
            *values.values(),
        )
        return made

    async def update(
        self, connection: Connection, workspace_id: WorkspaceId, row_id: int, values: Mapping[str, Any]
    ) -> None:
        """Write the given columns and no other: what an edit does not mention stays as it is."""
        names = self._names(values)
        if not names:
            return
        changes = ", ".join(f"{n} = ${i}::{self.types[n]}" for i, n in enumerate(names, 3))
        await connection.execute(
            f"UPDATE {self.table} SET {changes} WHERE workspace_id = $1 AND id = $2",
            workspace_id,
            row_id,
            *values.values(),
        )
