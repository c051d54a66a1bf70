"""A month of sequences on the real engine in minutes: every step once, in order, in its window, from the right number.

The clock of the database is moved from one due moment to the next, in three zones through both changes of summer time
that fall into this month, while numbers go away and come back, everything is restarted, and most of a day is lost. The
judges are the simulator's ledger, the invariants, and moments that are worked out here by other means than there.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

from fleetcast.domain.identifiers import DeviceId, Phone, SequenceId, WorkspaceId
from fleetcast.engine.processes import run_scheduler, run_sender
from fleetcast.runtime import Runtime
from fleetcast.services.ledger_check import check_ledger
from fleetcast.services.sequence_actions import activate_sequence
from fleetcast.services.sequence_fields import StepFields
from fleetcast.store.connection import Row
from fleetcast.transports.simulator.control import SimulatorControl
from fleetcast.transports.simulator.launch import SimulatorProcess
from tests.running import until
from tests.sequence_scene import SequenceScene

LEADS, DEVICES = 10_000, 100
SEED = 20_270_308
BEGIN = datetime(2027, 3, 8, 6, 0, tzinfo=UTC)
END = BEGIN + timedelta(days=31)
LATE_BY = timedelta(hours=12)
TOGETHER = timedelta(minutes=25)
"""What falls due within it is sent in one go; so late may a step be without anything being wrong."""
ZONES = ("America/New_York", "Australia/Sydney", "Asia/Kuala_Lumpur")
"""Summer time begins on 14 March in the first and ends on 4 April in the second."""
COURSES: tuple[tuple[StepFields, ...], ...] = (
    (
        {"day": 0, "time": "09:00", "body": "0.0"},
        {"day": 6, "time": "02:30", "body": "0.1"},  # in New York the clocks skip it, on 14 March
        {"day": 27, "time": "02:30", "body": "0.2"},  # in Sydney it comes twice, on 4 April
    ),
    (
        {"day": 1, "time": "18:30", "body": "1.0"},
        {"day": 8, "time": "08:00", "body": "1.1"},
        {"day": 15, "time": "08:00", "body": "1.2"},
    ),
    ({"after": "0m", "body": "2.0"}, {"after": "3d", "body": "2.1"}, {"after": "10d", "body": "2.2"}),
    (
        {"after": "2h", "body": "3.0"},
        {"day": 12, "time": "12:00", "body": "3.1"},
        {"after": "36h", "body": "3.2"},
    ),
    (
        {"day": 2, "time": "10:00", "body": "4.0"},
        {"day": 2, "time": "16:00", "body": "4.1"},
        {"day": 20, "time": "07:15", "body": "4.2"},
    ),
)
RECEIPTS = 0.1
"""Share of the messages that the phones confirm; sequences do not ask for it, and it is a tenth of the work."""
Span = tuple[datetime, datetime]


@dataclass(slots=True)
class Month:
    """The installation, what is done to it, and when what was away."""

    scene: SequenceScene
    random: Random
    away: dict[DeviceId, list[Span]] = field(default_factory=lambda: defaultdict(list))
    down: list[Span] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    parts: list[asyncio.Task[None]] = field(default_factory=list)
    restarts: int = 0

    def start(self) -> None:
        """Start the scheduler and the sender."""
        self.stop = asyncio.Event()
        self.parts = [
            asyncio.create_task(run_scheduler(self.scene.runtime, stop=self.stop), name="scheduler"),
            asyncio.create_task(run_sender(self.scene.runtime, stop=self.stop), name="sender"),
        ]

    async def end(self, *, rudely: bool = False) -> None:
        """End both; rudely: whatever they are doing."""
        if rudely:
            for part in self.parts:
                part.cancel()
        self.stop.set()
        await asyncio.gather(*self.parts, return_exceptions=True)

    async def has_settled(self) -> bool:
        """Whether nothing more can happen at this moment of the virtual clock."""
        for part in self.parts:
            assert not part.done(), part.exception()
        busy: bool = await self.scene.value(
            """SELECT EXISTS (SELECT FROM sequence_ends)
              OR EXISTS (SELECT FROM enrolment_runs WHERE finished_at IS NULL)
              OR EXISTS (SELECT FROM enrolments WHERE due_at <= fleetcast_now())
              OR EXISTS (SELECT FROM devices d JOIN broadcast_messages b ON b.device_id = d.id AND b.is_open
                WHERE d.is_ready OR b.status <> 'pending' OR b.expires_at <= fleetcast_now())"""
        )
        return not busy

    async def settle(self) -> None:
        async def has_come_to_rest() -> bool:
            settled = await self.has_settled()
            if not settled:
                await self.scene.runtime.nudges.sequences()
            return settled

        await until(has_come_to_rest, 240)

    async def live_to(self, end: datetime) -> None:
        """Go from due moment to due moment until then."""
        while (now := await self.scene.now()) < end:
            await self.settle()
            due = await self.scene.value("SELECT min(due_at) FROM enrolments WHERE due_at > fleetcast_now()")
            await self.scene.move(min(end - now, max(due - now, timedelta()) + TOGETHER if due else end - now))
        await self.settle()


@asynccontextmanager
async def a_month(runtime: Runtime, workspace: WorkspaceId, folder: Path) -> AsyncIterator[Month]:
    scene = SequenceScene(runtime, workspace)
    await scene.move_to(BEGIN)
    for _ in range(DEVICES):
        await scene.add_device()
    await scene.execute("UPDATE devices SET min_delay = 0, max_delay = 0")
    await scene.execute(
        """INSERT INTO leads (workspace_id, device_id, phone, niches, time_zone)
        SELECT $1, 1 + i % $2, '+6012' || lpad(i::text, 7, '0'), ARRAY['course ' || i % 5], ($4::text[])[1 + i / 5 % 3]
        FROM generate_series(0, $3 - 1) i""",
        workspace,
        DEVICES,
        LEADS,
        list(ZONES),
    )
    month = Month(scene, Random(SEED))
    async with SimulatorProcess(runtime.simulator_socket, folder / "ledger.jsonl", latency_ms=(0, 1)):
        month.start()
        try:
            yield month
        finally:
            await month.end()


async def outage(month: Month, control: SimulatorControl, device: DeviceId, hours: float) -> None:
    """Have a number go away for so many hours, during which the month goes on."""
    begun = await month.scene.now()
    await control.disconnect(device)
    await until(lambda: is_ready(month.scene, device, wanted=False))
    await month.live_to(begun + timedelta(hours=hours))
    await control.bring_back(device)
    await until(lambda: is_ready(month.scene, device, wanted=True))
    month.away[device].append((begun, await month.scene.now()))


async def is_ready(scene: SequenceScene, device: DeviceId, *, wanted: bool) -> bool:
    ready: bool = await scene.value("SELECT is_ready FROM devices WHERE id = $1", device)
    return ready is wanted


async def lost_hours(month: Month, hours: float) -> None:
    """Everything is off for so many hours."""
    begun = await month.scene.now()
    await month.end(rudely=True)
    await month.scene.move(timedelta(hours=hours))
    month.start()
    month.down.append((begun, await month.scene.now()))


async def restart(month: Month) -> None:
    """In the midst of whatever is under way."""
    await month.scene.move(timedelta(minutes=1))
    await asyncio.sleep(month.random.uniform(0.05, 0.6))
    await month.end(rudely=True)
    month.start()
    month.restarts += 1


async def test_virtual_month_of_ten_thousand_leads_in_five_sequences_across_three_zones(
    runtime: Runtime, workspace: WorkspaceId, tmp_path: Path
) -> None:
    async with a_month(runtime, workspace, tmp_path) as month, SimulatorControl(runtime.simulator_socket) as control:
        scene = month.scene
        await control.behave(delivered=RECEIPTS)
        courses = [
            await scene.sequence(steps, name=f"Course {n}", niches=[f"course {n}"], late_by=LATE_BY, active=False)
            for n, steps in enumerate(COURSES)
        ]
        for sequence in courses:
            await activate(scene, sequence)
        for day in range(1, 31):
            if day % 3 == 0:
                await restart(month)
            if day % 4 == 1:
                device = DeviceId(1 + month.random.randrange(DEVICES))
                await outage(month, control, device, month.random.choice([3, 8, 30]))
            if day == 2:
                await control.reply(DeviceId(6), Phone("+60120000005"), "Tell me more")
            if day == 15:
                await lost_hours(month, 20)
            await month.live_to(max(BEGIN + timedelta(days=day), await scene.now()))
        await month.live_to(END)
        await all_is_as_it_should_be(month, courses)
        judge = await check_ledger(runtime, tmp_path / "ledger.jsonl")
        assert judge.holds
        assert judge.accepted > 0.9 * LEADS * 3
        assert month.restarts == 10


async def activate(scene: SequenceScene, sequence: SequenceId) -> None:
    await activate_sequence(
        scene.runtime, scene.workspace, sequence, enrol_existing=LEADS, even_offline=True, actor="test"
    )


# -- what should be


def moment(anchor: date, zone: ZoneInfo, fields: StepFields) -> datetime:
    """The instant of a day and time, minute by minute: the first at which the wall shows it or later."""
    day = anchor + timedelta(days=fields["day"])
    hour, minute = map(int, fields["time"].split(":"))
    wanted = datetime.combine(day, time(hour, minute))
    at = datetime.combine(day, time(0), UTC) - timedelta(hours=15)
    while at.astimezone(zone).replace(tzinfo=None) < wanted:
        at += timedelta(minutes=30)
    for back in range(1, 31):
        if (at - timedelta(minutes=back)).astimezone(zone).replace(tzinfo=None) < wanted:
            return at - timedelta(minutes=back - 1)
    return at


async def all_is_as_it_should_be(month: Month, courses: Sequence[SequenceId]) -> None:
    scene = month.scene
    await scene.all_promises_hold()
    rows = await scene.fetch(
        """SELECT b.*, e.anchor, e.enrolled_at, e.state AS standing, e.device_id AS own, l.time_zone,
          (SELECT min(a.started_at) FROM message_attempts a WHERE a.message_id = b.id) AS started,
          row_number() OVER (PARTITION BY b.enrolment_id ORDER BY s.position) - 1 AS place
        FROM broadcast_messages b JOIN enrolments e ON e.id = b.enrolment_id JOIN leads l ON l.id = e.lead_id
          JOIN sequence_steps s ON s.id = b.step_id
        ORDER BY b.enrolment_id, s.position"""
    )
    course_of = {sequence: n for n, sequence in enumerate(courses)}
    ways: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        ways[row["enrolment_id"]].append(row)
    assert len(ways) == LEADS
    known: dict[tuple[date, str, int, int], datetime] = {}
    for way in ways.values():
        n = course_of[way[0]["sequence_id"]]
        if way[0]["recipient"] == "+60120000005":
            assert way[0]["standing"] == "stopped"
            continue
        assert [(row["standing"], row["place"]) for row in way] == [("completed", place) for place in range(3)]
        zone, ended = way[0]["time_zone"], way[0]["enrolled_at"]
        for row, fields in zip(way, COURSES[n], strict=True):
            key = (row["anchor"], zone, n, row["place"])
            if "day" in fields and key not in known:
                known[key] = moment(row["anchor"], ZoneInfo(zone), fields)
            due = known[key] if "day" in fields else ended + SPANS[fields["after"]]
            check_step(month, row, due, ended)
            ended = row["sent_at"] or row["ended_at"]


SPANS = {
    "0m": timedelta(0),
    "2h": timedelta(hours=2),
    "36h": timedelta(hours=36),
    "3d": timedelta(days=3),
    "10d": timedelta(days=10),
}


def check_step(month: Month, row: Row, due: datetime, after: datetime) -> None:
    """Once, not before its moment, within its window, from its own number; or not at all, with good reason."""
    said = f"message {row['id']} of {row['recipient']}: due {due}, started {row['started']}, {row['status']}"
    assert row["device_id"] == row["own"], said
    assert row["created_at"] >= after - timedelta(seconds=1), said
    if row["status"] == "sent":
        assert due <= row["started"] <= due + LATE_BY, said
        is_free = not any(begin < due + timedelta(hours=2) and due < end for begin, end in away(month, row))
        if is_free:
            assert row["started"] <= max(due, after + timedelta(hours=1)) + TOGETHER + timedelta(minutes=10), said
        return
    assert (row["status"], row["reason"]) in (("skipped", "expired"), ("skipped", "device_offline")), said
    there = LATE_BY
    for begin, end in away(month, row):
        there -= max(min(end, due + LATE_BY) - max(begin, due), timedelta())
    assert there <= TOGETHER + timedelta(minutes=10), said


def away(month: Month, row: Row) -> list[Span]:
    return [*month.down, *month.away[DeviceId(row["device_id"])]]


def test_the_moments_are_worked_out_by_other_means_and_know_both_changes() -> None:
    skipped = moment(date(2027, 3, 8), ZoneInfo("America/New_York"), COURSES[0][1])
    twice = moment(date(2027, 3, 8), ZoneInfo("Australia/Sydney"), COURSES[0][2])
    assert skipped == datetime(2027, 3, 14, 7, 0, tzinfo=UTC)
    assert twice == datetime(2027, 4, 3, 15, 30, tzinfo=UTC)
