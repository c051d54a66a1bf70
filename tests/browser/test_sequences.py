"""A sequence from the first word to the last reply by the pages alone, on everything running, with the clock moved."""

import re
from datetime import timedelta

import pytest
from playwright.async_api import Page, expect

from fleetcast.domain.identifiers import Phone, SequenceId
from fleetcast.services.sequence_reports import report_sequence
from fleetcast.transports.simulator.control import SimulatorControl
from tests.api.tenants import Person
from tests.browser.conftest import Desk
from tests.engine.test_sequences_running import begun, enrol, has_sent, later
from tests.running import Fleet, until
from tests.web import visitors

PEOPLE = "name,phone,niche\nAminah,+60120000001,tea\nBen,+60120000002,tea\nCho,+60120000003,coffee\n"


@pytest.fixture
async def operator(fleet: Fleet) -> Person:
    """Who is signed in; an owner of the fleet's workspace."""
    return await visitors.signed_in(fleet.runtime, fleet.workspace.id)


async def time_passes(fleet: Fleet, by: timedelta) -> None:
    """So much later somebody is still signed in: they have not been away all the time."""
    async with fleet.runtime.db.connection() as connection:
        await connection.execute("UPDATE sessions SET seen_at = seen_at + $1, expires_at = expires_at + $1", by)
    await later(fleet, by)


async def add_step(page: Page, *, text: str, after: str = "", day: str = "", time: str = "") -> None:
    """Write a step with the form and be back on the sequence's page."""
    if after:
        await page.get_by_label("So long after").check()
        await page.get_by_label("After", exact=True).fill(after)
    else:
        await page.get_by_label("On a day, at a time of their own clock").check()
        await page.get_by_label("Day", exact=True).fill(day)
        await page.get_by_label("Time", exact=True).fill(time)
    await page.get_by_label("Text", exact=True).fill(text)
    await page.get_by_role("button", name="Add step").click()


async def test_a_sequence_is_written_activated_watched_and_ended_by_a_reply(
    desk: Desk, fleet: Fleet, operator: Person
) -> None:
    device = await fleet.device()
    await fleet.leads(device, PEOPLE)
    async with desk.open(operator) as page:
        await page.goto("/")
        await page.get_by_role("link", name="Sequences").click()
        await page.get_by_role("link", name="Make the first sequence").click()
        await page.get_by_label("Name", exact=True).fill("Welcome")
        await page.get_by_label("Niches").fill("tea")
        await page.get_by_label("Niches").press("Enter")
        await expect(page.locator("#audience")).to_contain_text("2 leads fit today")
        await page.get_by_role("button", name="Store, and write the steps").click()

        await page.get_by_role("link", name="Write the first step").click()
        await page.get_by_label("Text", exact=True).fill("Welcome ")
        await page.get_by_role("button", name="name", exact=True).click()
        await expect(page.locator("#reads .bubble")).to_contain_text("Welcome Aminah")
        await page.get_by_role("button", name="Another one").click()
        await expect(page.locator("#reads .bubble")).to_contain_text("Welcome Ben")
        await page.get_by_role("button", name="Add step").click()
        await page.get_by_role("link", name="Add step").click()
        await add_step(page, text="How are you?", after="1d")
        await expect(page.locator(".way > li")).to_have_count(2)

        await page.get_by_role("button", name="Activate…").click()
        sheet = page.locator("#activate")
        await expect(sheet).to_contain_text("2 leads fit now and were never in it")
        await sheet.get_by_role("button", name="Activate, and enrol 2 people").click()
        await expect(page.get_by_text("The sequence is active, and 2 people are being enrolled.")).to_be_visible()
        sequence = SequenceId(int(re.findall(r"\d+", page.url.partition("/sequences/")[2])[0]))
        await has_sent(fleet, sequence, 2)
        first = page.locator(".funnel > li").first
        await expect(first).to_contain_text("2 sent of 2 due")

        async with SimulatorControl(fleet.runtime.simulator_socket) as control:
            await control.reply(device.id, Phone("+60120000001"), "Thank you!")
        await expect(first).to_contain_text("1 replied")
        await time_passes(fleet, timedelta(days=1, minutes=1))
        await expect(page.locator(".funnel > li").nth(1)).to_contain_text("1 sent of 1 due")
        await expect(page.locator("#now .kpis")).to_contain_text(re.compile(r"At the end\s*1"))

        await page.get_by_role("link", name="Stopped").click()
        await page.get_by_role("link", name="Aminah").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Aminah in Welcome")
        await expect(page.get_by_role("main")).to_contain_text("Replied")
    verdict = await fleet.judge()
    assert (verdict.accepted, verdict.holds) == (3, True)


async def test_a_step_is_edited_while_it_runs_and_who_waits_gets_the_new_text(
    desk: Desk, fleet: Fleet, operator: Person
) -> None:
    await fleet.leads(await fleet.device(), PEOPLE)
    sequence = await begun(fleet)
    await enrol(fleet, sequence, 1, 2)
    await has_sent(fleet, sequence, 2)

    async def both_wait_for_the_second() -> bool:
        report = await report_sequence(fleet.runtime, fleet.workspace.id, sequence)
        return report.steps[1].funnel.people.active == 2

    await until(both_wait_for_the_second)
    async with desk.open(operator, expected=["status of 422"]) as page:
        await page.goto(f"/sequences/{sequence}")
        await page.get_by_role("link", name="Edit step 2").click()
        await expect(page.get_by_role("main")).to_contain_text("2 people wait for this step")
        await page.get_by_label("After", exact=True).fill("0m")
        await expect(page.locator("#wrong-when")).to_contain_text("Step 2 has the moment of step 1")
        await page.get_by_role("button", name="Store for 2 people who wait").click()
        await expect(page.get_by_role("alert").first).to_contain_text("Step 2 has the moment of step 1")
        await page.get_by_label("After", exact=True).fill("2h")
        await expect(page.locator("#wrong-when .lost")).to_have_count(0)
        await page.get_by_label("Text", exact=True).fill("A better text")
        await page.get_by_role("button", name="Store for 2 people who wait").click()
        await expect(page.get_by_text("The step is changed.")).to_be_visible()
        await time_passes(fleet, timedelta(hours=2, minutes=1))
        await expect(page.locator(".funnel > li").nth(1)).to_contain_text("2 sent of 2 due")
    async with fleet.runtime.db.connection() as connection:
        texts = await connection.fetch(
            "SELECT c.body FROM broadcast_messages b JOIN contents c ON c.id = b.content_id WHERE b.sequence_id = $1 "
            "ORDER BY b.id",
            sequence,
        )
    assert [row["body"] for row in texts] == ["Welcome {{ name }}"] * 2 + ["A better text"] * 2


async def test_steps_change_places_and_people_are_enrolled_and_taken_out_with_the_keyboard(
    desk: Desk, fleet: Fleet, operator: Person
) -> None:
    await fleet.leads(await fleet.device(), PEOPLE)
    sequence = await begun(fleet, {"after": "1d", "body": "One"}, {"after": "1d", "body": "Two"})
    async with desk.open(operator) as page:
        await page.goto(f"/sequences/{sequence}")
        await page.get_by_role("button", name="Move step 2 before step 1").press("Enter")
        await expect(page.locator(".way .bubble")).to_have_text(["Two", "One"])
        await page.get_by_role("link", name="Everybody, or enrol by name").press("Enter")
        await page.get_by_role("button", name="Enrol people").press("Enter")
        numbers = page.get_by_label("Numbers")
        await expect(numbers).to_be_focused()
        await numbers.fill("012-000 0001\n+60120000002")
        await page.get_by_role("button", name="Enrol them").press("Enter")
        await expect(page.get_by_text("2 people were enrolled.")).to_be_visible()
        await page.get_by_label("All on this page").press("Space")
        await page.get_by_role("button", name="Take out…").press("Enter")
        await page.get_by_role("button", name="Take 2 people out").press("Enter")
        await expect(page.get_by_text("2 people were taken out.")).to_be_visible()
        await expect(page.get_by_role("row").filter(has_text="Taken out by a person")).to_have_count(2)
