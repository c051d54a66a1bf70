"""Sequences on pages: writing one, the last question, who is in it, and where people leave it."""

import re
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.access import Role
from fleetcast.domain.identifiers import SequenceId, WorkspaceId
from fleetcast.domain.sequence import EnrolmentState, SequenceStatus
from fleetcast.runtime import Runtime
from fleetcast.services.sequence_fields import StepFields
from fleetcast.services.sequence_reports import Funnel, People, SequenceReport
from fleetcast.services.sequences import SequenceShown, show_sequence
from fleetcast.web.funnel import stages
from tests.api.tenants import Person
from tests.sequence_scene import AT_ONCE, DAILY, SequenceScene
from tests.web import visitors
from tests.web.looking import HOSTILE, Page

FORM = {"name": "Welcome", "niches": "tea", "late_by": "12h", "stop_on_reply": "1"}
STEP = {"how": "at", "day": "0", "time": "10:00", "body": "Hello {{ name }}"}
NUMBERS = ("+60120000000", "+60120000001", "+60120000002")


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> SequenceScene:
    """Three people, two of whom drink tea."""
    made = SequenceScene(runtime, workspace)
    device = await made.add_device("Counter")
    for n, name in enumerate(("Aminah", "Ben", "Chandra")):
        await made.add_lead(device, NUMBERS[n], name=name, niches=["tea"] if n else [])
    return made


async def shown(scene: SequenceScene, sequence: SequenceId) -> SequenceShown:
    return await show_sequence(scene.runtime, scene.workspace, sequence)


async def with_people(scene: SequenceScene, **fields: Any) -> SequenceId:
    """A sequence at work with all three in it; the first step is on its way to each."""
    later: list[StepFields] = [{**step, "day": step["day"] + 2} for step in DAILY]
    sequence = await scene.sequence((AT_ONCE, *later), **fields)
    await scene.enrol(sequence, *[lead["id"] for lead in await scene.fetch("SELECT id FROM leads ORDER BY id")])
    await scene.work()
    return sequence


def id_in(answer: httpx2.Response) -> SequenceId:
    assert answer.status_code == 303, Page(answer.text).words
    return SequenceId(int(re.findall(r"\d+", answer.headers["Location"])[0]))


async def partials(answer: httpx2.Response) -> dict[str, str]:
    """By the place that it goes to, as a person reads it."""
    assert answer.status_code == 200, answer.text
    found = re.findall(r'<hx-partial hx-target="#([\w-]+)"[^>]*>(.*?)</hx-partial>', answer.text, re.DOTALL)
    return {place: Page(html).words.strip() for place, html in found}


def alert(answer: httpx2.Response) -> str:
    found = re.findall(r'role="alert" id="trouble">(.*?)</div></div>', answer.text, re.DOTALL)
    assert len(found) == 1, Page(answer.text).words
    return Page(found[0]).words.strip()


def sheet(text: str, name: str) -> str:
    return Page(text.partition(f'id="{name}"')[2].partition("</form>")[0]).words


async def test_a_sequence_is_written_step_by_step_and_activated_with_the_count(
    client: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    sequence = id_in(await client.post("/sequences/new", data=FORM | {"auto_enrol": "1"}))
    page = await client.get(f"/sequences/{sequence}")
    assert "Write the first step" in page.text
    assert "2 leads fit today" in Page(page.text).words
    assert "Activate…" not in page.text, "without a step there is nothing to activate"
    for n, words in enumerate(("Hello {{ name }}", "How are you?")):
        await client.post(f"/sequences/{sequence}/steps/new", data=STEP | {"day": str(n), "body": words})
    page = await client.get(f"/sequences/{sequence}")
    assert "as Ben gets them" in Page(page.text).words
    assert "Hello Ben" in page.text
    asked = (await client.get(f"/sequences/{sequence}/existing")).text
    assert "2 leads fit now" in asked
    assert "Activate, and enrol 2 people" in asked
    answer = await client.post(f"/sequences/{sequence}/activate", data={"existing": "2"})
    assert "said=sequence-activate&n=2" in answer.headers["Location"]
    await scene.work()
    found = await shown(scene, sequence)
    assert (found.sequence.status, found.people.active) == (SequenceStatus.ACTIVE, 2)


async def test_whom_it_would_enrol_and_what_is_wrong_follow_what_is_typed(
    client: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    async def look(**fields: str) -> dict[str, str]:
        return await partials(await client.post("/sequences/look", data=FORM | fields))

    assert "2 leads fit today" in (await look())["audience"]
    assert "3 leads fit today" in (await look(niches=""))["audience"]
    assert "Nobody is like that yet: check how the niche is spelt" in (await look(niches="cofee"))["audience"]
    assert "Name at least one niche" in (await look(niches="", auto_enrol="1"))["audience"]
    told = await look(late_by="soon", min_delay="often")
    assert "soon" in told["wrong-rules"]
    assert "'often' is no number of seconds" in told["wrong-rules"]
    assert (await look(name=""))["wrong-name"] == "", "nobody who has not begun is told off"


async def test_a_step_says_when_it_would_come_and_what_is_wrong_beside_the_field(
    client: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    sequence = await scene.sequence(DAILY, active=False)

    async def look(**fields: str) -> dict[str, str]:
        return await partials(await client.post(f"/sequences/{sequence}/steps/look", data=STEP | fields))

    told = await look(day="5")
    assert "Hello Aminah" in told["reads"]
    assert re.search(r"Enrolled now, Aminah gets it \w{3} \d+ \w{3}(?: \d{4})?, 10:00\.", told["reads"])
    assert told["wrong-when"] == ""
    assert "Step 4 has the moment of step 3: day 2 at 10:00" in (await look(day="2"))["wrong-when"]
    assert "Step 4 (day 1 at 10:00) comes before step 3" in (await look(day="1"))["wrong-when"]
    assert "Give the day as a number" in (await look(day="soon"))["wrong-when"]
    assert "is not a span of time" in (await look(how="after", after="a while"))["wrong-when"]
    assert "No lead has a" in (await look(day="5", body="{{ nme }}"))["wrong-body"]
    own = (await shown(scene, sequence)).steps[1].id
    assert (await look(day="1", step=str(own)))["wrong-when"] == "", "it is that step itself"


async def test_a_step_without_a_text_or_at_a_moment_that_is_taken_is_refused_and_what_was_typed_stays(
    client: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    sequence = await scene.sequence(DAILY, active=False)
    answer = await client.post(f"/sequences/{sequence}/steps/new", data=STEP | {"day": "9", "body": " "})
    assert (answer.status_code, alert(answer)) == (422, "Text: a step needs a text.")
    answer = await client.post(f"/sequences/{sequence}/steps/new", data=STEP | {"day": "2", "body": "Kept"})
    assert (answer.status_code, alert(answer)) == (422, "Step 4 has the moment of step 3: day 2 at 10:00.")
    assert ">Kept</textarea>" in answer.text
    assert len((await shown(scene, sequence)).steps) == 3


async def test_a_step_is_put_in_front_of_another(client: httpx2.AsyncClient, scene: SequenceScene) -> None:
    sequence = await scene.sequence(DAILY, active=False)
    second = (await shown(scene, sequence)).steps[1].id
    form = STEP | {"day": "0", "time": "18:00", "body": "Between", "place": str(second)}
    await client.post(f"/sequences/{sequence}/steps/new", data=form)
    assert [s.content.body for s in (await shown(scene, sequence)).steps] == ["One", "Between", "Two", "Three"]


async def test_steps_change_places_and_the_times_stay(client: httpx2.AsyncClient, scene: SequenceScene) -> None:
    sequence = await scene.sequence(DAILY, active=False)
    before = (await shown(scene, sequence)).steps
    page = Page((await client.get(f"/sequences/{sequence}")).text)
    assert [b["aria-label"] for b in page.attributes("button") if str(b.get("aria-label")).startswith("Move")] == [
        "Move step 1 behind step 2",
        "Move step 2 before step 1",
        "Move step 2 behind step 3",
        "Move step 3 before step 2",
    ]
    await client.post(f"/sequences/{sequence}/steps/{before[2].id}/earlier")
    after = (await shown(scene, sequence)).steps
    assert [s.content.body for s in after] == ["One", "Three", "Two"]
    assert [s.timing for s in after] == [s.timing for s in before]
    answer = await client.post(f"/sequences/{sequence}/steps/{before[0].id}/earlier")
    assert "said=nothing" in answer.headers["Location"]


async def test_who_would_miss_a_step_that_is_moved_is_named_with_their_count(
    client: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    sequence = await with_people(scene)
    await scene.deliver()
    await scene.work()
    first, second, *_ = (await shown(scene, sequence)).steps
    page = await client.get(f"/sequences/{sequence}")
    assert "3 people have had step 1 and wait for step 2" in sheet(page.text, f"earlier-{second.id}")
    assert "3 people have had step 1 and wait for step 2" in sheet(page.text, f"later-{first.id}")
    answer = await client.post(f"/sequences/{sequence}/steps/{second.id}/earlier", data={"confirmed": "2"})
    assert "3 people wait for step 2 and had the one before it" in alert(answer)
    answer = await client.post(f"/sequences/{sequence}/steps/{second.id}/earlier", data={"confirmed": "3"})
    assert "said=step-moved" in answer.headers["Location"]
    await scene.live(timedelta(days=8))
    assert {tuple(texts) for texts in (await scene.got(sequence)).values()} == {("Welcome", "Two", "Three")}


async def test_removing_a_step_says_how_many_wait_for_it_and_takes_no_other_count(
    client: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    sequence = await with_people(scene)
    step = (await shown(scene, sequence)).steps[0].id
    page = await client.get(f"/sequences/{sequence}")
    assert "3 people wait for it and go on with the one behind it" in sheet(page.text, f"remove-{step}")
    answer = await client.post(f"/sequences/{sequence}/steps/{step}/remove", data={"confirmed": "2"})
    assert answer.status_code == 409
    assert "3 people are at step 1" in alert(answer)
    answer = await client.post(f"/sequences/{sequence}/steps/{step}/remove", data={"confirmed": "3"})
    assert "said=step-removed&n=3" in answer.headers["Location"]


async def test_editing_while_it_runs_says_whom_it_concerns(client: httpx2.AsyncClient, scene: SequenceScene) -> None:
    sequence = await with_people(scene)
    step = (await shown(scene, sequence)).steps[0]
    page = (await client.get(f"/sequences/{sequence}/steps/{step.id}")).text
    assert "3 people wait for this step and get it as it is then; who had it keeps what they got." in Page(page).words
    assert "Store for 3 people who wait" in page
    form = {"how": "after", "after": "0m", "body": "Another text"}
    assert (await client.post(f"/sequences/{sequence}/steps/{step.id}", data=form)).status_code == 303
    assert (await shown(scene, sequence)).steps[0].content.body == "Another text"
    page = (await client.get(f"/sequences/{sequence}/edit")).text
    assert "hold from now on for the 3 people in it, too" in Page(page).words


async def test_while_no_number_is_online_it_says_so_and_asks(client: httpx2.AsyncClient, scene: SequenceScene) -> None:
    sequence = await scene.sequence(DAILY, active=False)
    assert "No device is online" not in (await client.get(f"/sequences/{sequence}/existing")).text
    await scene.execute("UPDATE devices SET state = 'offline'")
    assert "No device is online" in (await client.get(f"/sequences/{sequence}/existing")).text
    answer = await client.post(f"/sequences/{sequence}/activate")
    assert answer.status_code == 409
    assert "None of the 1 devices is online" in alert(answer)
    answer = await client.post(f"/sequences/{sequence}/activate", data={"offline": "1"})
    assert answer.status_code == 303


async def test_more_people_than_were_confirmed_are_asked_about_again(
    client: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    sequence = await scene.sequence(DAILY)
    assert "Enrol 3 people" in (await client.get(f"/sequences/{sequence}/existing")).text
    answer = await client.post(f"/sequences/{sequence}/enrol-existing", data={"confirmed": "2"})
    assert answer.status_code == 409
    assert "3 leads fit now, 1 more than were confirmed" in alert(answer)
    answer = await client.post(f"/sequences/{sequence}/enrol-existing", data={"confirmed": "3"})
    assert "said=sequence-enrol-existing&n=3" in answer.headers["Location"]
    await scene.work()
    assert (await shown(scene, sequence)).people.active == 3


async def test_pause_resume_and_archive_name_the_people_they_concern(
    client: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    sequence = await with_people(scene)
    page = (await client.get(f"/sequences/{sequence}")).text
    assert "3 people are in it and get nothing until it goes on" in sheet(page, "pause")
    assert "Archive and stop 3 people" in page
    await client.post(f"/sequences/{sequence}/pause", data={"reason": "wrong price"})
    page = Page((await client.get(f"/sequences/{sequence}")).text).words
    assert "wrong price. Since" in page
    assert "3 people wait; what is later than 12 h when it goes on has expired." in page
    assert (await client.post(f"/sequences/{sequence}/resume")).status_code == 303
    answer = await client.post(f"/sequences/{sequence}/archive", data={"confirmed": "1"})
    assert "3 people are in 'Welcome'" in alert(answer)
    answer = await client.post(f"/sequences/{sequence}/archive", data={"confirmed": "3"})
    assert "said=sequence-archive&n=3" in answer.headers["Location"]
    page = (await client.get(f"/sequences/{sequence}")).text
    for button in ("Edit", "Archive…", "Add step", "Enrol who fits…"):
        assert f">{button}<" not in page, button
    copy = id_in(await client.post(f"/sequences/{sequence}/clone"))
    assert len((await shown(scene, copy)).steps) == 4


async def test_people_are_enrolled_by_their_numbers_and_each_mistake_names_the_number(
    client: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    sequence = await scene.sequence(DAILY)
    url = f"/sequences/{sequence}/enrolments"
    answer = await client.post(url, data={"phones": f"phone\n{NUMBERS[0]}\nnot a number\n"})
    assert answer.status_code == 422
    assert alert(answer).startswith("Not a number: ")
    assert "not a number" in sheet(answer.text, "enrol"), "what was typed stays, in the open sheet"
    assert (await shown(scene, sequence)).people.enrolled == 0, "all or none"
    answer = await client.post(url, data={"phones": f"{NUMBERS[0]}\n{NUMBERS[1]}, +60129999999"})
    words = Page(answer.text).words
    assert "2 people were enrolled. 1 is no lead of this workspace" in words
    answer = await client.post(url, data={"phones": NUMBERS[0]})
    assert "0 people were enrolled. 1 is in it already." in Page(answer.text).words


async def test_people_are_taken_out_after_a_question_with_their_count(
    client: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    sequence = await with_people(scene)
    url = f"/sequences/{sequence}/enrolments"
    chosen = [b["value"] for b in Page((await client.get(url)).text).attributes("input", name="enrolment")][:2]
    answer = await client.post(f"{url}/stop", data={"enrolment": chosen})
    assert "Take 2 people out?" in answer.text
    assert (await shown(scene, sequence)).people.active == 3, "nothing was done yet"
    answer = await client.post(f"{url}/stop", data={"enrolment": chosen, "confirmed": "2"})
    assert "said=enrolments-stopped&n=2" in answer.headers["Location"]
    people = (await shown(scene, sequence)).people
    assert (people.active, people.by_reason) == (1, {"by_person": 2})
    answer = await client.post(f"{url}/stop", data={})
    assert alert(answer) == "Choose at least one person."


async def test_the_list_of_people_is_narrowed_by_state_reason_step_and_device(
    client: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    sequence = await with_people(scene)
    first, *_ = (await shown(scene, sequence)).steps
    await scene.execute(
        "UPDATE enrolments SET state = 'stopped', stop_reason = 'replied', ended_at = fleetcast_now(), due_at = NULL "
        "WHERE recipient = $1",
        NUMBERS[0],
    )

    async def names(**query: object) -> set[str]:
        page = await client.get(f"/sequences/{sequence}/enrolments", params={k: str(v) for k, v in query.items()})
        return {name for name in ("Aminah", "Ben", "Chandra") if f">{name}<" in page.text}

    assert await names() == {"Aminah", "Ben", "Chandra"}
    assert await names(state=EnrolmentState.STOPPED.value) == {"Aminah"}
    assert await names(reason="replied") == {"Aminah"}
    assert await names(state="active", step=first.id) == {"Ben", "Chandra"}
    assert await names(of="Counter", state="active") == {"Ben", "Chandra"}
    assert await names(of="Nowhere") == set()


async def test_the_picture_and_its_table_tell_how_far_each_step_came_and_who_left(
    client: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    sequence = await with_people(scene)
    await scene.deliver()
    await scene.work()
    await scene.execute(
        "UPDATE broadcast_messages SET delivery = 'read' WHERE sequence_id = $1 AND recipient = $2",
        sequence,
        NUMBERS[0],
    )
    await client.post(
        f"/sequences/{sequence}/enrolments/stop",
        data={"enrolment": [str(await scene.value("SELECT min(id) FROM enrolments"))], "confirmed": "1"},
    )
    text = (await client.get(f"/sequences/{sequence}/now")).text
    labels = [a["aria-label"] for a in Page(text).attributes("svg", role="img")]
    assert labels[:2] == ["Step 1: due for 3, sent 3, delivered 1, read 1", "Left after it: 1"]
    first = re.findall(r"<tr><td>1</td>(.*?)</tr>", text, re.DOTALL)[0]
    assert re.findall(r">(\d+)<", first) == ["3", "3", "1", "1", "0", "0", "0", "1", "0"]
    assert "1 taken out by a person" in Page(text).words
    assert not re.search(r"style=|<script", text)


async def test_the_way_of_one_person_and_the_story_of_the_lead_name_the_sequence(
    client: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    sequence = await with_people(scene)
    await scene.deliver()
    await scene.work()
    enrolment = await scene.value("SELECT min(id) FROM enrolments")
    way = Page((await client.get(f"/enrolments/{enrolment}")).text).words
    assert "Step 1 Sent" in way
    assert "Step 2 Due" in way
    lead = await scene.value("SELECT lead_id FROM enrolments WHERE id = $1", enrolment)
    assert "Enrolled in Welcome by name" in Page((await client.get(f"/leads/{lead}")).text).words
    await client.post(f"/sequences/{sequence}/archive", data={"confirmed": "3"})
    await scene.work()
    assert "No more of Welcome Taken out by a person" in Page((await client.get(f"/leads/{lead}")).text).words


async def test_the_list_says_how_many_are_where_and_when_the_next_step_goes_out(
    client: httpx2.AsyncClient, scene: SequenceScene
) -> None:
    await with_people(scene)
    await scene.deliver()
    await scene.move(timedelta(minutes=5))
    await scene.work()
    page = Page((await client.get("/sequences?status=active")).text).words
    assert re.search(r"WelcomeProspects and customers Active 3 0 0 \w{3} \d+ \w{3}(?: \d{4})?, 10:00", page), page
    assert "No sequence is paused." in Page((await client.get("/sequences?status=paused")).text).words


async def test_who_only_looks_sees_everything_and_is_offered_nothing(
    app: FastAPI, scene: SequenceScene, runtime: Runtime
) -> None:
    sequence = await with_people(scene)
    viewer: Person = await visitors.signed_in(runtime, scene.workspace, role=Role.VIEWER)
    async with visitors.browser(app, viewer) as browser:
        for path in ("/sequences", f"/sequences/{sequence}", f"/sequences/{sequence}/enrolments"):
            page = await browser.get(path)
            assert page.status_code == 200
            main = page.text.partition("<main")[2]
            assert 'method="post"' not in main, path
        for path in ("pause", "archive", "enrol-existing", "enrolments", "enrolments/stop", "steps/new"):
            assert (await browser.post(f"/sequences/{sequence}/{path}", data=STEP)).status_code == 403, path


async def test_s19_names_and_texts_of_sequences_run_nowhere(client: httpx2.AsyncClient, scene: SequenceScene) -> None:
    sequence = await with_people(scene, name=HOSTILE)
    await scene.execute("UPDATE leads SET name = $1", HOSTILE)
    step = (await shown(scene, sequence)).steps[0].id
    enrolment = await scene.value("SELECT min(id) FROM enrolments")
    for answer in (
        await client.get("/sequences"),
        await client.get(f"/sequences/{sequence}"),
        await client.get(f"/sequences/{sequence}/enrolments"),
        await client.get(f"/sequences/{sequence}/steps/{step}"),
        await client.get(f"/enrolments/{enrolment}"),
        await client.post(f"/sequences/{sequence}/steps/look", data=STEP | {"body": HOSTILE + "{{ name }}"}),
        await client.post("/sequences/look", data=FORM | {"name": HOSTILE, "niches": HOSTILE}),
    ):
        assert answer.status_code == 200
        assert not [a for a in Page(answer.text).attributes("img") if "onerror" in a]
        assert 'hx-target="body"' not in answer.text


def test_a_picture_of_nothing_is_empty() -> None:
    assert stages(SequenceReport(Funnel({}, {}, 0, 0, People()), (), People(), ())) == []
