"""The spool: accepted attempts whose result could not be committed, kept in an fsynced file until it can.

Only acceptance is worth a file: every other outcome is found again as an attempt in doubt. The file belongs to the
node; whichever sender starts next on it replays what an earlier one left behind.
"""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from fleetcast import failpoints
from fleetcast.domain.message import Resolution
from fleetcast.store import transitions
from fleetcast.store.connection import Connection
from fleetcast.store.transitions import Evidence, SentResult

log = structlog.get_logger()


class Spool:
    """The spool files of one node, in `folder`."""

    def __init__(self, folder: Path, sender: str) -> None:
        self._folder = folder
        self._path = folder / f"{sender}.jsonl"

    def add(self, results: Sequence[SentResult]) -> None:
        """Write these results so that they survive the process and the machine."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._path.open("a") as file:
            for r in results:
                at = datetime.fromtimestamp(r.finished_at, UTC)
                file.write(json.dumps([r.id, r.attempt, r.provider_id, at.isoformat()]) + "\n")
            file.flush()
            os.fsync(file.fileno())
        log.error("results kept in the spool", results=len(results), file=str(self._path))

    async def replay(self, connection: Connection) -> int:
        """Turn what earlier senders left into evidence; a file goes when its rows are committed. Returns the rows."""
        replayed = 0
        for path in sorted(self._folder.glob("*.jsonl")) if self._folder.is_dir() else []:
            evidence = _read(path)
            if evidence:
                async with connection.transaction():
                    await transitions.confirm_sent(connection, evidence, Resolution.SPOOL)
            await failpoints.passing(failpoints.Point.SPOOL_REPLAYED)
            path.unlink()
            replayed += len(evidence)
            log.warning("spool replayed", results=len(evidence), file=str(path))
        return replayed


def _read(path: Path) -> list[Evidence]:
    """The complete lines of a spool file; a torn last line was never reported as kept."""
    found = []
    for line in path.read_text().splitlines():
        try:
            message, attempt, provider_id, at = json.loads(line)
            found.append(Evidence(int(message), int(attempt), str(provider_id), datetime.fromisoformat(at)))
        except ValueError:
            log.warning("a torn line in the spool was left out", file=str(path))
    return found
