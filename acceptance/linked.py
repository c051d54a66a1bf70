"""`make acceptance-linked`: thousands of real sessions on one machine, against a local server that reads every message.

The client library and the wire protocol are real; WhatsApp's server and the phones are the testbed's. All devices
connect, rest, connect again after the server was away, and send a campaign while a process that holds two hundred of
them is killed every few seconds. What was in doubt at the end is settled an hour later by the database's clock.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from acceptance.linked_world import LinkedWorld, make_devices, make_leads, open_linked_world, pass_time
from acceptance.phones import arrivals, judge, rows_of
from acceptance.report import Found
from bench import usage
from bench.seeding import launch
from fleetcast.domain.identifiers import CampaignId
from fleetcast.domain.pacing import Pace
from fleetcast.store.invariants import broken_invariants

Tell = Callable[[str], None]

_WAITING = "SELECT count(*) FROM broadcast_messages WHERE campaign_id = $1 AND is_open AND status <> 'in_doubt'"
_SENDING = "SELECT count(*) FROM broadcast_messages WHERE campaign_id = $1 AND status = 'sending'"
_DOUBTFUL = "SELECT count(*) FROM broadcast_messages WHERE campaign_id = $1 AND status = 'in_doubt'"
_PLANNED = "SELECT (planned_at IS NOT NULL)::int FROM campaigns WHERE id = $1"
_RETRIED_IN = """
SELECT coalesce((SELECT ceil(extract(epoch FROM max(not_before) - fleetcast_now()))::int FROM broadcast_messages
  WHERE campaign_id = $1 AND is_open AND status <> 'in_doubt'
  HAVING bool_and(status = 'pending' AND not_before > fleetcast_now())), 0)"""
_ENDED = "SELECT (status = 'finished')::int FROM campaigns WHERE id = $1"
DOUBT_SECONDS = 3_700.0
"""More than the window of linked devices."""
BACK = 0.4
"""Share of the devices that is online when the next process is killed: some message has to go out in between."""
LEFT_ALONE = 0.03
"""Share of the messages that go out when no process is killed any more."""


@dataclass(frozen=True, slots=True)
class LinkedScale:
    """How large the fleet is, and how long everything takes at most."""

    devices: int
    each: int
    """Messages of a device."""
    pace: Pace
    kill_every: tuple[float, float]
    """Seconds between two kills of a child, drawn."""
    rest: float
    """Seconds in which it is measured what the fleet costs when it does nothing."""
    away: float
    """Seconds for which the server is gone."""
    connect_seconds: float
    send_seconds: float
    kills: int
    """At least so many have to come about."""
    per_process: int = 200
    """Devices that one child holds."""


FULL = LinkedScale(3_000, 4, Pace(20, 40), (3.0, 6.0), 60.0, 3.0, 900.0, 1_800.0, 20)
QUICK = LinkedScale(300, 4, Pace(4, 8), (3.0, 6.0), 10.0, 2.0, 300.0, 600.0, 5, per_process=50)
SMALL = LinkedScale(60, 4, Pace(1, 3), (1.0, 2.0), 1.0, 1.0, 120.0, 180.0, 3, per_process=10)


async def run(seed: int, scale: LinkedScale, tell: Tell) -> Found:
    """The whole proof."""
    found, random = Found(), Random(seed)
    async with open_linked_world(scale.per_process) as world:
        found.versions = world.versions
        tell(f"one device is paired by its QR code, {scale.devices - 1:,} sessions are made after it ...")
        begun = time.monotonic()
        workspace = await make_devices(world, scale.devices, scale.pace, seed)
        people = await make_leads(world, workspace, scale.each)
        tell(f"made in {time.monotonic() - begun:.0f} s; all connect ...")
        world.start("sender")
        connected = await _all_online(world, scale)
        tell(f"all online after {connected:.0f} s; nothing is sent for {scale.rest:g} s ...")
        memory, idle = await _at_rest(world, scale)
        tell("the server restarts ...")
        await world.control.restart(scale.away)
        again = await _all_online(world, scale)
        tell(f"all online again after {again:.1f} s; {people:,} messages ...")
        campaign = await launch(world.runtime, workspace, "Fleet")
        await world.until(lambda: _is(world, _PLANNED, campaign), "the campaign is planned", 300)
        begun, used = time.monotonic(), _cpu(world)
        kills = await _send_while_children_die(world, campaign, scale, random, tell)
        sending = time.monotonic() - begun
        busy = {name: (seconds - used.get(name, 0.0)) / sending for name, seconds in _cpu(world).items()}
        doubtful = await world.ask(_DOUBTFUL, campaign)
        tell(f"{kills} processes were killed; {doubtful} in doubt, an hour passes ...")
        await asyncio.to_thread(_let_settle, world)
        await pass_time(world, DOUBT_SECONDS)
        await world.until(lambda: _is(world, _ENDED, campaign), "the campaign ends", 300)
        reading = judge(await rows_of(world.runtime, campaign), arrivals(world.record), world.numbers)
        async with world.runtime.db.connection() as connection:
            broken = [f"{v.invariant}: {v.subject} {v.what}" for v in await broken_invariants(connection)]
        counts, traces = (await world.control.state()).counts, world.traces()
        unclean = [name for name in ("sender", "scheduler") if await asyncio.to_thread(world.stop, name) != 0]
    over = (
        f"{scale.devices:,} sessions of neonize, one paired by QR and the others made after its file; judged by what "
        f"simulated phones decrypted of {reading.messages:,} messages to as many people, a child killed every "
        f"{scale.kill_every[0]:g} to {scale.kill_every[1]:g} s."
    )
    found.add("duplicates_linked", reading.duplicates, "messages", 0, f"A person sees it more than once. {over}")
    found.add("lost_linked", reading.lost, "messages", 0, f"Sent and at no phone, or at a phone and unlisted. {over}")
    found.add("astray_linked", reading.astray, "messages", 0, "From another number, to nobody's row, or unreadable.")
    found.add("broken_linked", len(broken) + len(unclean), "promises", 0, "Invariants, and parts that end in disorder.")
    found.add(
        "inflicted_linked", kills, "times", scale.kills, "kill -9 of a process that holds sessions, while it sends."
    )
    if scale is FULL:  # the 44 MB that each process costs before its first device say nothing with a few
        method = "PSS of all child processes with every device online and at rest, by their number; without one, 0."
        found.add("linked_session_mb", round(memory / scale.devices / 2**20, 3), "MB", 1.3, method)
    found.details |= {
        "devices": scale.devices,
        "children": -(-scale.devices // scale.per_process),
        "connect_s": round(connected, 1),
        "reconnect_s": round(again, 1),
        "server_away_s": scale.away,
        "session_mb": round(memory / scale.devices / 2**20, 3),
        "cpu_share_at_rest": idle,
        "cpu_share_sending": {name: round(share, 3) for name, share in busy.items()},
        "messages": reading.messages,
        "messages_a_second": round(reading.messages / sending, 1),
        "sending_s": round(sending, 1),
        "by_status": dict(reading.by_status),
        "read_by_phones": reading.read,
        "arrived_unconfirmed": reading.arrived_unconfirmed,
        "same_message_again": reading.repeated,
        "in_doubt_at_the_end": doubtful,
        "kills": kills,
        "wrong": broken + reading.names + [f"{name} did not end in order" for name in unclean],
        "traces_in_logs": traces,
        "unknown_queries": {name: n for name, n in counts.items() if name.startswith("unknown")},
    }
    for line in found.details["wrong"]:  # type: ignore[attr-defined]
        tell(f"  WRONG: {line}")
    return found


async def _is(world: LinkedWorld, question: str, campaign: CampaignId) -> bool:
    return await world.ask(question, campaign) != 0


async def _all_online(world: LinkedWorld, scale: LinkedScale) -> float:
    async def all_are() -> bool:
        return await world.online() >= scale.devices

    return await world.until(all_are, f"{scale.devices:,} devices are online", scale.connect_seconds)


async def _at_rest(world: LinkedWorld, scale: LinkedScale) -> tuple[int, dict[str, float]]:
    """Bytes of all children, and shares of a core, while nothing is sent."""
    await asyncio.sleep(scale.rest / 3)  # logins end with things that are done in the background
    before, begun = _cpu(world), time.monotonic()
    await asyncio.sleep(scale.rest)
    took = time.monotonic() - begun
    idle = {name: round((seconds - before.get(name, 0.0)) / took, 3) for name, seconds in _cpu(world).items()}
    return usage.pss_bytes(world.children()), idle


def _cpu(world: LinkedWorld) -> dict[str, float]:
    """CPU seconds so far: of the sender with all its children, those that died too, and of the testbed."""
    sender, testbed = world.parts["sender"].pid, world.testbed.pid
    assert testbed is not None
    held = sum(usage.cpu_seconds(pid) for pid in world.children())
    return {"sender_and_children": held + usage.cpu_seconds(sender), "testbed": usage.cpu_seconds(testbed)}


async def _send_while_children_die(
    world: LinkedWorld, campaign: CampaignId, scale: LinkedScale, random: Random, tell: Tell
) -> int:
    """Until nothing waits any more; how many children were killed."""
    loop = asyncio.get_running_loop()
    end, kills, told = loop.time() + scale.send_seconds, 0, loop.time()
    while waiting := await world.ask(_WAITING, campaign):
        world.check()
        if loop.time() > end:
            raise TimeoutError(f"{waiting:,} messages still wait after {scale.send_seconds:g} s")
        if loop.time() > told + 30:
            told = loop.time()
            tell(f"{waiting:,} wait, {await world.online():,} online, {kills} killed")
        has_many = waiting > scale.devices * scale.each * LEFT_ALONE
        if has_many and (children := world.children()) and await world.online() >= scale.devices * BACK:
            kills += world.kill(random.choice(children))
        if wait := await world.ask(_RETRIED_IN, campaign):
            await pass_time(world, wait)  # all that is left waits for the time of another attempt
        await asyncio.sleep(random.uniform(*scale.kill_every))
    while await world.ask(_SENDING, campaign):  # noqa: ASYNC110 other processes give no signal
        await asyncio.sleep(0.2)
    return kills


def _let_settle(world: LinkedWorld) -> None:
    """Wait until the record has not grown for a while: receipts that are on their way are evidence."""
    size, quiet = -1, 0
    while quiet < 4:
        time.sleep(0.5)
        before, size = size, world.record.stat().st_size
        quiet = quiet + 1 if size == before else 0
