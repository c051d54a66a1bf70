"""page_p95_ms, api_p95_ms: every page and every GET of the API on the state of a large install, while it is sending.

A campaign of its own goes out at a human pace meanwhile, so that what is read also changes. Each address is asked for
equally often, in an order and with parameters that are drawn; one request at a time, each on a new connection.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from random import Random

from PIL import Image

from bench.asked import LEFT_OUT, Ask, Pool, everything
from bench.browsers import HOST, Door, visit
from bench.figures import judge, percentile
from bench.outcome import Order, Outcome
from bench.seeding import ACTOR, plan
from bench.sending import until_ready
from bench.stage import Parts, Stage, stage, until
from bench.state import LargeState, make_state
from fleetcast.cli.session import runner
from fleetcast.domain.access import Role, Scope
from fleetcast.domain.bulk_edit import EditAction
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.services import bulk_edits, media
from fleetcast.services.accounts import keys, membership
from fleetcast.services.accounts.people import first_owner
from fleetcast.services.accounts.sign_in import Browser, sign_in
from fleetcast.services.campaign_actions import launch_campaign, pause_campaign, resume_campaign
from fleetcast.services.campaigns import create_campaign
from fleetcast.services.paging import LAST_ID
from fleetcast.store.connection import Connection
from fleetcast.store.invariants import broken_invariants
from fleetcast.web.address import free_port

SLOWEST = 10
"""Addresses that the report names."""
DRAWN = 500
"""Things of a kind from which parameters are drawn."""
BODY = "Hello {{ name }}, your order {{ order_no }} is ready to be collected."

POOL: Mapping[str, str] = {
    "campaign_id": "SELECT id FROM campaigns WHERE workspace_id = $1 AND status = 'finished' ORDER BY random()",
    "paused": "SELECT id FROM campaigns WHERE workspace_id = $1 AND status = 'paused'",
    "device_id": "SELECT id FROM devices WHERE workspace_id = $1 ORDER BY random()",
    "lead_id": "SELECT id FROM leads TABLESAMPLE system (1) WHERE workspace_id = $1 AND deleted_at IS NULL "
    "UNION ALL (SELECT id FROM leads WHERE workspace_id = $1 AND deleted_at IS NULL ORDER BY id LIMIT 5)",
    "phone": "SELECT phone FROM leads TABLESAMPLE system (1) WHERE workspace_id = $1 AND deleted_at IS NULL "
    "UNION ALL (SELECT phone FROM leads WHERE workspace_id = $1 AND deleted_at IS NULL ORDER BY id LIMIT 5)",
    "message_id": "SELECT id FROM broadcast_messages TABLESAMPLE system (0.1) WHERE workspace_id = $1 "
    "UNION ALL (SELECT max(id) FROM broadcast_messages WHERE workspace_id = $1)",
    "import_id": "SELECT id FROM lead_imports WHERE workspace_id = $1",
    "edit_id": "SELECT id FROM bulk_edits WHERE workspace_id = $1",
    "audit_id": "SELECT id FROM audit WHERE workspace_id = $1 ORDER BY random()",
    "sequence_id": "SELECT min(id) FROM sequences WHERE workspace_id = $1",
    "step_id": "SELECT s.id FROM sequence_steps s JOIN sequences q ON q.id = s.sequence_id WHERE q.workspace_id = $1 "
    "ORDER BY q.id, s.position LIMIT 2",
    "enrolment_id": "SELECT id FROM enrolments TABLESAMPLE system (1) WHERE workspace_id = $1 "
    "UNION ALL (SELECT max(id) FROM enrolments WHERE workspace_id = $1)",
    "number": "SELECT recipient FROM suppressions WHERE workspace_id = $1 ORDER BY random()",
    "user_id": "SELECT user_id FROM members WHERE workspace_id = $1",
    "sha256": "SELECT sha256 FROM media WHERE workspace_id = $1",
    "invitation_id": "SELECT id FROM invitations WHERE workspace_id = $1 AND ended_at IS NULL",
    "key_id": "SELECT id FROM api_keys WHERE workspace_id = $1",
}
"""By the name of a parameter; $1 is the workspace."""


def run(order: Order) -> Outcome:
    """Make the state, let a campaign go, and ask for everything."""
    with stage({"shared_buffers": order.scale.pages_buffers}) as play:
        port = free_port(play.settings.model_copy(update={"port": 0}))
        outcome = runner(_run(replace(play, settings=play.settings.model_copy(update={"port": port})), order))
    outcome.postgres_settings, outcome.servers = play.postgres_settings, play.versions
    return outcome


async def _run(play: Stage, order: Order) -> Outcome:
    async with open_runtime(play.settings) as runtime:
        owner = await first_owner(runtime)
        assert owner is not None
        assert owner.password is not None
        made = await make_state(runtime, order.scale.state, order.seed, order.tell)
        order.tell("a campaign that goes out ...")
        running = await _campaign(runtime, made.workspace)
        token = (await sign_in(runtime, owner.email, owner.password, Browser("benchmark", HOST))).token
        key = await keys.create_key(runtime, made.workspace, "bench", set(Scope), actor=ACTOR)
        pool = await fill_pool(runtime, made, running)
        async with runtime.db.connection() as connection:
            return await measure(play, order, runtime, connection, pool, made.workspace, running, token, key.token)


async def measure(
    play: Stage,
    order: Order,
    runtime: Runtime,
    connection: Connection,
    pool: Pool,
    workspace: WorkspaceId,
    running: CampaignId,
    token: str,
    key: str,
) -> Outcome:
    """Start the parts, let the campaign go, ask, and look whether every promise still holds."""
    with Parts(play, "sender", "scheduler", "web", more={"FLEETCAST_API_REQUESTS_A_MINUTE": "1000000"}) as parts:
        await until_ready(connection, parts, order.scale.moment)
        person, program = Door(play.settings.port, token), Door(play.settings.port, key=key)
        await until(lambda: _answers(person), "the dashboard answers", seconds=60, parts=parts)
        await resume_campaign(runtime, workspace, running, actor=ACTOR)
        running_now = await connection.fetch("SELECT name FROM processes")
        pool = dict(pool) | {"process": [row["name"] for row in running_now]}
        skipped = [ask.name for ask in everything() if ask.lacks(pool)]
        asks = [ask for ask in everything() if ask.name not in skipped]
        order.tell(f"{len(asks)} addresses, {order.scale.asked} times each ...")
        times = await ask_for_all(asks, order, workspace, pool, person, program, parts)
        sent = await connection.fetchval(
            "SELECT coalesce(sum(n), 0)::bigint FROM campaign_tallies WHERE campaign_id = $1 AND counter = 'sent'",
            running,
        )
    order.tell("judging ...")
    broken = [f"{v.invariant}: {v.subject} {v.what}" for v in await broken_invariants(connection)]
    if broken:
        raise RuntimeError(f"promises were broken: {'; '.join(broken[:5])}")
    return judged(times, order, sent, skipped)


async def ask_for_all(
    asks: list[Ask],
    order: Order,
    workspace: WorkspaceId,
    pool: Pool,
    person: Door,
    program: Door,
    parts: Parts,
) -> dict[str, list[float]]:
    """Milliseconds of each answer, by what was asked for. The first round is a rehearsal."""
    random = Random(order.seed)
    times: dict[str, list[float]] = {ask.name: [] for ask in asks}
    for number in range(order.scale.asked + 1):
        parts.check()
        random.shuffle(asks)
        for ask in asks:
            path = ask.path(pool, random)
            if not ask.of_api:
                path += f"{'&' if '?' in path else '?'}workspace={workspace}"
            seen = await visit(program if ask.of_api else person, path, b"")
            if number:
                times[ask.name].append(seen.seconds * 1000)
            await asyncio.sleep(0.002)
    return times


def judged(times: dict[str, list[float]], order: Order, sent: int, skipped: list[str]) -> Outcome:
    """The figures, and the slowest addresses by name."""
    asks = [Ask(name) for name in times]
    pages = [ms for ask in asks if not ask.of_api for ms in times[ask.name]]
    api = [ms for ask in asks if ask.of_api for ms in times[ask.name]]
    state = order.scale.state

    def slowest(*, of_api: bool) -> list[dict[str, object]]:
        named = [
            {
                "name": ask.name,
                "p50_ms": round(percentile(times[ask.name], 0.5), 1),
                "p95_ms": round(percentile(times[ask.name], 0.95), 1),
                "max_ms": round(max(times[ask.name]), 1),
            }
            for ask in asks
            if ask.of_api is of_api
        ]
        return sorted(named, key=lambda n: -float(str(n["p95_ms"])))[:SLOWEST]

    return Outcome(
        [judge("page_p95_ms", percentile(pages, 0.95)), judge("api_p95_ms", percentile(api, 0.95))],
        {
            "stored": {name: getattr(state, name) for name in ("devices", "leads", "messages", "campaigns")},
            "addresses": len(asks),
            "asked": len(pages) + len(api),
            "page_ms": {share: round(percentile(pages, float(share)), 1) for share in ("0.5", "0.95", "0.99")},
            "api_ms": {share: round(percentile(api, float(share)), 1) for share in ("0.5", "0.95", "0.99")},
            "slowest_pages": slowest(of_api=False),
            "slowest_api": slowest(of_api=True),
            "sent_meanwhile": sent,
            "not_asked": skipped,
            "left_out": dict(LEFT_OUT),
        },
    )


async def _campaign(runtime: Runtime, workspace: WorkspaceId) -> CampaignId:
    """One to a part of the leads, planned and held."""
    audience = {"body": BODY, "niches": ["beauty"], "target_status": "customer"}
    made = await create_campaign(runtime, workspace, {"title": "Now", "schedule": "now", **audience}, actor=ACTOR)  # type: ignore[typeddict-item]
    await launch_campaign(runtime, workspace, made.id, actor=ACTOR)
    await plan(runtime)
    await pause_campaign(runtime, workspace, made.id, actor=ACTOR)
    return made.id


async def fill_pool(runtime: Runtime, made: LargeState, running: CampaignId) -> Pool:
    """Things of the large workspace under the names of parameters, one of each kind made where the state has none."""
    image = BytesIO()
    Image.new("RGB", (40, 40), (7, 7, 7)).save(image, "PNG")
    await media.from_bytes(runtime, made.workspace, image.getvalue(), "offer.png")
    await bulk_edits.change_leads(
        runtime,
        made.workspace,
        LeadFilter(niche="collectors"),
        EditAction.ADD_NICHE,
        {"niche": "chosen"},
        confirmed=LAST_ID,
        actor=ACTOR,
    )
    await membership.invite(runtime, made.workspace, "new@example.org", Role.VIEWER, actor=ACTOR)
    now = runtime.clock.now()
    pool: dict[str, list[str]] = {
        "largest": [str(made.largest_campaign)],
        "running": [str(running)],
        "since": [(now - timedelta(days=days)).isoformat() for days in (2, 30, 90)],
        "until": [(now - timedelta(days=days)).isoformat() for days in (0, 1)],
    }
    async with runtime.db.connection() as connection:
        for name, statement in POOL.items():
            rows = await connection.fetch(f"{statement} LIMIT {DRAWN}", made.workspace, timeout=300)
            pool[name] = [str(row[0]) for row in rows if row[0] is not None]
    return pool


async def _answers(door: Door) -> bool:
    try:
        return bool(await visit(door, "/ready", b'"ready"'))
    except (OSError, RuntimeError):
        return False
