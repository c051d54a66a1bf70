"""An import of leads as a thing with a state: what others see of it, and what going on with it needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from fleetcast.domain.identifiers import DeviceId
from fleetcast.errors import Problem


class ImportStatus(StrEnum):
    """Where an import stands. The words are the database's enum `lead_import_status`."""

    STAGING = "staging"
    """The file is being read, or was when the process ended."""
    MERGING = "merging"
    """All rows are read; they are being merged, or were when the process ended."""
    DONE = "done"
    FAILED = "failed"
    """Nothing was written: the file cannot be used, or it was all or nothing."""
    ABANDONED = "abandoned"
    """A person discarded it, or nobody went on with it for a week."""


UNFINISHED = frozenset({ImportStatus.STAGING, ImportStatus.MERGING})

IMPORT_TRANSITIONS: Mapping[ImportStatus, frozenset[ImportStatus]] = {
    ImportStatus.STAGING: frozenset({ImportStatus.MERGING, ImportStatus.FAILED, ImportStatus.ABANDONED}),
    ImportStatus.MERGING: frozenset({ImportStatus.DONE, ImportStatus.FAILED, ImportStatus.ABANDONED}),
    ImportStatus.DONE: frozenset(),
    ImportStatus.FAILED: frozenset(),
    ImportStatus.ABANDONED: frozenset(),
}
"""What may follow what."""


@dataclass(frozen=True, slots=True)
class LeadImport:
    """One import, finished or not."""

    id: int
    device_id: DeviceId
    device: str
    """Its name."""
    filename: str
    status: ImportStatus
    running: bool
    """Some process is at it. One that is unfinished and not running can be gone on with."""
    size: int
    """Bytes to be read."""
    bytes_read: int
    position: int
    """Rows of the file, blank ones too, that are staged or rejected."""
    accepted: int
    rejected: int
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    actor: str
    sha256: str
    options: Mapping[str, Any]
    """What decides how the file is read."""
    attribute_keys: tuple[str, ...]
    problems: tuple[Problem, ...]
    """The first of the rejected rows."""
    report: Mapping[str, Any] | None

    @property
    def percent(self) -> int:
        """How much of the file is read, 0 to 100; merging is not part of it."""
        if self.status is not ImportStatus.STAGING:
            return 100 if self.status in {ImportStatus.MERGING, ImportStatus.DONE} else self._read
        return self._read

    @property
    def _read(self) -> int:
        return min(100, 100 * self.bytes_read // self.size) if self.size else 0
