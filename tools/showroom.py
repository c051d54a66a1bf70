"""A workspace as it is on a busy Tuesday: what the pictures of the pages show.

Everything in it is made by the use cases that people use, and sent by the engine through the simulator. Names and
numbers are invented.
"""

import asyncio
import csv
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from random import Random

from fleetcast.domain.access import Role, Scope
from fleetcast.domain.bulk_edit import EditAction
from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import CampaignId, LeadId, WorkspaceId
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.engine.processes import run_scheduler, run_sender
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import keys, membership, people
from fleetcast.services.bulk_edits import change_leads
from fleetcast.services.campaign_actions import cancel_campaign, launch_campaign, pause_campaign
from fleetcast.services.campaign_fields import CampaignFields
from fleetcast.services.campaigns import create_campaign, show_campaign
from fleetcast.services.demo import EXAMPLE
from fleetcast.services.devices import Device, add_device, pause_device
from fleetcast.services.enrolments import enrol_people
from fleetcast.services.lead_import import import_leads
from fleetcast.services.sequence_actions import activate_sequence
from fleetcast.services.sequence_fields import StepFields
from fleetcast.services.sequence_reports import report_sequence
from fleetcast.services.sequence_steps import add_step
from fleetcast.services.sequences import create_sequence, show_sequence
from fleetcast.services.suppressions import add_suppression
from fleetcast.services.workspaces import Workspace, create_workspace
from fleetcast.transports.simulator.behaviour import SendOutcome
from fleetcast.transports.simulator.control import SimulatorControl
from fleetcast.transports.simulator.launch import SimulatorProcess

OWNER = "aisyah@kedaimaju.example"
ACTOR = f"user:{OWNER}"
BRANCHES = ("Ampang", "Bangsar", "Cheras", "Gombak", "Kajang", "Klang", "Puchong", "Subang Jaya")
PATIENCE = 120.0
BODY = """Hello {{ name | default: 'there' }}, our mid-year sale has begun: 20% off everything until Sunday.

Come by in {{ city | default: 'town' }}, or order at kedaimaju.example. Reply STOP and we will not write again."""
STEPS: tuple[StepFields, ...] = (
    {
        "after": "0m",
        "body": "Hello {{ name | default: 'there' }}, welcome to the club! Your card is at the counter.",
    },
    {"day": 1, "time": "09:00", "body": "Good morning {{ name }}! How was your *first class*?"},
    {"day": 3, "time": "18:30", "body": "Bring a friend on Saturday: reply YES and we keep two places for you."},
    {"day": 7, "time": "10:00", "body": "One week already. Which class comes next, {{ name | default: 'friend' }}?"},
)
BAD_ROWS = "Ravi,not a number,retail,,,,\nNoor,+60 12,food,,,,\nLiam,,food,,,,\n"


@dataclass(frozen=True, slots=True)
class Showroom:
    """A workspace in which everything goes on, an empty one beside it, and who may come in."""

    runtime: Runtime
    servers: EmbeddedServers
    workspace: Workspace
    empty: Workspace
    password: str
    """The owner's."""
    ids: dict[str, int | str]
    """Parameter of a page's address → what it names here."""
    invitation: str
    """Token of an open invitation."""
    stop: Callable[[], Awaitable[None]]
    """End the engine's processes, to show what pages say of it."""


@asynccontextmanager
async def showroom(runtime: Runtime, servers: EmbeddedServers, folder: Path) -> AsyncIterator[Showroom]:
    """Open for as long as the block runs; it takes about half a minute until enough has happened."""
    shop = await create_workspace(runtime, "Kedai Maju", time_zone="Asia/Kuala_Lumpur", region="MY")
    empty = await create_workspace(runtime, "Maju Events", time_zone="Asia/Kuala_Lumpur", region="MY")
    named = replace(runtime, settings=runtime.settings.model_copy(update={"owner_email": OWNER}))
    owner = await people.first_owner(named)
    assert owner is not None
    assert owner.password is not None
    ended = asyncio.Event()
    async with SimulatorProcess(
        runtime.simulator_socket, folder / "ledger.jsonl", profile="demo", log=folder / "simulator.log"
    ):
        parts = [
            # The scheduler may ask nobody what became of a message: doubts stay doubts, as on real devices.
            asyncio.create_task(run_scheduler(runtime, transports={}, stop=ended), name="scheduler"),
            asyncio.create_task(run_sender(runtime, stop=ended), name="sender"),
        ]

        async def stop() -> None:
            ended.set()
            await asyncio.gather(*parts)

        try:
            devices = await _devices(runtime, shop.id)
            imported = await _leads(runtime, shop.id, devices, folder)
            invitation, key = await _people(runtime, shop.id)
            async with SimulatorControl(runtime.simulator_socket) as control:
                await control.behave(replies=0.05, stop_replies=0.3)
                ids = await _sequences(runtime, shop.id)
                running, draft = await _campaigns(runtime, shop.id)
                await _mishaps(runtime, shop, devices, control)
            await _past(runtime, shop.id)
            ids |= await _ids(runtime, shop.id, running)
            ids |= {"draft_id": draft, "device_id": devices[0].id, "import_id": imported, "key_id": key}
            ids["edit_id"] = await _change_of_many(runtime, shop.id)
            yield Showroom(runtime, servers, shop, empty, owner.password, ids, invitation, stop)
        finally:
            await stop()


async def _past(runtime: Runtime, workspace: WorkspaceId) -> None:
    """What the last ninety days looked like: three times of sending on working days, little at weekends."""
    random = Random(7)
    async with runtime.db.connection() as connection:
        now = await connection.fetchval("SELECT date_bin('15 minutes', fleetcast_now(), '2000-01-01 00:00+00')")
        rows = []
        for n in range(1, 90 * 96):
            slot = now - n * timedelta(minutes=15)
            hour = (slot.hour + 8) % 24
            most = 900 if 10 <= hour < 12 else 600 if 15 <= hour < 17 else 1_300 if 19 <= hour < 21 else 0
            sent = int(most * random.uniform(0.6, 1.0) * (0.2 if slot.weekday() >= 5 else 1.0))
            if sent:
                share = random.uniform(0.005, 0.03)
                rows.append(
                    (workspace, slot, sent, int(sent * 0.93), int(sent * 0.55), int(sent * share), int(sent * 0.028))
                )
        await connection.executemany(
            "INSERT INTO workspace_history (workspace_id, slot, sent, delivered, read, failed, replied) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            rows,
        )


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - the engine gives no signal to outsiders
            await asyncio.sleep(0.1)


async def _devices(runtime: Runtime, workspace: WorkspaceId) -> list[Device]:
    names = [f"{branch} {n}" for branch in BRANCHES for n in (1, 2, 3)]
    made = [await add_device(runtime, workspace, name, min_delay=2, max_delay=6, actor=ACTOR) for name in names]
    async with runtime.db.connection() as connection:
        await connection.execute(
            "UPDATE devices SET phone = '+6019' || (7654000 + id * 37)::text WHERE workspace_id = $1", workspace
        )
    return made


async def _leads(runtime: Runtime, workspace: WorkspaceId, devices: list[Device], folder: Path) -> int:
    """Deal the example's people to the devices; the last file has rows that cannot be used. Returns its import."""
    with EXAMPLE.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    last = 0
    for n, device in enumerate(devices):
        path = folder / f"{device.name.lower().replace(' ', '-')}.csv"
        with path.open("w", newline="", encoding="utf-8") as part:
            csv.writer(part).writerows([header, *islice(rows, n, None, len(devices))])
            if device is devices[-1]:
                part.write(BAD_ROWS)
        report = await import_leads(
            runtime, workspace, device.id, path, consent_source="signed up at the counter, 2026", actor=ACTOR
        )
        last = report.import_id or 0
    return last


async def _people(runtime: Runtime, workspace: WorkspaceId) -> tuple[str, int]:
    """Members, an open invitation (its token is returned) and keys (the first one's id)."""
    for email, name, role in (
        ("farid@kedaimaju.example", "Farid Rahman", Role.OPERATOR),
        ("mei.ling@kedaimaju.example", "Mei Ling Tan", Role.OPERATOR),
        ("audit@steuer-und-partner.example", "", Role.VIEWER),
    ):
        await membership.add_member(runtime, workspace, email, name or email.partition("@")[0], role, actor=ACTOR)
    invited = await membership.invite(runtime, workspace, "ravi@kedaimaju.example", Role.VIEWER, actor=ACTOR)
    key = await keys.create_key(runtime, workspace, "shop export", {Scope.READ}, days=90, actor=ACTOR)
    old = await keys.create_key(runtime, workspace, "old till", set(Scope), actor=ACTOR)
    await keys.revoke_key(runtime, workspace, old.key.id, actor=ACTOR)
    return invited.token, key.key.id


async def _change_of_many(runtime: Runtime, workspace: WorkspaceId) -> int:
    """Travellers get another niche."""
    async with runtime.db.connection() as connection:
        rows = await connection.fetch(
            "SELECT id FROM leads WHERE workspace_id = $1 AND 'travel' = ANY (niches) ORDER BY id LIMIT 200", workspace
        )
    chosen = LeadFilter(ids=tuple(LeadId(row["id"]) for row in rows))
    made = await change_leads(
        runtime, workspace, chosen, EditAction.ADD_NICHE, {"niche": "holidays"}, confirmed=len(rows), actor=ACTOR
    )
    return made.id


async def _sequences(runtime: Runtime, workspace: WorkspaceId) -> dict[str, int | str]:
    """One that people are in, whose first step most have and some answered; and a draft. Returns what pages name."""
    made = await create_sequence(
        runtime,
        workspace,
        {"name": "Welcome to the club", "niches": ["fitness"], "target_status": "prospect", "auto_enrol": True},
        actor=ACTOR,
    )
    for step in STEPS:
        await add_step(runtime, workspace, made.id, step, actor=ACTOR)
    await activate_sequence(runtime, workspace, made.id, even_offline=True, actor=ACTOR)
    # Few, since steps go before campaigns, which are to get on as well.
    async with runtime.db.connection() as connection:
        rows = await connection.fetch(
            "SELECT id FROM leads WHERE workspace_id = $1 AND 'fitness' = ANY (niches) ORDER BY id % 97, id LIMIT 140",
            workspace,
        )
    people = [LeadId(row["id"]) for row in rows]
    await enrol_people(runtime, workspace, made.id, lead_ids=people, actor=ACTOR)

    async def most_have_it() -> bool:
        report = await report_sequence(runtime, workspace, made.id, with_devices=False)
        return report.whole.sent >= 90 and report.steps[1].funnel.people.active > 60

    await _until(most_have_it)
    idle = await create_sequence(runtime, workspace, {"name": "Come back", "niches": ["travel", "food"]}, actor=ACTOR)
    await add_step(runtime, workspace, idle.id, {"day": 0, "time": "18:00", "body": BODY}, actor=ACTOR)
    shown = await show_sequence(runtime, workspace, made.id)
    async with runtime.db.connection() as connection:
        enrolment = await connection.fetchval(
            "SELECT id FROM enrolments WHERE sequence_id = $1 ORDER BY done_at NULLS LAST, id LIMIT 1", made.id
        )
    return {"sequence_id": made.id, "idle_id": idle.id, "step_id": shown.steps[1].id, "enrolment_id": enrolment}


async def _launched(runtime: Runtime, workspace: WorkspaceId, fields: CampaignFields) -> CampaignId:
    made = await create_campaign(runtime, workspace, fields, actor=ACTOR)
    await launch_campaign(runtime, workspace, made.id, actor=ACTOR)
    return made.id


async def _campaigns(runtime: Runtime, workspace: WorkspaceId) -> tuple[CampaignId, CampaignId]:
    """One of each state. Returns the one that runs, and the draft."""
    over = await _launched(
        runtime,
        workspace,
        {
            "title": "Travel fair, last call",
            "body": "Hello {{ name }}, the fair ends on Sunday.",
            "niches": ["travel"],
            "devices": [f"{branch} 1" for branch in BRANCHES[:4]],
            "schedule": "now",
        },
    )
    cancelled = await _launched(
        runtime,
        workspace,
        {"title": "Stock clearance", "body": "Everything must go.", "niches": ["beauty"], "schedule": "now"},
    )
    paused = await _launched(
        runtime,
        workspace,
        {"title": "Loyalty points", "body": "Your points end in June.", "niches": ["food"], "schedule": "now"},
    )

    async def enough() -> bool:
        return all([await _sent(runtime, workspace, c) >= 25 for c in (over, cancelled, paused)])

    await _until(enough)
    await cancel_campaign(runtime, workspace, cancelled, actor=ACTOR)
    await pause_campaign(
        runtime, workspace, paused, actor="user:farid@kedaimaju.example", reason="wrong date in the text"
    )

    async def is_over() -> bool:
        report = await show_campaign(runtime, workspace, over)
        return report.campaign.status is CampaignStatus.FINISHED or report.counts.by_status.get("sent", 0) > 60

    await _until(is_over)
    running = await _launched(runtime, workspace, {"title": "Mid-year sale", "body": BODY, "schedule": "now"})
    for title, days, hour in (("Payday offer", 2, 12), ("Hari Raya greetings", 4, 9), ("New arrivals", 11, 18)):
        local = await _local(runtime, days, hour)
        await _launched(runtime, workspace, {"title": title, "body": "Hello {{ name }}", "schedule": local})
    draft = await create_campaign(
        runtime,
        workspace,
        {"title": "Anniversary", "body": BODY, "niches": ["retail", "food"], "target_status": "customer"},
        actor=ACTOR,
    )

    async def has_begun() -> bool:
        return await _sent(runtime, workspace, running) >= 60

    await _until(has_begun)
    return running, draft.id


async def _sent(runtime: Runtime, workspace: WorkspaceId, campaign: CampaignId) -> int:
    return (await show_campaign(runtime, workspace, campaign)).counts.by_status.get("sent", 0)


async def _local(runtime: Runtime, days: int, hour: int) -> str:
    """A day to come by the clock of the workspace, as people write it."""
    async with runtime.db.connection() as connection:
        day = await connection.fetchval(
            "SELECT (fleetcast_now() AT TIME ZONE 'Asia/Kuala_Lumpur')::date + $1::int", days
        )
    return f"{day:%Y-%m-%d} {hour:02}:00"


async def _mishaps(runtime: Runtime, shop: Workspace, devices: list[Device], control: SimulatorControl) -> None:
    """What needs a person, and what does not: numbers that are logged out, banned, restricted, away, paused."""
    logged_out, banned, restricted, away, paused = devices[4], devices[9], devices[13], devices[17], devices[20]
    await control.force(SendOutcome.NO_ANSWER_DROPPED, count=4)
    await control.log_out(logged_out.id)
    await control.ban(banned.id)
    await control.restrict(restricted.id, 7_200)
    await control.disconnect(away.id, 7_200)
    await pause_device(
        runtime, shop.id, paused.id, reason="phone is being repaired", actor="user:farid@kedaimaju.example"
    )
    await add_suppression(runtime, shop, "+60 12-000 0007", note="asked at the counter on Monday", actor=ACTOR)

    async def somebody_doubts() -> bool:
        async with runtime.db.connection() as connection:
            return bool(
                await connection.fetchval(
                    "SELECT EXISTS (SELECT FROM broadcast_messages WHERE workspace_id = $1 AND status = 'in_doubt')",
                    shop.id,
                )
            )

    await _until(somebody_doubts)


async def _ids(runtime: Runtime, workspace: WorkspaceId, running: CampaignId) -> dict[str, int | str]:
    async with runtime.db.connection() as connection:
        message = await connection.fetchrow(
            "SELECT id, lead_id FROM broadcast_messages WHERE workspace_id = $1 AND status = 'sent' "
            "ORDER BY delivery DESC, id LIMIT 1",
            workspace,
        )
        stopped = await connection.fetchval(
            "SELECT recipient FROM suppressions WHERE workspace_id = $1 ORDER BY created_at LIMIT 1", workspace
        )
    assert message is not None
    return {
        "workspace": workspace,
        "campaign_id": running,
        "message_id": message["id"],
        "lead_id": message["lead_id"],
        "number": stopped,
    }
