"""Making and editing campaigns: what is given is checked as a whole, what is not given is not touched."""

import base64
import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.lead import niche_names
from fleetcast.errors import Conflict, InvalidInput, InvalidInputs, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import pause_campaign
from fleetcast.services.campaigns import (
    clone_campaign,
    create_campaign,
    edit_campaign,
    find_campaign,
    list_campaigns,
    show_campaign,
)
from fleetcast.services.media import LocalFile
from tests.campaign_scene import ACTOR, Scene

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> Scene:
    made = Scene(runtime, workspace)
    await made.execute(
        "UPDATE workspaces SET time_zone = 'Asia/Kuala_Lumpur', attribute_keys = '{city}' WHERE id = $1", workspace
    )
    await made.add_leads(await made.add_device(), 3)
    return made


async def refusal(scene: Scene, **fields: Any) -> list[InvalidInput]:
    """The problems of a campaign that cannot be made; nothing is half written."""
    with pytest.raises(InvalidInput) as refused:
        await scene.draft(**fields)
    for table in ("campaigns", "contents", "media", "audit"):
        assert await scene.value(f"SELECT count(*) FROM {table}") == 0
    return refused.value.problems if isinstance(refused.value, InvalidInputs) else [refused.value]


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("title", {"title": "  "}),
        ("title", {"title": "x" * 101}),
        ("body", {"body": " \n"}),
        ("body", {"body": "Hello {{ nmae }}"}),
        ("body", {"body": "Hello {% if %}"}),
        ("niche_match", {"niche_match": "some"}),
        ("target_status", {"target_status": ""}),
        ("when_offline", {"when_offline": "panic"}),
        ("min_delay", {"min_delay": 30, "max_delay": 10}),
        ("min_delay", {"min_delay": -1, "max_delay": 10}),
        ("max_delay", {"min_delay": 1, "max_delay": math.nan}),
        ("max_delay", {"min_delay": 1}),
        ("schedule", {"schedule": ""}),
        ("schedule", {"schedule": "2026-12-24"}),
        ("schedule", {"schedule": "2001-01-01 10:00"}),
        ("schedule", {"schedule": "9999-01-01 10:00"}),
        ("deadline", {"deadline": "0d"}),
        ("deadline", {"deadline": "soon"}),
        ("deadline", {"deadline": timedelta(days=1000)}),
        ("devices", {"devices": ["device 1", "device 9"]}),
        ("devices", {"devices": [" "]}),  # must not come to mean all of them
        ("niches", {"niches": ["fitness", " ,"]}),
        ("niches", {"niches": ["x" * 101]}),
        ("media", {"media": " "}),
        ("media", {"media": "/etc/hostname"}),
        ("media", {"media": "file:///etc/hostname"}),
        ("media", {"media": "picture.png"}),
        ("media", {"media": "ab" * 32}),
        ("device_ids", {"device_ids": []}),
        ("device_ids", {"device_ids": [2**62]}),
        ("device_ids", {"device_ids": [1], "devices": ["all"]}),
        ("media", {"media": "data:text/html;base64,PGI+"}),
        ("colour", {"colour": "red"}),
    ],
)
async def test_every_rule_has_its_refusal_and_names_the_field(scene: Scene, field: str, given: dict[str, Any]) -> None:
    [problem] = await refusal(scene, **given)
    assert problem.field == field
    assert problem.problem


async def test_all_problems_are_told_at_once_with_line_and_column(scene: Scene) -> None:
    problems = await refusal(
        scene, title="", body="Dear {{ name }},\n{{ citty }}", target_status="everyone", devices=["nobody"]
    )
    assert [p.field for p in problems] == ["title", "body", "target_status", "devices"]
    assert (problems[1].line, problems[1].column) == (2, 4)


async def test_title_and_body_are_needed(scene: Scene) -> None:
    for name, fields in (("title", {"body": "x"}), ("body", {"title": "x"})):
        with pytest.raises(InvalidInput) as refused:
            await create_campaign(scene.runtime, scene.workspace, fields, actor=ACTOR)  # type: ignore[arg-type]
        assert refused.value.field == name


async def test_f29_a_schedule_is_kept_as_local_time_with_its_zone(scene: Scene) -> None:
    year = datetime.now().year + 1
    campaign = await scene.draft(schedule=f"{year}-07-01 09:30")
    found = (await show_campaign(scene.runtime, scene.workspace, campaign)).campaign
    assert found.schedule_local == datetime(year, 7, 1, 9, 30)
    assert found.schedule_zone == "Asia/Kuala_Lumpur"
    assert found.starts_at is not None
    assert found.starts_at.isoformat() == f"{year}-07-01T01:30:00+00:00"


async def test_a_niche_reaches_its_leads_however_it_is_typed(scene: Scene) -> None:
    await scene.add_lead(scene.devices[0], "+60121234567", niches=niche_names(["FITNESS "]))
    campaign = await scene.launched(niches=[" Fitness "])
    assert await scene.recipients(campaign) == ["+60121234567"]


async def test_f27_f30_an_edit_of_one_field_leaves_every_other_as_it_was(scene: Scene) -> None:
    year = datetime.now().year + 1
    campaign = await scene.draft(
        title="Before",
        body="Hello {{ city }}",
        media="data:image/png;base64," + base64.b64encode(PIXEL).decode(),
        niches=["fitness", "Books "],
        niche_match="all",
        target_status="customer",
        devices=["DEVICE 1"],
        takes_newcomers=False,
        min_delay=0.1,
        max_delay=2.5,
        schedule=f"{year}-07-01 09:30",
        deadline="36h",
        when_offline="skip",
    )
    before = await show_campaign(scene.runtime, scene.workspace, campaign)
    assert before.campaign.niches == ("books", "fitness")
    assert (before.campaign.min_delay, before.campaign.max_delay) == (0.1, 2.5)
    assert before.content.required_variables == ("city",)
    await edit_campaign(scene.runtime, scene.workspace, campaign, {"title": "After"}, actor=ACTOR)
    after = await show_campaign(scene.runtime, scene.workspace, campaign)
    assert after.campaign.title == "After"
    assert after.content == before.content
    for name in before.campaign.__dataclass_fields__:
        if name != "title":
            assert getattr(after.campaign, name) == getattr(before.campaign, name), name
    [entry] = await scene.fetch("SELECT * FROM audit WHERE action = 'campaign.edit'")
    assert (entry["before"], entry["after"]) == ({"title": "Before"}, {"title": "After"})


async def test_an_edit_replaces_text_and_medium_one_by_one(scene: Scene, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(PIXEL)
    campaign = await scene.draft(body="One", media=LocalFile(picture))

    async def content() -> tuple[str, bool]:
        found = (await show_campaign(scene.runtime, scene.workspace, campaign)).content
        return found.body, found.media_sha256 is not None

    assert await content() == ("One", True)
    await edit_campaign(scene.runtime, scene.workspace, campaign, {"body": "Two"}, actor=ACTOR)
    assert await content() == ("Two", True)
    await edit_campaign(scene.runtime, scene.workspace, campaign, {"media": None}, actor=ACTOR)
    assert await content() == ("Two", False)
    await edit_campaign(scene.runtime, scene.workspace, campaign, {"devices": ["all"], "niches": []}, actor=ACTOR)
    assert await content() == ("Two", False)


async def test_a_text_is_never_in_the_audit_record(scene: Scene) -> None:
    campaign = await scene.draft(body="A secret offer")
    await edit_campaign(scene.runtime, scene.workspace, campaign, {"body": "Another secret offer"}, actor=ACTOR)
    assert not await scene.value("SELECT bool_or(a::text LIKE '%secret%') FROM audit a")


async def test_while_it_runs_only_title_pace_and_deadline_change(scene: Scene) -> None:
    campaign = await scene.launched()
    changed = await edit_campaign(
        scene.runtime,
        scene.workspace,
        campaign,
        {"title": "New", "min_delay": 1, "max_delay": 2, "deadline": "1d"},
        actor=ACTOR,
    )
    assert (changed.title, changed.min_delay, changed.max_delay, changed.replan) == ("New", 1, 2, False)
    with pytest.raises(Conflict, match="is running: pause it to change body, niches"):
        await edit_campaign(
            scene.runtime, scene.workspace, campaign, {"body": "x", "niches": [], "title": "y"}, actor=ACTOR
        )
    with pytest.raises(Conflict, match="has started: schedule can no longer change"):
        await edit_campaign(scene.runtime, scene.workspace, campaign, {"schedule": "now"}, actor=ACTOR)
    assert (await show_campaign(scene.runtime, scene.workspace, campaign)).campaign.title == "New"


async def test_an_edit_that_changes_nothing_plans_nothing_anew(scene: Scene) -> None:
    campaign = await scene.launched(body="Same", niches=[], devices=["device 1"])
    await pause_campaign(scene.runtime, scene.workspace, campaign, actor=ACTOR)
    after = await edit_campaign(
        scene.runtime,
        scene.workspace,
        campaign,
        {"body": "Same", "niches": [], "devices": ["device 1"], "target_status": "all", "when_offline": "skip"},
        actor=ACTOR,
    )
    assert not after.replan
    assert after.when_offline == "skip"


async def test_a_clone_is_a_draft_with_everything_but_the_past(scene: Scene) -> None:
    origin = await scene.launched(title="x" * 100, devices=["device 1"], min_delay=1, max_delay=2, deadline="2d")
    made = await clone_campaign(scene.runtime, scene.workspace, origin, actor=ACTOR)
    assert made.status == "draft"
    assert made.title.endswith(" (copy)")
    assert (made.device_ids, made.min_delay, made.deadline_after) == (tuple(scene.devices), 1, timedelta(days=2))
    assert (made.started_at, made.launched_at, made.starts_at) == (None, None, None)
    await scene.launch(made.id)
    await scene.plan()
    assert len(await scene.rows(made.id)) == 3


async def test_a_campaign_is_found_by_title_or_number(scene: Scene) -> None:
    first, second = await scene.draft(title="Sale"), await scene.draft(title="sale")
    third = await scene.draft(title="2026")
    assert (await find_campaign(scene.runtime, scene.workspace, str(first))).id == first
    assert (await find_campaign(scene.runtime, scene.workspace, " 2026 ")).id == third
    with pytest.raises(InvalidInput, match=f"{second}, {first}"):
        await find_campaign(scene.runtime, scene.workspace, "SALE")
    with pytest.raises(NotFound):
        await find_campaign(scene.runtime, scene.workspace, "no such")


async def test_f37_planned_is_the_sum_of_all_states_and_sent_is_not_delivered(scene: Scene) -> None:
    campaign = await scene.launched(min_delay=10, max_delay=20)
    phones = await scene.recipients(campaign)
    await scene.force(campaign, phones[:2], "queued", "sending", "sent")
    await scene.execute("INSERT INTO campaign_tallies (campaign_id, counter, n) VALUES ($1, 'delivered', 1)", campaign)
    [(listed, counts)] = await list_campaigns(scene.runtime, scene.workspace)
    assert listed.id == campaign
    assert counts.by_status == {"sent": 2, "pending": 1}
    assert (counts.planned, counts.delivered, counts.read) == (3, 1, 0)
    report = await show_campaign(scene.runtime, scene.workspace, campaign)
    assert report.counts == counts
    assert report.seconds_left == 15
    await scene.check_counts(campaign)
