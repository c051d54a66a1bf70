"""The fleet: `fleetcast up` as a person starts it, 3,000 devices at their pace, judged by the simulator's ledger."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import usage
from bench.figures import judge
from bench.fleet_verdict import Attempt, Verdict, judge_fleet
from bench.outcome import Order, Outcome
from bench.seeding import Fleet, launch, make_fleet
from bench.stage import folder, server_versions, until
from fleetcast.cli.session import runner
from fleetcast.embedded import children, run_file
from fleetcast.embedded.account import Account
from fleetcast.embedded.run_file import RunFile
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.services.inbound import parse_reference
from fleetcast.settings import Settings
from fleetcast.store import identity
from fleetcast.store.invariants import broken_invariants
from fleetcast.transports.simulator.ledger import Ledger, RecordKind

START_SECONDS = 120.0
STOP_SECONDS = 60.0
SAMPLES = 10
"""Of memory, spread over the window."""
PARTS = ("scheduler", "sender", "web")
NUDGED_AT_ONCE = 500

_ATTEMPTS = """
SELECT a.message_id, a.attempt, b.device_id, a.drawn_gap_ms / 1000.0::float8 AS gap,
  extract(epoch FROM a.started_at)::float8 AS claimed,
  extract(epoch FROM coalesce(a.finished_at, b.finished_at))::float8 AS finished
FROM message_attempts a JOIN broadcast_messages b ON b.id = a.message_id
WHERE a.finished_at IS NOT NULL OR a.attempt = b.attempts AND b.finished_at >= a.started_at"""


@dataclass(frozen=True, slots=True)
class Running:
    """A started Fleetcast."""

    pid: int
    data: Path
    told: RunFile

    def parts(self) -> dict[str, int]:
        """Pids of Fleetcast's own processes: not of the servers, nor of the simulator."""
        found = {"up": self.pid}
        for pid in usage.children(self.pid):
            words = usage.arguments(pid)
            if "fleetcast" in words and (name := words[words.index("fleetcast") + 1]) in PARTS:
                found[name] = pid
        return found

    def others(self) -> dict[str, int]:
        """Pids of the simulator and of the servers."""
        found = {}
        for pid in set(usage.children(self.pid)) - set(self.parts().values()):
            words = usage.arguments(pid)
            if "fleetcast.transports.simulator" in words:
                found["simulator"] = pid
            else:
                found[usage.name(pid)] = pid
        return found

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far of Fleetcast's own processes."""
        return {name: usage.cpu_seconds(pid) for name, pid in self.parts().items()}

    def cpu_of_others(self) -> dict[str, float]:
        """CPU seconds so far of the rest, PostgreSQL with its backends."""
        return {name: usage.family_cpu_seconds(pid) for name, pid in self.others().items()}


@contextmanager
def fleetcast_up(place: Path) -> Iterator[Running]:
    """`fleetcast up` on a fresh data directory. It ends with the block, or with us, however we end."""
    data, log = place / "data", place / "up.log"
    command = [shutil.which("env") or "/usr/bin/env", f"FLEETCAST_DATA={data}", "FLEETCAST_LOG_LEVEL=warning", "PORT=0"]
    command += [sys.executable, "-m", "fleetcast", "up"]
    spawner = children.Spawner(Account("", os.geteuid(), os.getegid(), change=False))
    with log.open("wb") as output:
        child = spawner.start(command, at_parents_death=signal.SIGTERM, output=output.fileno())
    try:
        yield Running(child.pid, data, _wait_for(child, data, log))
    finally:
        children.stop(child, ((signal.SIGTERM, STOP_SECONDS),))
        spawner.close()


def _wait_for(child: "subprocess.Popen[bytes]", data: Path, log: Path) -> RunFile:
    deadline = time.monotonic() + START_SECONDS
    while (found := run_file.read(data)) is None:
        if child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"fleetcast up did not start: {log.read_text(errors='replace').strip()}")
        time.sleep(0.05)
    return found


def run(order: Order) -> Outcome:
    """Everything from the start of `fleetcast up` to its end."""
    with folder() as place, fleetcast_up(place) as running:
        return runner(_run(running, order))


async def _run(running: Running, order: Order) -> Outcome:
    scale, tell = order.scale, order.tell
    total = scale.fleet_warm_up + scale.fleet_window + 10
    leads_each = int(1.2 * total / scale.fleet_pace.mean) + 5
    settings = Settings(
        database_url=running.told.database_url, redis_url=running.told.redis_url, data=running.data, log_level="warning"
    )
    async with open_runtime(settings, pool_size=2) as runtime:
        tell(f"{scale.devices:,} devices at {scale.fleet_pace.min_delay:g}-{scale.fleet_pace.max_delay:g} s ...")
        fleet = Fleet(
            scale.devices, scale.devices * leads_each, scale.fleet_pace, order.seed, state="connecting", even=True
        )
        workspace = await make_fleet(runtime, fleet)
        await _bring_online(runtime)
        campaign = await launch(runtime, workspace)

        async def planned() -> bool:
            async with runtime.db.connection() as connection:
                return bool(
                    await connection.fetchval("SELECT planned_at IS NOT NULL FROM campaigns WHERE id = $1", campaign)
                )

        await until(planned, "the campaign is planned", seconds=120, every=0.5)
        tell(f"all are online and planned; warming up for {scale.fleet_warm_up:g} s ...")
        await asyncio.sleep(scale.fleet_warm_up)
        tell(f"measuring for {scale.fleet_window:g} s ...")
        outcome = await _measure(running, runtime, order)
    outcome.servers = await server_versions(running.told.database_url, running.told.redis_url)
    return outcome


async def _bring_online(runtime: Runtime) -> None:
    async with runtime.db.connection() as connection:
        ids = [row["id"] for row in await connection.fetch("SELECT id FROM devices ORDER BY id")]
    for start in range(0, len(ids), NUDGED_AT_ONCE):
        await runtime.nudges.devices(*ids[start : start + NUDGED_AT_ONCE])

    async def online() -> bool:
        async with runtime.db.connection() as connection:
            return not await connection.fetchval("SELECT count(*) FROM devices WHERE NOT is_ready")

    await until(online, "every device is online", seconds=120, every=0.5)


async def _measure(running: Running, runtime: Runtime, order: Order) -> Outcome:
    window = order.scale.fleet_window
    parts = running.parts()
    cpu, others, memory = running.cpu(), running.cpu_of_others(), []
    begun = time.time()
    for sample in range(SAMPLES):
        await asyncio.sleep(max(0.0, begun + (sample + 1) * window / SAMPLES - time.time()))
        memory.append(usage.pss_bytes(parts.values()))
    after, others_after, ended = running.cpu(), running.cpu_of_others(), time.time()
    if running.parts() != parts or set(parts) != {"up", *PARTS}:
        raise RuntimeError(f"a part was started again in the window: {parts} became {running.parts()}")
    await asyncio.sleep(1.0)  # attempts of the window end and are committed
    order.tell("judging ...")
    verdict = await _judge(running, runtime, begun, ended)
    used = {name: (after[name] - cpu[name]) / (ended - begun) for name in after}
    async with runtime.db.connection() as connection:
        broken = [f"{v.invariant}: {v.subject} {v.what}" for v in await broken_invariants(connection)]
        receipts = await connection.fetch("SELECT delivery::text, count(*) FROM broadcast_messages GROUP BY 1")
    if broken:
        raise RuntimeError(f"promises were broken: {'; '.join(broken[:5])}")
    rate = verdict.accepted / (ended - begun)
    own = {name: usage.pss_bytes([pid]) / 1e6 for name, pid in parts.items()}
    return Outcome(
        [
            judge("fleet_rate", rate, 0.99 * verdict.possible / (ended - begun)),
            judge("fleet_rate_share", verdict.accepted / verdict.possible),
            judge("gap_violations", verdict.violations),
            judge("device_lateness_p99_ms", verdict.lateness(0.99)),
            judge("device_cpu_share", sum(used.values())),
            judge("app_memory_mb", max(memory) / 1e6),
        ],
        {
            "devices": order.scale.devices,
            "window_s": round(ended - begun, 1),
            "accepted": verdict.accepted,
            "messages_a_minute": round(rate * 60),
            "mean_gap_s": round(verdict.mean_gap, 3),
            "mean_attempt_ms": round(verdict.mean_attempt * 1000, 1),
            "lateness_ms": {f"p{share * 100:g}": round(verdict.lateness(share), 1) for share in (0.5, 0.9, 0.999)},
            "cores_used": {name: round(share, 3) for name, share in used.items()},
            "cores_used_by_others": {
                name: round((others_after[name] - others[name]) / (ended - begun), 3) for name in others_after
            },
            "python_us_a_message": round(sum(used.values()) / rate * 1e6),
            "memory_mb": {name: round(megabytes, 1) for name, megabytes in own.items()},
            "rows_by_delivery": {row[0]: row[1] for row in receipts},
        },
    )


async def _judge(running: Running, runtime: Runtime, begun: float, ended: float) -> Verdict:
    async with runtime.db.connection() as connection:
        install = await identity.install_id(connection)
        rows = {(row["message_id"], row["attempt"]): row for row in await connection.fetch(_ATTEMPTS, timeout=300)}
    attempts = []
    for record in Ledger.read(running.data / "simulator" / "ledger.jsonl"):
        if record.kind is not RecordKind.ACCEPTED or record.at >= ended:
            continue
        key = parse_reference(install, record.reference)
        if key is None or key not in rows:
            raise RuntimeError(f"the ledger accepted {record.reference}, of which the tables know no finished attempt")
        row = rows[key]
        attempts.append(Attempt(row["device_id"], record.at, row["gap"], row["claimed"], row["finished"]))
    return judge_fleet(attempts, begun, ended)
