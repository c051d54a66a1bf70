"""page_under_load_p95_ms, page_events_per_s, page_event_gap_p99_s: the live page beside a pipeline at full speed."""

import asyncio
import time
from dataclasses import dataclass, field, replace

from bench.browsers import HOST, Door, Stream, Visit, hanging, listening, visit
from bench.figures import judge, percentile
from bench.outcome import Order, Outcome
from bench.seeding import ACTOR, Fleet, make_fleet, plan_and_hold
from bench.sending import until_ready
from bench.stage import Parts, Stage, stage, until
from fleetcast.cli.session import runner
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.domain.pacing import Pace
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.services.accounts.people import first_owner
from fleetcast.services.accounts.sign_in import Browser, sign_in
from fleetcast.services.campaign_actions import resume_campaign
from fleetcast.store.connection import Connection
from fleetcast.store.invariants import broken_invariants
from fleetcast.web.address import free_port

LISTENING = 20
"""Browsers that have the page open and read."""
HANGING = 3
"""Browsers that have it open and do not."""
EVERY = 0.1
"""Seconds between two requests of the page."""
REHEARSALS = 10
"""Requests before the campaign is let go: templates and connections are made by then."""
LEAST_SECONDS = 4.0
"""Watched even where the campaign is over sooner, so that there is something between two events."""
SLOWEST = 1_000.0
"""Messages a second below which the run is given up."""

_SENT = "SELECT coalesce(sum(n), 0)::bigint FROM campaign_tallies WHERE campaign_id = $1 AND counter = 'sent'"

_VERIFY = """
SELECT (SELECT count(*) FROM broadcast_messages) AS rows,
  (SELECT count(*) FROM broadcast_messages WHERE status = 'sent') AS sent,
  (SELECT count(*) FROM message_attempts) AS attempts,
  extract(epoch FROM (SELECT max(finished_at) FROM broadcast_messages)
    - (SELECT min(started_at) FROM message_attempts))::float8 AS seconds"""


@dataclass(slots=True)
class Watched:
    """What was seen from the release of the campaign to its last message."""

    begun: float
    ended: float = 0.0
    visits: list[Visit] = field(default_factory=list)
    rehearsed: list[Visit] = field(default_factory=list)
    cores: dict[str, float] = field(default_factory=dict)
    memory: list[int] = field(default_factory=list)
    """Proportional set size of the web process, each second."""


def run(order: Order) -> Outcome:
    """Plan, start the real parts with the dashboard, open the browsers, let the campaign go, and look on."""
    with stage({"shared_buffers": order.scale.shared_buffers}) as play:
        port = free_port(play.settings.model_copy(update={"port": 0}))
        outcome = runner(_run(replace(play, settings=play.settings.model_copy(update={"port": port})), order))
    outcome.postgres_settings, outcome.servers = play.postgres_settings, play.versions
    return outcome


async def _run(play: Stage, order: Order) -> Outcome:
    scale, tell = order.scale, order.tell
    async with open_runtime(play.settings) as runtime:
        tell(f"{scale.page_rows:,} leads on {scale.devices:,} devices ...")
        workspace = await make_fleet(runtime, Fleet(scale.devices, scale.page_rows, Pace(0, 0), order.seed))
        tell("planning ...")
        campaign = await plan_and_hold(runtime, workspace)
        door, events = Door(play.settings.port, await _session(runtime)), f"/events?workspace={workspace}"
        async with runtime.db.connection() as connection:
            with Parts(play, "sender", "scheduler", "web") as parts:
                await until_ready(connection, parts, order.scale.moment)
                await until(lambda: _answers(door), "the dashboard answers", seconds=60, parts=parts)
                async with hanging(door, events, HANGING), listening(door, events, LISTENING) as streams:
                    await until(lambda: _all_hear(streams), "every browser hears something", seconds=60, parts=parts)
                    tell(f"sending, with {LISTENING} browsers that read, {HANGING} that hang, and one that reloads ...")
                    watched = await _watch(play, door, runtime, connection, parts, workspace, campaign, scale.page_rows)
            tell("judging ...")
            row = await connection.fetchrow(_VERIFY, timeout=300)
            assert row is not None
            if not row["rows"] == row["sent"] == row["attempts"] == scale.page_rows:
                raise RuntimeError(f"{scale.page_rows} rows were planned, but in the tables there are {dict(row)}")
            broken = [f"{v.invariant}: {v.subject} {v.what}" for v in await broken_invariants(connection)]
            if broken:
                raise RuntimeError(f"promises were broken: {'; '.join(broken[:5])}")
    return _judged(watched, streams, row["rows"], row["seconds"])


async def _session(runtime: Runtime) -> str:
    """The owner of everything, signed in as at the form."""
    owner = await first_owner(runtime)
    assert owner is not None
    assert owner.password is not None
    return (await sign_in(runtime, owner.email, owner.password, Browser("benchmark", HOST))).token


async def _answers(door: Door) -> bool:
    try:
        return bool(await visit(door, "/ready", b'"ready"'))
    except (OSError, RuntimeError):
        return False


async def _all_hear(streams: list[Stream]) -> bool:
    return all(stream.heard for stream in streams)


async def _watch(
    play: Stage,
    door: Door,
    runtime: Runtime,
    connection: Connection,
    parts: Parts,
    workspace: WorkspaceId,
    campaign: CampaignId,
    total: int,
) -> Watched:
    over = asyncio.Event()
    rehearsed = [await visit(door, "/", b"Going out now") for _ in range(REHEARSALS)]
    before = play.cpu() | parts.cpu()
    await resume_campaign(runtime, workspace, campaign, actor=ACTOR)
    watched = Watched(begun=time.monotonic(), rehearsed=rehearsed)
    async with asyncio.TaskGroup() as group:
        group.create_task(_reload(door, over, watched.visits), name="reloading browser")
        group.create_task(_weigh(parts, over, watched.memory), name="memory of the dashboard")
        try:
            await until(
                lambda: _sent(connection, campaign, total),
                "every message is sent",
                seconds=60 + total / SLOWEST,
                every=0.25,
                parts=parts,
            )
            await asyncio.sleep(watched.begun + LEAST_SECONDS - time.monotonic())
        finally:
            over.set()
        watched.ended = time.monotonic()
        after = play.cpu() | parts.cpu()
    watched.cores = {name: (after[name] - before[name]) / (watched.ended - watched.begun) for name in after}
    return watched


async def _sent(connection: Connection, campaign: CampaignId, total: int) -> bool:
    return bool(await connection.fetchval(_SENT, campaign) >= total)


async def _reload(door: Door, over: asyncio.Event, visits: list[Visit]) -> None:
    """One request after the other, each begun a tenth of a second after the one before or as soon as that is over."""
    while not over.is_set():
        visits.append(await visit(door, "/", b"Going out now"))
        await asyncio.sleep(max(0.0, EVERY - visits[-1].seconds))


async def _weigh(parts: Parts, over: asyncio.Event, memory: list[int]) -> None:
    while not over.is_set():
        memory.append(parts.memory("web"))
        await asyncio.sleep(1.0)


def _judged(watched: Watched, streams: list[Stream], rows: int, seconds: float) -> Outcome:
    begun, ended = watched.begun, watched.ended
    pages = [v.seconds * 1000 for v in watched.visits]
    sizes = [size for stream in streams for size in stream.between(begun, ended)]
    waits = [wait for stream in streams for wait in stream.waits(begun, ended)]
    return Outcome(
        [
            judge("page_under_load_p95_ms", percentile(pages, 0.95)),
            judge("page_events_per_s", len(sizes) / (ended - begun) / len(streams)),
            judge("page_event_gap_p99_s", percentile(waits, 0.99)),
        ],
        {
            "rows": rows,
            "watched_s": round(ended - begun, 1),
            "messages_per_s": round(rows / seconds),
            "pages": len(pages),
            "page_ms": {
                "p50": round(percentile(pages, 0.5), 1),
                "p95": round(percentile(pages, 0.95), 1),
                "p99": round(percentile(pages, 0.99), 1),
                "max": round(max(pages), 1),
                "p50_while_nothing_goes_out": round(percentile([v.seconds * 1000 for v in watched.rehearsed], 0.5), 1),
            },
            "page_bytes": max(v.size for v in watched.visits),
            "events": len(sizes),
            "event_bytes": round(sum(sizes) / max(1, len(sizes))),
            "event_gap_s": {"p50": round(percentile(waits, 0.5), 3), "max": round(max(waits), 3)},
            "browsers": {"listening": len(streams), "hanging": HANGING},
            "cores_used": {name: round(share, 3) for name, share in watched.cores.items()},
            "web_memory_mb": round(max(watched.memory) / 1e6, 1),
        },
    )
