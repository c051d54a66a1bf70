"""A whole workspace: one of everything that a workspace can hold, with ids under the names that routes ask by.

Every text in it carries a mark and every number begins alike, so that whatever leaks out of it is recognised.
"""

import io
from dataclasses import dataclass
from uuid import uuid4

from PIL import Image

from fleetcast.domain.access import Role, Scope
from fleetcast.domain.bulk_edit import EditAction
from fleetcast.domain.identifiers import CampaignId, DeviceId, LeadId, WorkspaceId
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.runtime import Runtime
from fleetcast.services import media
from fleetcast.services.accounts import membership, passwords
from fleetcast.services.accounts.keys import create_key
from fleetcast.services.bulk_edits import change_leads
from fleetcast.services.enrolments import enrol_people
from fleetcast.services.lead_import import import_leads
from fleetcast.services.sequence_actions import activate_sequence
from fleetcast.services.sequence_steps import add_step
from fleetcast.services.sequences import create_sequence
from fleetcast.services.suppressions import add_suppression
from fleetcast.services.workspaces import create_workspace
from fleetcast.store import audit
from tests.api import tenants
from tests.api.tenants import Person
from tests.campaign_scene import Scene

Ids = dict[str, int | str]

PASSWORD = "a green bicycle under the roof"
PEOPLE = 5
"""Leads of each device."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A workspace and who may do what in it."""

    workspace: WorkspaceId
    mark: str
    """Stands in every name, title and text."""
    number: str
    """What every phone number in it begins with."""
    owner: Person
    operator: Person
    viewer: Person
    key: str
    """Of a key that may do everything."""
    device_key: str
    """Of a key for the first device only."""
    ids: Ids
    """Parameter → what it names here. Of things that belong to a device: the first device's."""
    of_second: Ids
    """The same, where it is the second device's."""
    second_mark: str
    """Stands in the names of the second device and its leads."""

    def traces(self, text: str) -> list[str]:
        """What of this workspace stands in an answer."""
        told = (self.mark, self.number.lstrip("+"), str(self.ids["sha256"]))
        return [trace for trace in told if trace in text]


async def whole_workspace(runtime: Runtime) -> Tenant:
    """Make one."""
    mark = f"mark{uuid4().hex[:10]}"
    shop = await create_workspace(runtime, f"{mark} shop", actor="user:tests")
    owner, operator, viewer = [
        await _member(runtime, shop.id, role) for role in (Role.OWNER, Role.OPERATOR, Role.VIEWER)
    ]
    scene = Scene(runtime, shop.id)
    number = f"+6019{shop.id:04d}"
    parts = [await _device(scene, f"{mark} {name}", f"{number}{n}") for n, name in enumerate(("first", "second"), 1)]
    await scene.execute("UPDATE workspaces SET attribute_keys = '{city}' WHERE id = $1", shop.id)

    suppressed = f"{number}900"
    await add_suppression(runtime, shop, suppressed, note=f"{mark} asked", actor="user:tests")
    medium = await media.from_bytes(runtime, shop.id, picture(shop.id), f"{mark}.png")
    invited = await membership.invite(runtime, shop.id, f"{mark}@example.org", Role.VIEWER, actor="user:tests")
    spare = await create_key(runtime, shop.id, f"{mark} spare", {Scope.READ}, actor="user:tests")
    async with runtime.db.transaction() as connection:
        await audit.record(connection, shop.id, "user:tests", "tests.seed", mark, before={"what": mark})
    draft = await scene.draft(title=f"{mark} draft", body=f"{mark} draft text")
    idle = await create_sequence(runtime, shop.id, {"name": f"{mark} idle"}, actor="user:tests")
    await add_step(runtime, shop.id, idle.id, {"after": "0m", "body": f"{mark} step"}, actor="user:tests")
    common: Ids = {
        "idle_id": idle.id,
        "workspace": shop.id,
        "workspace_id": shop.id,
        "user_id": operator.user_id,
        "session_id": await scene.value("SELECT id FROM sessions WHERE user_id = $1", owner.user_id),
        "invitation_id": invited.invitation.id,
        "key_id": spare.key.id,
        "sha256": medium.sha256,
        "number": suppressed,
        "draft_id": draft,
        "content_id": await scene.value("SELECT content_id FROM campaigns WHERE id = $1", draft),
        "audit_id": await scene.value("SELECT max(id) FROM audit WHERE workspace_id = $1", shop.id),
    }
    return Tenant(
        shop.id,
        mark,
        number,
        owner,
        operator,
        viewer,
        await tenants.key(runtime, shop.id),
        await tenants.key(runtime, shop.id, {Scope.READ, Scope.SEND}, parts[0].device),
        common | parts[0].ids(),
        common | parts[1].ids(),
        f"{mark} second",
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """A device and what hangs on it."""

    device: DeviceId
    lead: int
    campaign: CampaignId
    message: int
    unconfirmed: int
    imported: int
    edit: int
    name: str
    sequence: int
    step: int
    enrolment: int

    def ids(self) -> Ids:
        return {
            "device_name": self.name,
            "import_id": self.imported,
            "edit_id": self.edit,
            "device_id": self.device,
            "lead_id": self.lead,
            "campaign_id": self.campaign,
            "message_id": self.message,
            "unconfirmed_id": self.unconfirmed,
            "sequence_id": self.sequence,
            "step_id": self.step,
            "enrolment_id": self.enrolment,
        }


async def _device(scene: Scene, name: str, number: str) -> _Part:
    """A device with leads and a running campaign whose messages stand in every status that it can have."""
    device = await scene.add_device(name)
    people = [f"{number}{n:02d}" for n in range(PEOPLE)]
    leads = [
        await scene.add_lead(
            device, phone, name=f"{name} lead", niches=[f"{name} niche"], attributes={"city": f"{name} city"}
        )
        for phone in people
    ]
    campaign = await scene.launched(title=f"{name} campaign", body=f"{name} text for {{{{ name }}}}", devices=[name])
    await scene.force(campaign, people[:1], "queued", "sending", "in_doubt")
    await scene.force(campaign, people[1:2], "queued", "sending", "failed")
    await scene.force(campaign, people[2:3], "queued", "sending", "sent")
    await scene.force(campaign, people[3:4], "queued", "sending", "in_doubt", "failed")
    await scene.execute(
        "UPDATE broadcast_messages SET reason = 'unconfirmed' WHERE campaign_id = $1 AND recipient = $2",
        campaign,
        people[3],
    )
    await scene.execute(
        "INSERT INTO message_attempts (message_id, attempt, lease_epoch, sender, started_at, drawn_gap_ms, reference, "
        "outcome, code, detail) SELECT id, 1, 1, 'tests', fleetcast_now(), 0, 'tests-' || id, "
        "CASE status WHEN 'in_doubt' THEN 'unknown' WHEN 'failed' THEN 'refused' END, 'code', $2 "
        "FROM broadcast_messages WHERE campaign_id = $1 AND attempts > 0",
        campaign,
        f"{name} detail",
    )
    await scene.execute(
        "UPDATE broadcast_messages SET lease_epoch = 1, in_doubt_since = CASE WHEN status = 'in_doubt' THEN "
        "fleetcast_now() END, finished_at = fleetcast_now() WHERE campaign_id = $1 AND attempts > 0",
        campaign,
    )
    await scene.execute(
        "INSERT INTO inbox (workspace_id, device_id, occurred_at, processed_at, kind, event_id, sender, body) "
        "VALUES ($1, $2, fleetcast_now(), fleetcast_now(), 'reply', 'event', $3, $4)",
        scene.workspace,
        device,
        people[3],
        f"{name} reply",
    )
    message = await scene.value(
        "SELECT id FROM broadcast_messages WHERE campaign_id = $1 AND status = 'in_doubt'", campaign
    )
    scene.runtime.settings.data.mkdir(exist_ok=True)
    file = scene.runtime.settings.data / f"{device}.csv"
    file.write_text(f"phone,name\n{number}81,{name} imported\n", encoding="utf-8")
    report = await import_leads(scene.runtime, scene.workspace, device, file, actor="user:tests")
    refused = scene.runtime.settings.data / "uploads" / f"{report.import_id}.{scene.workspace}.tests.rejected"
    refused.parent.mkdir(exist_ok=True)
    refused.write_text(f"phone,reason\nx,{name} refused\n", encoding="utf-8")
    edit = await change_leads(
        scene.runtime,
        scene.workspace,
        LeadFilter(ids=(leads[0],)),
        EditAction.ADD_NICHE,
        {"niche": f"{name} added"},
        confirmed=1,
        actor="user:tests",
    )
    unconfirmed = await scene.value(
        "SELECT id FROM broadcast_messages WHERE campaign_id = $1 AND reason = 'unconfirmed'", campaign
    )
    sequence, enrolment = await _sequence(scene, name, leads[0])
    step = await scene.value("SELECT id FROM sequence_steps WHERE sequence_id = $1", sequence)
    return _Part(
        device,
        leads[0],
        campaign,
        message,
        unconfirmed,
        report.import_id or 0,
        edit.id,
        name,
        sequence,
        step,
        enrolment,
    )


async def _sequence(scene: Scene, name: str, lead: LeadId) -> tuple[int, int]:
    """A sequence at work with somebody in it; the second, a draft, is nobody's and has the first one's steps."""
    made = await create_sequence(scene.runtime, scene.workspace, {"name": f"{name} sequence"}, actor="user:tests")
    await add_step(
        scene.runtime,
        scene.workspace,
        made.id,
        {"day": 1, "time": "09:00", "body": f"{name} step"},
        actor="user:tests",
    )
    await activate_sequence(scene.runtime, scene.workspace, made.id, actor="user:tests")
    done = await enrol_people(scene.runtime, scene.workspace, made.id, lead_ids=[lead], actor="user:tests")
    return made.id, done.enrolled[0]


async def _member(runtime: Runtime, workspace: WorkspaceId, role: Role) -> Person:
    made = await tenants.person(runtime, workspace, role)
    stored = await _stored_password()
    async with runtime.db.connection() as connection:
        await connection.execute("UPDATE users SET password_hash = $2 WHERE id = $1", made.user_id, stored)
    return made


_stored: dict[object, str] = {}
"""By what passwords are hashed with here."""


async def _stored_password() -> str:
    """Hashed once: it takes its time on purpose."""
    hasher = passwords._argon2()
    if hasher not in _stored:
        _stored[hasher] = await passwords.hashed(PASSWORD)
    return _stored[hasher]


def picture(seed: int) -> bytes:
    """A PNG that no other workspace has, so that its hash is a mark, too."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (seed % 256, seed // 256 % 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()
