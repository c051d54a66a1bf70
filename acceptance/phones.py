"""The judge of linked devices: what the phones read against what the table says.

Twice: a person who sees the same message more than once. Lost: a row that is `sent` and at no phone, or at a phone and
not listed: `sent`, or by name among those of which nobody knows. Astray: a message at a phone that its row does not
know of, from another number than that of the row's device, or unreadable.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleetcast.domain.identifiers import CampaignId, DeviceId
from fleetcast.runtime import Runtime
from testbed.whatsapp_web.record import UNREADABLE, Arrival

SHOWN = 10
UNKNOWN = frozenset({"unconfirmed"})
"""Reasons of rows that are listed as possibly sent."""

_ROWS = """
SELECT id, recipient, device_id, status::text AS status, coalesce(reason, '') AS reason FROM broadcast_messages
WHERE campaign_id = $1"""


@dataclass(frozen=True, slots=True)
class Row:
    """A message as the table has it."""

    id: int
    recipient: str
    device: DeviceId
    status: str
    reason: str

    @property
    def is_listed(self) -> bool:
        """Whether somebody who asks is told that it may have arrived."""
        return self.status in ("sent", "in_doubt") or (self.status == "failed" and self.reason in UNKNOWN)


@dataclass(slots=True)
class Reading:
    """What came of a campaign."""

    messages: int = 0
    read: int = 0
    """Messages that a phone read."""
    duplicates: int = 0
    lost: int = 0
    astray: int = 0
    repeated: int = 0
    """Times that a phone was given the very same message again, which it shows once."""
    by_status: Counter[str] = field(default_factory=Counter)
    arrived_unconfirmed: int = 0
    """Of the messages of which nobody knew: those that did arrive."""
    names: list[str] = field(default_factory=list)

    def note(self, message: object, how: str) -> None:
        """Remember some of what must not be."""
        if len(self.names) < SHOWN:
            self.names.append(f"message {message}: {how}")


def arrivals(record: Path) -> Iterator[Arrival]:
    """Everything that reached a phone, without the copies that senders' own phones get."""
    with record.open(encoding="utf-8") as lines:
        for line in lines:
            arrival = Arrival(**json.loads(line))
            if not arrival.copied_to:
                yield arrival


async def rows_of(runtime: Runtime, campaign: CampaignId) -> list[Row]:
    """The campaign's messages."""
    async with runtime.db.connection() as connection:
        found = await connection.fetch(_ROWS, campaign, timeout=300)
    return [Row(r["id"], r["recipient"], DeviceId(r["device_id"]), r["status"], r["reason"]) for r in found]


def judge(rows: Iterable[Row], arrived: Iterable[Arrival], numbers: Mapping[DeviceId, str]) -> Reading:
    """Compare. `numbers`: of the phone that each device is linked to. Every person has one message at most."""
    reading = Reading()
    at: defaultdict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrived:
        if arrival.copy > 1:
            reading.repeated += 1
        else:
            at[f"+{arrival.number}"].append(arrival)
    for row in rows:
        reading.messages += 1
        reading.by_status[f"{row.status}({row.reason})" if row.reason else row.status] += 1
        came = at.pop(row.recipient, [])
        readable = [a for a in came if a.kind != UNREADABLE]
        for arrival in came:
            if arrival.kind == UNREADABLE or arrival.sender.partition(":")[0] != numbers[row.device]:
                reading.astray += 1
                reading.note(row.id, f"came as {arrival.kind} from {arrival.sender}")
        if readable:
            reading.read += 1
            reading.arrived_unconfirmed += row.status != "sent" and row.is_listed
        if len(readable) > 1:
            reading.duplicates += len(readable) - 1
            reading.note(row.id, f"the phone shows it {len(readable)} times; the row is {row.status}")
        if row.status == "sent" and not readable:
            reading.lost += 1
            reading.note(row.id, "sent, and at no phone")
        elif readable and not row.is_listed:
            reading.lost += 1
            reading.note(row.id, f"at the phone, and the row is {row.status} ({row.reason})")
    for number, strange in at.items():
        reading.astray += len(strange)
        reading.note("none", f"{len(strange)} came to {number}, for whom there is no row")
    return reading
