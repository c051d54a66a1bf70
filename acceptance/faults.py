"""The faults: each breaks one thing once, at a moment that the seed draws, and leaves it mended or about to mend.

A fault returns how often it was really inflicted: a process that was already down cannot be killed.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

from acceptance.world import LEASE_SECONDS, POSTGRES, VALKEY, World
from fleetcast.domain.identifiers import DeviceId, Phone
from fleetcast.errors import FleetcastError
from fleetcast.transports.simulator.control import SimulatorControl

Fault = Callable[[World, Random], Awaitable[int]]

SERVERS_SHARE = 0.06
"""Share of random kills that meet PostgreSQL, whose recovery takes seconds; all others are equally likely."""
STOPS_AT_ONCE = 40
BACK_SECONDS = 120.0
"""In which a server has to be back, with its recovery."""

_NEXT = """
SELECT b.device_id, b.recipient FROM broadcast_messages b
WHERE b.campaign_id = (SELECT max(id) FROM campaigns) AND b.is_open AND b.status IN ('queued', 'sending')
  AND NOT EXISTS (SELECT FROM suppressions s WHERE s.workspace_id = b.workspace_id AND s.recipient = b.recipient)
ORDER BY b.device_id, b.status DESC, b.id"""


async def kill(world: World, random: Random) -> int:
    """`kill -9` of any process; sometimes of a second one that is just mending itself."""
    names = [name for name in world.names() if name != POSTGRES]
    name = POSTGRES if random.random() < SERVERS_SHARE else random.choice(names)
    done = int(world.signal(name, signal.SIGKILL))
    await asyncio.sleep(random.uniform(0.05, 0.7))
    return done


async def kill_redis(world: World, random: Random) -> int:
    """`kill -9` of Valkey, which comes back empty."""
    return await _lose(world, VALKEY, signal.SIGKILL)


async def empty_redis(world: World, random: Random) -> int:
    """Everything in Valkey is gone."""
    await world.empty_redis()
    return 1


async def postgres_fast(world: World, random: Random) -> int:
    """PostgreSQL is stopped as by `pg_ctl stop -m fast`, and comes back."""
    return await _lose(world, POSTGRES, signal.SIGINT)


async def postgres_immediate(world: World, random: Random) -> int:
    """As by `-m immediate`: it recovers from its log."""
    return await _lose(world, POSTGRES, signal.SIGQUIT)


async def _lose(world: World, server: str, number: signal.Signals) -> int:
    """Until it is back: how long others take from then on is what is measured."""
    before = world.restarts.total()
    if not world.signal(server, number):
        return 0
    await world.until(lambda: world.restarts.total() > before, f"{server} is back", BACK_SECONDS)
    return 1


async def cut(world: World, random: Random) -> int:
    """Every connection to one of the servers is reset, several times within a second."""
    network = random.choice((world.postgres, world.postgres, world.redis))
    done = 0
    for _ in range(random.randint(1, 4)):
        done += network.cut()
        await asyncio.sleep(random.uniform(0.0, 0.3))
    return int(done > 0)


async def half_open(world: World, random: Random) -> int:
    """What is connected to PostgreSQL, or to both servers, never hears from them again, and is heard by them."""
    if random.random() < 0.5:
        world.redis.half_open()
    return int(world.postgres.half_open() > 0)


async def slow(world: World, random: Random) -> int:
    """The network to both servers is slow for a while."""
    for network in (world.postgres, world.redis):
        network.slow(random.uniform(0.05, 0.5))
    await asyncio.sleep(random.uniform(1.0, 4.0))
    for network in (world.postgres, world.redis):
        network.go_on()
    return 1


async def zombie(world: World, random: Random) -> int:
    """A sender's time stands still until others have its shards; then it goes on as if nothing had been."""
    name = random.choice([name for name in world.parts if name.startswith("sender")])
    if not world.signal(name, signal.SIGSTOP):
        return 0
    await asyncio.sleep(random.uniform(1.2, 2.0) * LEASE_SECONDS)
    world.signal(name, signal.SIGCONT)
    return 1


async def restart(world: World, random: Random) -> int:
    """A part is asked to stop, and started again."""
    name = random.choice(list(world.parts))
    child = world.parts[name]
    if not world.signal(name, signal.SIGTERM):
        return 0
    await world.ended(name, child)
    return 1


async def move_clock(world: World, random: Random) -> int:
    """The database's clock jumps forward by up to two hours, and a moment later most of the way back."""
    forward = random.uniform(600, 7200)
    for jump in (forward, -random.uniform(0.5, 0.95) * forward):
        await world.execute("UPDATE installation SET clock_offset = clock_offset + make_interval(secs => $1)", jump)
        await asyncio.sleep(random.uniform(0.3, 1.5))
    return 1


async def stop_words(world: World, random: Random) -> int:
    """People whose message is just about to leave say STOP, many at the same time."""
    async with world.runtime.db.connection() as connection:
        rows = await connection.fetch(_NEXT, timeout=60)
    first = list({row["device_id"]: row["recipient"] for row in rows}.items())
    chosen = random.sample(first, min(len(first), STOPS_AT_ONCE))

    async def say(simulator: SimulatorControl, device: int, person: str) -> int:
        await asyncio.sleep(random.uniform(0.0, 0.3))
        with suppress(FleetcastError):
            await simulator.reply(DeviceId(device), Phone(person), random.choice(("STOP", "Stop", "unsubscribe")))
            return 1
        return 0

    async with SimulatorControl(world.simulator.socket) as simulator:
        return sum(await asyncio.gather(*(say(simulator, *who) for who in chosen)))
