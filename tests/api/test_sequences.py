"""Sequences over the API: from the draft to a report that adds up, and refusals that name the field or the count."""

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from fleetcast.api import enrolments, sequence_steps, sequences
from fleetcast.api.guard import GuardedRoute
from fleetcast.api.sequence_steps import NewStep, StepChange
from fleetcast.api.sequences import NewSequence, SequenceChange
from fleetcast.domain.access import Scope
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.sequence_fields import SequenceFields, StepFields
from tests.sequence_scene import SequenceScene

ADA, BEN = "+60120000000", "+60120000001"


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> SequenceScene:
    """A device with three people of a niche."""
    made = SequenceScene(runtime, workspace)
    await made.add_leads(await made.add_device("Shop KL"), 3)
    await made.execute("UPDATE leads SET niches = '{fitness}'")
    return made


async def made(api: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await api.post("sequences", json={"name": "Welcome", "niches": ["fitness"], **fields})
    assert answer.status_code == 201, answer.text
    found = dict(answer.json())
    for step in ({"after": "0m", "body": "Hello {{ name }}"}, {"after": "1d", "body": "More"}):
        assert (await api.post(f"sequences/{found['id']}/steps", json=step)).status_code == 201
    return found


def fields_of(answer: httpx2.Response) -> list[str]:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    return [e["field"] for e in answer.json().get("errors", [])]


def test_what_may_be_given_is_what_the_services_know() -> None:
    assert set(SequenceChange.model_fields) == set(NewSequence.model_fields) == set(SequenceFields.__annotations__)
    assert set(StepChange.model_fields) == set(StepFields.__annotations__)
    assert set(NewStep.model_fields) == {*StepFields.__annotations__, "before_step_id"}


async def test_a_sequence_from_draft_to_report(api: httpx2.AsyncClient, scene: SequenceScene) -> None:
    sequence = await made(api, late_by="36h", on_failure="retry", auto_enrol=True)
    path = f"sequences/{sequence['id']}"
    assert (sequence["status"], sequence["late_by"], sequence["people"]["enrolled"]) == ("draft", "36h", 0)
    coming = (await api.get(f"{path}/preview")).json()["items"]
    assert [c["place"] for c in coming] == [1, 2]
    assert (await api.get(f"{path}/existing")).json() == {"people": 3}

    refused = await api.post(f"{path}/activate", json={"enrol_existing": 2})
    assert refused.status_code == 409
    assert "3 leads fit now, 1 more" in refused.json()["detail"]
    active = await api.post(f"{path}/activate", json={"enrol_existing": 3})
    assert (active.json()["status"], active.json()["run"]["expected"]) == ("active", 3)
    assert (await api.post(f"{path}/activate")).status_code == 409
    await scene.work()
    await scene.deliver()
    await scene.work()

    shown = (await api.get(path)).json()
    first, second = (step["id"] for step in shown["steps"])
    assert shown["at_step"] == {str(first): 0, str(second): 3}
    assert shown["run"]["enrolled"] == 3
    report = (await api.get(f"reports/{path}")).json()
    assert (report["steps"][0]["funnel"]["sent"], report["whole"]["people"]["active"]) == (3, 3)
    assert [d["device"] for d in report["devices"]] == ["Shop KL"]
    assert (await api.get("sequences?status=active")).json()["items"][0]["people"]["active"] == 3

    refused = await api.delete(f"{path}/steps/{second}")
    assert refused.status_code == 409
    assert "3 people are at step 2" in refused.json()["detail"]
    changed = await api.patch(f"{path}/steps/{second}", json={"after": "2d", "body": "Much more"})
    assert (changed.json()["after"], changed.json()["body"]) == ("2d", "Much more")
    assert (await api.delete(f"{path}/steps/{second}?confirmed=3")).json() == {"people": 3}
    assert (await api.post(f"{path}/pause", json={"reason": "prices"})).json()["paused_reason"] == "prices"
    assert (await api.post(f"{path}/resume")).json()["status"] == "active"
    assert (await api.post(f"{path}/archive", json={"confirmed": 3})).json()["status"] == "archived"
    copy = await api.post(f"{path}/clone")
    assert (copy.status_code, copy.json()["name"], len(copy.json()["steps"])) == (201, "Welcome (copy)", 1)
    actions = [e["action"] for e in (await api.get("audit?action=sequence.")).json()["items"]]
    assert actions[::-1] == [
        "sequence.create",
        "sequence.step.add",
        "sequence.step.add",
        "sequence.activate",
        "sequence.step.edit",
        "sequence.step.delete",
        "sequence.pause",
        "sequence.resume",
        "sequence.archive",
        "sequence.clone",
    ]


async def test_people_come_in_by_name_are_seen_and_are_taken_out(api: httpx2.AsyncClient, scene: SequenceScene) -> None:
    sequence = await made(api)
    path = f"sequences/{sequence['id']}"
    named = {"phones": [ADA, "+60129999999"], "lead_ids": [2]}
    assert (await api.post(f"{path}/enrolments", json=named)).status_code == 409
    assert (await api.post(f"{path}/activate")).status_code == 200
    done = (await api.post(f"{path}/enrolments", json=named)).json()
    assert (len(done["enrolment_ids"]), done["unknown"]) == (2, 1)
    assert (await api.post(f"{path}/enrolments", json={"phones": [ADA]})).json()["active"] == 1
    assert fields_of(await api.post(f"{path}/enrolments", json={"phones": [ADA, "x1"]})) == ["phones[1]"]
    assert fields_of(await api.post(f"{path}/enrolments", json={})) == ["phones"]
    await scene.work()
    await scene.deliver()
    await scene.work()

    page = (await api.get(f"{path}/enrolments?limit=1")).json()
    assert [e["phone"] for e in page["items"]] == [BEN]
    rest = (await api.get(f"{path}/enrolments?limit=1&after={page['next']}")).json()
    assert ([e["phone"] for e in rest["items"]], rest["next"]) == ([ADA], None)
    hers = rest["items"][0]
    story = (await api.get(f"enrolments/{hers['id']}")).json()
    assert [s["status"] for s in story["steps"]] == ["sent", None]
    assert story["steps"][1]["at"] is not None
    of_lead = (await api.get(f"leads/{hers['lead_id']}/enrolments")).json()["items"]
    assert [e["id"] for e in of_lead] == [hers["id"]]
    messages = (await api.get(f"messages?recipient={ADA.replace('+', '%2B')}")).json()["items"]
    assert [(m["sequence"], m["campaign"], m["status"]) for m in messages] == [("Welcome", None, "sent")]

    assert (await api.post(f"{path}/enrolments/stop", json={"enrolment_ids": [hers["id"]]})).json() == {"stopped": 1}
    stopped = (await api.get(f"{path}/enrolments?state=stopped")).json()["items"]
    assert [(e["phone"], e["stop_reason"]) for e in stopped] == [(ADA, "by_person")]
    assert (await api.get(f"{path}/enrolments?stop_reason=replied")).json()["items"] == []


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ({"name": " "}, ["name"]),
        ({"name": "x", "auto_enrol": True}, ["niches"]),
        ({"name": "x", "late_by": "soon", "min_delay": 9, "max_delay": 1}, ["min_delay", "late_by"]),
        ({"name": "x", "colour": "red"}, ["colour"]),
    ],
)
async def test_what_is_wrong_is_said_by_field(api: httpx2.AsyncClient, content: Any, fields: list[str]) -> None:
    answer = await api.post("sequences", json=content)
    assert answer.status_code == 422
    assert fields_of(answer) == fields


async def test_steps_out_of_order_are_refused_by_their_place(api: httpx2.AsyncClient, scene: SequenceScene) -> None:
    sequence = await made(api)
    path = f"sequences/{sequence['id']}/steps"
    assert scene.devices
    early = await api.post(path, json={"day": 0, "time": "09:00", "body": "x"})
    assert (early.status_code, fields_of(early)) == (422, ["steps[2]"])
    first, second = (s["id"] for s in (await api.get(f"sequences/{sequence['id']}")).json()["steps"])
    assert (await api.put(f"{path.removesuffix('/steps')}/order", json={"step_ids": [first]})).status_code == 422
    swapped = await api.put(f"{path.removesuffix('/steps')}/order", json={"step_ids": [second, first]})
    assert fields_of(swapped) == ["steps[1]"]
    same = await api.put(f"{path.removesuffix('/steps')}/order", json={"step_ids": [first, second]})
    assert [s["id"] for s in same.json()["items"]] == [first, second]


async def test_an_enrolment_that_is_asked_for_twice_with_one_key_is_made_once(
    api: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    sequence = await made(api)
    path = f"sequences/{sequence['id']}"
    await api.post(f"{path}/activate")
    headers = {"Idempotency-Key": "once"}
    one = await api.post(f"{path}/enrolments", json={"phones": [ADA]}, headers=headers)
    two = await api.post(f"{path}/enrolments", json={"phones": [ADA]}, headers=headers)
    assert one.json() == two.json()
    assert two.headers["Idempotent-Replayed"] == "true"
    await scene.live(timedelta(minutes=1))
    assert await scene.got(sequence["id"]) == {ADA: ["Hello {{ name }}"]}


def test_scopes_are_those_of_campaigns() -> None:
    for module in (sequences, sequence_steps, enrolments):
        for route in module.router.routes:
            assert isinstance(route, GuardedRoute)
            changes = bool((route.methods or set()) - {"GET"})
            assert route.rule.scope is (Scope.SEND if changes else Scope.READ)
            assert not route.rule.device_keys
