"""What stays of sequences when messages are deleted, and what a restored backup does not send again by itself."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.engine.retention import Retention
from fleetcast.runtime import Runtime
from fleetcast.services.restore import after_restore
from fleetcast.services.sequence_reports import report_sequence
from fleetcast.services.sequence_steps import edit_step
from fleetcast.services.sequences import show_sequence
from tests.campaign_scene import ACTOR
from tests.engine.test_sequencer import ADA, DAY, HOUR, MORNING
from tests.sequence_scene import AT_ONCE, SequenceScene


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> SequenceScene:
    made = SequenceScene(runtime, workspace)
    await made.move_to(MORNING)
    await made.add_device()
    return made


async def test_messages_go_when_they_were_kept_long_enough_and_what_they_say_and_the_counts_stay(
    scene: SequenceScene,
) -> None:
    later: Any = {"after": "90d", "body": "Still there?"}
    sequence = await scene.sequence([AT_ONCE, later, later | {"body": "Goodbye"}], late_by="20d")
    await scene.enrol(sequence, await scene.add_lead(scene.devices[0], ADA))
    await scene.live(HOUR)
    first = (await show_sequence(scene.runtime, scene.workspace, sequence)).steps[0]
    for _ in range(4):
        await scene.move(50 * DAY)
        await scene.work()
        await scene.deliver()
        await scene.work()
    settings = scene.runtime.settings
    assert settings.keep_messages_days == 180
    await Retention(scene.runtime).run_once(asyncio.Event())
    assert [r["body"] for r in await scene.messages(sequence)] == ["Still there?", "Goodbye"]
    report = await report_sequence(scene.runtime, scene.workspace, sequence)
    assert [(s.funnel.due, s.funnel.sent) for s in report.steps] == [(1, 1)] * 3
    changed: Any = {"body": "Welcome back"}
    await edit_step(scene.runtime, scene.workspace, sequence, first.id, changed, actor=ACTOR)
    assert (await show_sequence(scene.runtime, scene.workspace, sequence)).steps[0].content.body == "Welcome back"
    await scene.all_promises_hold()


async def test_after_a_restore_nothing_of_a_sequence_goes_out_until_somebody_resumes_it(scene: SequenceScene) -> None:
    sequence = await scene.sequence([AT_ONCE, {"after": "1d", "body": "More"}], on_failure="retry")
    await scene.enrol(sequence, await scene.add_lead(scene.devices[0], ADA))
    await scene.work()
    await scene.execute("UPDATE shards SET owner = NULL, expires_at = fleetcast_now()")
    restored = await after_restore(scene.runtime, actor=ACTOR)
    assert (restored.sequences, restored.skipped) == (1, 1)
    await scene.live(timedelta(hours=6))
    [row] = await scene.messages(sequence)
    assert (row["status"], row["reason"]) == ("skipped", "restored"), "and is not tried again by the rule"
    shown = await show_sequence(scene.runtime, scene.workspace, sequence)
    assert (shown.sequence.status, shown.sequence.paused_reason) == ("paused", "restored from a backup")
    await scene.all_promises_hold()
