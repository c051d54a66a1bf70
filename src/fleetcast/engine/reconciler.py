"""The reconciler: settles doubt by evidence, or by the end of its window.

It asks the transports that can be asked (the simulator's ledger answers and seals what it denies); what nobody can
answer stays in doubt until its window is over and is then `failed(unconfirmed)`, listed by name. It never guesses.
"""

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from fleetcast import failpoints
from fleetcast.domain.device import TransportKind
from fleetcast.domain.identifiers import Reference
from fleetcast.domain.message import MAX_CRASHES, MessageStatus, Reason, Resolution
from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import pause
from fleetcast.errors import Unavailable
from fleetcast.runtime import Runtime
from fleetcast.store import doubt, transitions
from fleetcast.store.doubt import Doubt
from fleetcast.store.transitions import Evidence
from fleetcast.transports.base import Transport
from fleetcast.transports.errors import SendError

log = structlog.get_logger()

TICK_SECONDS = 1.0
CHUNK = 500


class Reconciler:
    """Settles doubts of all devices whose transport it was given."""

    def __init__(self, runtime: Runtime, transports: Mapping[TransportKind, Transport]) -> None:
        self._runtime = runtime
        self._transports = transports

    async def run(self, stop: asyncio.Event, beat: Beat) -> None:
        """Look every second."""
        while not stop.is_set():
            beat()
            try:
                await self.run_once(beat)
            except (Unavailable, SendError) as error:
                log.warning("doubts wait", error=str(error))
            await pause(stop, TICK_SECONDS)

    async def run_once(self, beat: Beat = lambda: None) -> int:
        """Settle what can be settled now; returns how many were."""
        settled, after = 0, 0
        while True:
            beat()
            async with self._runtime.db.connection() as connection:
                doubts = await doubt.in_doubt(connection, after, CHUNK)
            for kind, transport in self._transports.items():
                settled += await self._settle(transport, [d for d in doubts if d.transport == kind])
            if len(doubts) < CHUNK:
                return settled
            after = doubts[-1].id

    async def _settle(self, transport: Transport, doubts: Sequence[Doubt]) -> int:
        if not doubts:
            return 0
        by_reference = {Reference(d.reference): d for d in doubts}
        findings = await transport.find(list(by_reference))
        await failpoints.passing(failpoints.Point.RECONCILER_ASKED)
        proof = [
            (by_reference[f.reference], f.provider_id)
            for f in findings
            if f.provider_id and f.reference in by_reference
        ]
        absent = [by_reference[f.reference] for f in findings if f.provider_id is None and f.reference in by_reference]
        answered = {d.id for d, _ in proof} | {d.id for d in absent}
        over = [d for d in doubts if d.id not in answered and d.age > transport.doubt_window]
        decisions = [(d.id, d.attempt, *_absent(d)) for d in absent]
        decisions += [(d.id, d.attempt, MessageStatus.FAILED, Reason.UNCONFIRMED) for d in over]
        if not proof and not decisions:
            return 0
        async with self._runtime.db.transaction() as connection:
            await doubt.lock(connection, [d.id for d, _ in proof] + [d[0] for d in decisions])
            now = await connection.fetchval("SELECT fleetcast_now()")
            evidence = [Evidence(d.id, d.attempt, provider_id, now) for d, provider_id in proof]
            sent = await transitions.confirm_sent(connection, evidence, Resolution.LEDGER) if evidence else []
            devices = await transitions.settle_doubt(connection, decisions) if decisions else []
        log.info("doubts settled", sent=len(sent), not_sent=len(absent), unconfirmed=len(over))
        if devices:
            await self._runtime.nudges.work(set(devices))
        return len(sent) + len(decisions)


def _absent(found: Doubt) -> tuple[MessageStatus, Reason | None]:
    """Proof of absence: the row waits again, unless it has killed its sender too often."""
    if found.crashes >= MAX_CRASHES:
        return MessageStatus.FAILED, Reason.POISON
    return MessageStatus.PENDING, Reason.SENDER_LOST
