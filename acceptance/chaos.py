"""`make acceptance-chaos`: campaign after campaign goes out while one kind of fault after the other is inflicted on it.

Every kind has campaigns of its own on one installation, so the ledger says of each kind what it lost and what it sent
twice. A figure is a number that must be 0, and how often a fault was really inflicted is a figure as well.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from random import Random

from acceptance import faults
from acceptance.faults import Fault
from acceptance.report import Found
from acceptance.verdict import Verdict, judge, whole
from acceptance.world import PATIENCE, Stuck, World, open_world
from bench.seeding import Fleet, launch, make_fleet
from fleetcast.domain.identifiers import CampaignId, DeviceId, WorkspaceId
from fleetcast.domain.pacing import Pace
from fleetcast.services.devices import remove_device

Tell = Callable[[str], None]

CAMPAIGN_SECONDS = 900.0
"""In which a campaign has to end once nothing is broken any more."""
NUDGED_AT_ONCE = 500
TRIES = 10
"""For each fault that is wanted: what is down already cannot be killed."""
ALWAYS_EXCUSED = ("retries_exhausted", "poison")
"""A row that ended certainly unsent and says so was not lost, however many deaths it took; they are in the details."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One kind of fault and what it is inflicted on. A campaign that ends too soon is followed by another."""

    name: str
    fault: Fault
    full: int
    """How often."""
    quick: int
    devices: int = 150
    leads: int = 6_000
    quick_leads: int = 800
    pace: Pace = field(default_factory=lambda: Pace(0.2, 1.0))
    rest: tuple[float, float] = (0.2, 1.0)
    """Seconds between two, drawn."""
    excused: Collection[str] = ()
    within: float = 0.0
    """Seconds in which messages go out again after each; 0 where nothing is promised or nothing is left to go out."""
    clock: bool = False
    """Whether times in the tables are no times any more: paces are not judged by them."""


async def remove_a_device(world: World, random: Random) -> int:
    """A device is removed while nearly all of its messages wait."""
    planned = "SELECT planned_at IS NOT NULL FROM campaigns ORDER BY id DESC LIMIT 1"
    await world.until(lambda: world.ask(planned), "all of them wait", PATIENCE)  # type: ignore[arg-type,return-value]
    async with world.runtime.db.connection() as connection:
        row = await connection.fetchrow("SELECT id, workspace_id FROM devices ORDER BY id DESC LIMIT 1")
    assert row is not None
    await remove_device(world.runtime, WorkspaceId(row["workspace_id"]), DeviceId(row["id"]), actor="acceptance")
    return 1


PROOFS = (
    Proof("kill", faults.kill, 500, 20, devices=1_000, leads=200_000, quick_leads=4_000, pace=Pace(0.5, 1.5)),
    Proof("redis_killed", faults.kill_redis, 20, 2, within=10),
    Proof("redis_emptied", faults.empty_redis, 20, 3, within=10),
    Proof("postgres_fast", faults.postgres_fast, 10, 1, within=15),
    Proof("postgres_immediate", faults.postgres_immediate, 10, 2, within=15),
    Proof("cut", faults.cut, 30, 4, within=15),
    Proof("half_open", faults.half_open, 8, 1, within=20),  # found by silence alone: two waits in a row
    Proof("slow", faults.slow, 10, 1, within=15),
    Proof("zombie", faults.zombie, 50, 4, within=15),
    Proof("restart", faults.restart, 50, 6, within=15),
    Proof("stop_race", faults.stop_words, 1_000, 60, excused=("opt_out",), rest=(0.0, 0.3)),
    Proof(
        "device_removed",
        remove_a_device,
        1,
        1,
        devices=1,
        leads=100_000,
        quick_leads=10_000,
        pace=Pace(0.05, 0.2),
        excused=("device_removed",),
    ),
    Proof("clock", faults.move_clock, 30, 4, clock=True),
)
"""In this order; the clock comes last, for afterwards no time in the tables is a time."""


async def run(seed: int, quick: bool, tell: Tell, only: Collection[str] = ()) -> Found:
    """All proofs, or `only` those; the same seed draws the same faults in the same order."""
    found = Found()
    async with open_world() as world:
        found.versions = world.versions
        for proof in PROOFS:
            if not only or proof.name in only:
                await _prove(world, proof, Random(f"{seed} {proof.name}"), quick, tell, found)
        restarts, unclean, traces = dict(world.restarts), world.unclean, world.traces()
    found.details |= {"restarts": restarts, "traces_in_logs": traces, "unclean_stops": unclean}
    found.add("unclean_stops", len(unclean), "count", 0, "Parts that did not end in order within 30 s of SIGTERM.")
    return found


async def _prove(world: World, proof: Proof, random: Random, quick: bool, tell: Tell, found: Found) -> None:
    wanted = proof.quick if quick else proof.full
    leads = proof.quick_leads if quick else proof.leads
    devices = min(proof.devices, max(1, leads // 20)) if quick else proof.devices
    begun, inflicted, waits, stuck = time.monotonic(), 0, [0.0], ""
    fleet = Fleet(devices, leads, proof.pace, random.randrange(2**31), "connecting", even=True, name=proof.name)
    workspace = await make_fleet(world.runtime, fleet)
    campaigns: list[CampaignId] = []
    try:
        await _nudge(world, workspace)
        for _ in range(TRIES * wanted):
            if inflicted >= wanted:
                break
            if not campaigns or await _nearly_done(world, campaigns[-1], leads):
                campaigns.append(await launch(world.runtime, workspace, f"{proof.name} {len(campaigns) + 1}"))
                await world.goes_on()
            inflicted += await proof.fault(world, random)
            if proof.within:
                if await _nearly_done(
                    world, campaigns[-1], leads
                ):  # it went on, and there is nothing left to see it by
                    campaigns.append(await launch(world.runtime, workspace, f"{proof.name} {len(campaigns) + 1}"))
                waits.append(await world.goes_on(devices + 10))  # more than can be under way already
            if inflicted % 10 == 0:
                tell(f"{proof.name}: {inflicted} of {wanted}, slowest return {max(waits):.1f} s")
            await asyncio.sleep(random.uniform(*proof.rest))
        tell(f"{proof.name}: {inflicted} inflicted, waiting for the end of {len(campaigns)} campaigns ...")
        await _hurry(world, workspace)
        await world.until(lambda: _ended(world, campaigns), "its campaigns end", CAMPAIGN_SECONDS)
    except Stuck as error:
        stuck = str(error)
    verdict = await judge(world.runtime, world.ledger, campaigns, (*proof.excused, *ALWAYS_EXCUSED))
    wrong = await whole(world.runtime, world.ledger, without={6, 7, 10} if proof.clock else ())
    wrong = [line for line in wrong if line not in found.known]
    found.known.update(wrong)
    if stuck:
        wrong.append(stuck)
    _note(found, proof, verdict, inflicted, wanted, wrong)
    if proof.within:
        method = "Longest time from the end of the fault until more were accepted than can have been under way."
        found.add(f"slowest_return_{proof.name}", round(max(waits), 1), "s", proof.within, method)
    took = time.monotonic() - begun
    found.details[proof.name] = {
        "took_s": round(took, 1),
        "messages": verdict.messages,
        "campaigns": len(campaigns),
        "by_status": dict(verdict.by_status),
        "slowest_return_s": round(max(waits), 1),
        "wrong": wrong + verdict.names,
    }
    tell(
        f"{proof.name}: {inflicted} x over {verdict.messages:,} messages in {took:.0f} s; lost {verdict.lost}, "
        f"twice {verdict.duplicates}, slowest return {max(waits):.1f} s"
    )
    for line in (*wrong, *verdict.names):
        tell(f"  WRONG: {line}")


def _note(found: Found, proof: Proof, verdict: Verdict, inflicted: int, wanted: int, wrong: list[str]) -> None:
    name, what = proof.name, (proof.fault.__doc__ or "").split("\n", 1)[0]
    over = f"{what} Judged by the simulator's ledger over {verdict.messages:,} messages."
    found.add(f"duplicates_{name}", verdict.duplicates, "messages", 0, f"Accepted more than once. {over}")
    found.add(f"lost_{name}", verdict.lost, "messages", 0, f"Never accepted, or not as the row says. {over}")
    found.add(f"inflicted_{name}", inflicted, "times", wanted, what)
    found.add(
        f"broken_{name}",
        len(wrong) + verdict.counts_off,
        "promises",
        0,
        "Invariants that the database breaks afterwards, campaigns whose counts do not add up or that did not end.",
    )


async def _hurry(world: World, workspace: WorkspaceId) -> None:
    """Nothing is broken any more: what is left goes out as fast as it can."""
    await world.execute("UPDATE devices SET min_delay = 0, max_delay = 0 WHERE workspace_id = $1", workspace)
    await _tell_owners(world, workspace)


async def _tell_owners(world: World, workspace: WorkspaceId) -> None:
    ids = await world.ask("SELECT array_agg(id) FROM devices WHERE workspace_id = $1", workspace)
    assert isinstance(ids, list)
    for start in range(0, len(ids), NUDGED_AT_ONCE):
        await world.runtime.nudges.devices(*ids[start : start + NUDGED_AT_ONCE])


async def _nudge(world: World, workspace: WorkspaceId) -> None:
    """Bring the devices online."""

    async def online() -> bool:
        await _tell_owners(world, workspace)
        await asyncio.sleep(0.5)
        return not await world.ask("SELECT count(*) FROM devices WHERE workspace_id = $1 AND NOT is_ready", workspace)

    await world.until(online, "the devices are online", PATIENCE)


async def _nearly_done(world: World, campaign: CampaignId, leads: int) -> bool:
    if await world.ask("SELECT planned_at IS NULL FROM campaigns WHERE id = $1", campaign):
        return False  # what is not planned yet is not counted yet
    open_rows = await world.ask(
        """SELECT coalesce(sum(n), $2)::bigint FROM campaign_tallies
        WHERE campaign_id = $1 AND counter IN ('pending', 'queued')""",
        campaign,
        leads,
    )
    assert isinstance(open_rows, int)
    return open_rows < leads // 4


async def _ended(world: World, campaigns: list[CampaignId]) -> bool:
    await asyncio.sleep(0.5)
    await world.hasten()
    return not await world.ask("SELECT count(*) FROM campaigns WHERE id = ANY ($1) AND ended_at IS NULL", campaigns)
