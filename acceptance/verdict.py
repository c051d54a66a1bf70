"""The judge of a campaign: the simulator's ledger against the list of people, and then against what the table says.

Lost: a person of the campaign whose message the ledger never accepted, unless the row ended for a reason that the
proof expects; a row that is `sent` and not in the ledger; a row that ended otherwise and is in it; a row that has not
ended. Twice: every acceptance of a message, or of a person in one campaign, after the first.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fleetcast.domain.identifiers import CampaignId
from fleetcast.runtime import Runtime
from fleetcast.services.inbound import parse_reference
from fleetcast.services.ledger_check import check_ledger
from fleetcast.store import identity
from fleetcast.store.invariants import broken_invariants
from fleetcast.transports.simulator.ledger import Ledger, LedgerSummary, Record, RecordKind

SHOWN = 10
"""Messages that a verdict names at most."""

_ROWS = """
SELECT b.id, b.recipient, b.status::text AS status, b.reason, b.sent_at IS NOT NULL AS sent
FROM broadcast_messages b WHERE b.campaign_id = ANY ($1::bigint[])"""
_MISSING = """
SELECT count(*) FROM campaigns c JOIN leads l ON l.workspace_id = c.workspace_id
WHERE c.id = ANY ($1::bigint[])
  AND NOT EXISTS (SELECT FROM broadcast_messages b WHERE b.campaign_id = c.id AND b.recipient = l.phone)"""
_COUNTS = """
SELECT count(*) FROM campaigns c WHERE c.id = ANY ($1::bigint[]) AND (
  SELECT count(*) FROM broadcast_messages b WHERE b.campaign_id = c.id) <> (
  SELECT coalesce(sum(n), 0) FROM campaign_tallies t
  WHERE t.campaign_id = c.id AND t.counter NOT IN ('delivered', 'read'))"""


@dataclass(slots=True)
class Verdict:
    """What one fault did to its campaigns."""

    duplicates: int = 0
    lost: int = 0
    messages: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    counts_off: int = 0
    """Campaigns whose counts do not add up."""
    names: list[str] = field(default_factory=list)
    """Some of the messages that were lost or doubled, with how."""

    def add(self, kind: str, message: object, how: str, times: int = 1) -> None:
        """Count something that must not be, and remember some of it."""
        if kind == "lost":
            self.lost += times
        else:
            self.duplicates += times
        if len(self.names) < SHOWN:
            self.names.append(f"message {message}: {how}")


async def judge(
    runtime: Runtime, ledger: Path, campaigns: Collection[CampaignId], excused: Collection[str] = ()
) -> Verdict:
    """Compare. `excused`: reasons for which a message may have ended without being sent."""
    records = list(Ledger.read(ledger))
    async with runtime.db.connection() as connection:
        install = await identity.install_id(connection)
        rows = {row["id"]: row for row in await connection.fetch(_ROWS, list(campaigns), timeout=300)}
        missing = await connection.fetchval(_MISSING, list(campaigns), timeout=300)
        verdict = Verdict(counts_off=await connection.fetchval(_COUNTS, list(campaigns), timeout=300))
    accepted = Counter(message for message in _messages(records, install) if message in rows)
    verdict.messages = len(rows)
    for message, times in accepted.items():
        if times > 1:
            verdict.add("twice", message, f"the ledger accepted it {times} times", times - 1)
    for message, row in rows.items():
        verdict.by_status[f"{row['status']}({row['reason']})" if row["reason"] else row["status"]] += 1
        arrived = message in accepted
        if arrived and not row["sent"]:
            verdict.add("lost", message, f"it arrived, and the row is {row['status']}")
        elif not arrived and row["sent"]:
            verdict.add("lost", message, "the row is sent, and it never arrived")
        elif not arrived and row["reason"] not in excused:
            verdict.add("lost", message, f"it never arrived; the row is {row['status']} ({row['reason']})")
    if missing:
        verdict.add("lost", "none", f"{missing} people have no row", missing)
    return verdict


def _messages(records: Iterable[Record], install: str) -> Iterable[int]:
    for record in records:
        attempt = parse_reference(install, record.reference)
        if record.kind is RecordKind.ACCEPTED and attempt is not None:
            yield attempt[0]


async def whole(runtime: Runtime, ledger: Path, *, without: Collection[int] = ()) -> list[str]:
    """What is wrong with the installation as a whole: promises that the database breaks, `without` these numbers, and
    what the ledger says of all messages together. Empty when all is well.
    """
    async with runtime.db.connection() as connection:
        broken = [v for v in await broken_invariants(connection) if v.invariant not in without]
    found = [f"invariant {v.invariant}: {v.subject} {v.what}" for v in broken]
    summary = LedgerSummary.of(Ledger.read(ledger))
    if summary.duplicates or summary.accepted_after_seal:
        found.append(f"the ledger: {summary.duplicates}, accepted after their seal {summary.accepted_after_seal}")
    check = await check_ledger(runtime, ledger)
    if not check.holds:
        found.append(f"twice {check.twice[:SHOWN]}, lost {check.lost[:SHOWN]}, unknown {check.unknown[:SHOWN]}")
    return found
