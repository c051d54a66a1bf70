"""A workspace with sequences, a clock that is moved, and a hand that sends: for tests of what comes when, and to whom.

The rows are real, and so are the sequencer and every transition; only the sender is a few lines here, so that a month
passes in a second. `tests/acceptance` and `tests/engine/test_virtual_month.py` run the real one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fleetcast.domain.identifiers import DeviceId, EnrolmentId, LeadId, MessageId, SequenceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.engine.sequencer import Sequencer
from fleetcast.services.enrolments import Enrolled, EnrolmentStory, enrol_people, show_enrolment
from fleetcast.services.sequence_actions import activate_sequence
from fleetcast.services.sequence_fields import SequenceFields, StepFields
from fleetcast.services.sequence_steps import add_step
from fleetcast.services.sequences import create_sequence
from fleetcast.store import shards, transitions
from fleetcast.store.connection import Row
from fleetcast.store.invariants import broken_invariants
from fleetcast.store.transitions import Claim, OtherResult, SentResult
from tests.campaign_scene import ACTOR, Scene

SENDER = "sender-1"
DAILY: tuple[StepFields, ...] = (
    {"day": 0, "time": "10:00", "body": "One"},
    {"day": 1, "time": "10:00", "body": "Two"},
    {"day": 2, "time": "10:00", "body": "Three"},
)
AT_ONCE: StepFields = {"after": "0m", "body": "Welcome"}


@dataclass(slots=True)
class SequenceScene(Scene):
    """What a test of sequences stands on. The clock is in UTC, as the workspace is, unless a test says otherwise."""

    sequencer: Sequencer = field(init=False)
    epochs: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sequencer = Sequencer(self.runtime)

    # -- time

    async def now(self) -> datetime:
        at: datetime = await self.value("SELECT fleetcast_now()")
        return at

    async def move(self, by: timedelta) -> None:
        """Let time pass without anybody at work."""
        await self.execute("UPDATE shards SET expires_at = expires_at + $1", by)
        await self.execute("UPDATE installation SET clock_offset = clock_offset + $1", by)

    async def move_to(self, at: datetime) -> None:
        await self.move(at - await self.now())

    # -- what people do

    async def sequence(self, steps: Sequence[StepFields] = DAILY, *, active: bool = True, **fields: Any) -> SequenceId:
        """A sequence with these steps, set in motion."""
        given: SequenceFields = {"name": "Welcome", **fields}  # type: ignore[typeddict-item]
        made = await create_sequence(self.runtime, self.workspace, given, actor=ACTOR)
        for step in steps:
            await add_step(self.runtime, self.workspace, made.id, step, actor=ACTOR)
        if active:
            await activate_sequence(self.runtime, self.workspace, made.id, even_offline=True, actor=ACTOR)
        return made.id

    async def enrol(self, sequence_id: SequenceId, *leads: LeadId, again: bool = False) -> Enrolled:
        return await enrol_people(self.runtime, self.workspace, sequence_id, lead_ids=leads, again=again, actor=ACTOR)

    async def story(self, enrolment_id: EnrolmentId) -> EnrolmentStory:
        return await show_enrolment(self.runtime, self.workspace, enrolment_id)

    # -- what the system does

    async def work(self, sequencer: Sequencer | None = None) -> None:
        """Let a sequencer work until it has nothing to do."""
        for _ in range(500):
            if not await (sequencer or self.sequencer).run_once():
                return
        raise AssertionError("the sequencer does not come to an end")

    async def claim(self) -> list[transitions.Claimed]:
        """T1 and T2 for all that may go out now."""
        async with self.runtime.db.connection() as connection:
            await shards.acquire(connection, SENDER, None, 10**8, 64)
            self.epochs = {r["id"]: r["epoch"] for r in await connection.fetch("SELECT id, epoch FROM shards")}
            queued = await transitions.top_up(connection, self.devices, [1_000] * len(self.devices))
            claims = [Claim(q.id, q.shard, q.device, q.campaign, 0) for q in queued]
            return await transitions.claim(connection, claims, self.epochs, SENDER, "test")

    async def deliver(self) -> list[str]:
        """Send all that may go out now, as a sender would; returns the texts' names: recipient and step's place."""
        claimed = await self.claim()
        async with self.runtime.db.connection() as connection:
            results = [SentResult(c.id, c.attempt, c.epoch, f"p-{c.id}", c.now, b"sha") for c in claimed]
            assert await transitions.record_sent(connection, results, self.devices) == len(claimed)
        return [str(c.id) for c in claimed]

    async def refuse(self, reason: Reason = Reason.RECIPIENT_REFUSED) -> int:
        """Have all that may go out now be refused for certain."""
        claimed = await self.claim()
        async with self.runtime.db.connection() as connection:
            results = [
                OtherResult(c.id, c.attempt, c.epoch, MessageStatus.FAILED, reason, Outcome.REFUSED, "no", c.now)
                for c in claimed
            ]
            assert await transitions.record_other(connection, results, self.devices) == len(claimed)
        return len(claimed)

    async def live(self, span: timedelta, *, every: timedelta = timedelta(hours=3)) -> None:
        """Let time pass with everything at work: from one due step to the next, and a look `every` so often."""
        end = await self.now() + span
        while (now := await self.now()) < end:
            due = await self.value("SELECT min(due_at) FROM enrolments WHERE due_at > fleetcast_now()")
            await self.move(min(every, end - now, max(due - now, timedelta(seconds=1)) if due else every))
            await self.work()
            await self.deliver()
            await self.work()

    # -- what is to be seen

    async def messages(self, sequence_id: SequenceId) -> list[Row]:
        """The messages of a sequence in the order in which they were made, with the place of their step."""
        return await self.fetch(
            """SELECT b.*, c.body, e.lead_id AS of_lead FROM broadcast_messages b
            JOIN contents c ON c.id = b.content_id JOIN enrolments e ON e.id = b.enrolment_id
            WHERE b.sequence_id = $1 ORDER BY b.id""",
            sequence_id,
        )

    async def got(self, sequence_id: SequenceId) -> dict[str, list[str]]:
        """Recipient → what was sent to them, in order."""
        found: dict[str, list[str]] = {}
        for row in sorted(await self.messages(sequence_id), key=lambda r: (r["sent_at"] or r["created_at"], r["id"])):
            if row["status"] == "sent":
                found.setdefault(row["recipient"], []).append(row["body"])
        return found

    async def states(self, sequence_id: SequenceId) -> Mapping[str, str]:
        """Recipient → state, or why they were stopped."""
        rows = await self.fetch(
            "SELECT recipient, coalesce(stop_reason, state::text) AS state FROM enrolments WHERE sequence_id = $1 "
            "ORDER BY id",
            sequence_id,
        )
        return {r["recipient"]: r["state"] for r in rows}

    async def state(self, sequence_id: SequenceId) -> str:
        """The state of the only one in a sequence."""
        [state] = (await self.states(sequence_id)).values()
        return state

    async def all_promises_hold(self) -> None:
        async with self.runtime.db.connection() as connection:
            assert await broken_invariants(connection) == []

    async def of_device(self, device: DeviceId, phone: str, **more: Any) -> LeadId:
        """A lead."""
        return await self.add_lead(device, phone, **more)

    async def message_of(self, sequence_id: SequenceId, place: int = -1) -> MessageId:
        """One of a sequence's messages, the newest unless a place is given."""
        return MessageId((await self.messages(sequence_id))[place]["id"])
