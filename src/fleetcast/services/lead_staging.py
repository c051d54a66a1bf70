"""Reading a lead file chunk by chunk into rows for the staging table, from its beginning or from where an import stood.

Separate from the import because it runs in a thread, beside the statements that store the chunk before.
"""

from dataclasses import dataclass
from itertools import islice
from json.encoder import encode_basestring as quoted

from fleetcast.domain.lead import Consent, Lead
from fleetcast.domain.lead_columns import RowParser, RowRefused
from fleetcast.errors import Problem
from fleetcast.services.lead_rejected import Rejected
from fleetcast.services.lead_rows import BadRow, LeadFile, Row
from fleetcast.store.lead_merge import StagedRow

CHUNK = 5_000
"""Rows read and stored at a time."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows to stage, and how far the file was read with them."""

    rows: list[StagedRow]
    position: int
    """Rows of the file so far, blank ones too."""
    bytes_read: int
    accepted: int
    rejected: int
    problems: tuple[Problem, ...]
    """Of these rows, as far as a report holds them."""
    attribute_keys: tuple[str, ...]
    """Every attribute that some lead of the file has so far, sorted."""


@dataclass(frozen=True, slots=True)
class Reached:
    """How far an import had come; nothing for a new one."""

    position: int = 0
    accepted: int = 0
    rejected: int = 0
    problems: tuple[Problem, ...] = ()
    attribute_keys: tuple[str, ...] = ()


class Reading:
    """The chunks of one file."""

    def __init__(self, file: LeadFile, region: str, rejected: Rejected, *, all_agreed: bool, reached: Reached) -> None:
        self._file = file
        self._rows = file.rows()
        self._parser = RowParser(file.headings, region)
        self._rejected = rejected
        self._all_agreed = all_agreed
        self._reached = reached
        self._position = 0
        self._accepted = reached.accepted
        self._keys = set(reached.attribute_keys)
        rejected.headings([heading.text for heading in file.headings.columns])

    def start(self) -> None:
        """Pass over what is staged already. Rejected rows are judged again if all are to be written to a file."""
        passed = islice(self._rows, self._reached.position)
        if self._rejected.to_file and self._reached.rejected:
            for row in passed:
                self._lead(row)
        else:
            for _ in passed:
                pass
            self._rejected.count = self._reached.rejected
            self._rejected.problems += self._reached.problems
        self._position = self._reached.position

    def chunk(self) -> Chunk | None:
        """The next rows; None at the end of the file. Blocks on the disk and on Python."""
        rows: list[StagedRow] = []
        before, known = self._position, len(self._rejected.problems)
        for row in islice(self._rows, CHUNK):
            self._position += 1
            lead = self._lead(row)
            if lead is not None and isinstance(row, Row):
                self._keys.update(lead.attributes)
                rows.append(staged(row.line, lead, all_agreed=self._all_agreed))
        if self._position == before:
            return None
        self._accepted += len(rows)
        return Chunk(
            rows=rows,
            position=self._position,
            bytes_read=self._file.bytes_read,
            accepted=self._accepted,
            rejected=self._rejected.count,
            problems=tuple(self._rejected.problems[known:]),
            attribute_keys=tuple(sorted(self._keys)),
        )

    def _lead(self, row: Row | BadRow) -> Lead | None:
        """The lead in a row; None for a blank one and for one that is rejected."""
        if isinstance(row, BadRow):
            self._rejected.add(row.problem, row.cells)
            return None
        try:
            return self._parser.parse(row.cells)
        except RowRefused as refusal:
            self._rejected.add(Problem(row.line, refusal.field, refusal.problem), row.cells)
            return None


def staged(line: int, lead: Lead, *, all_agreed: bool = False) -> StagedRow:
    """The row that is staged for a lead; `line`: its place among those that are merged together."""
    attributes = "{}"
    if lead.attributes:
        # What json.dumps would return, in a third of its time: keys and values are texts.
        attributes = "{" + ", ".join([f"{quoted(k)}: {quoted(v)}" for k, v in lead.attributes.items()]) + "}"
    consent = Consent.GIVEN if all_agreed and lead.consent is Consent.UNKNOWN else lead.consent
    return (
        line,
        lead.phone,
        lead.name,
        lead.niches,
        lead.target_status,
        lead.journey,
        lead.time_zone,
        consent,
        attributes,
    )
