"""Campaigns in the hands of a person: moved in the calendar, written with a picture in view, tried on a number of one's
own.
"""

import re
from datetime import UTC, datetime

import pytest
from playwright.async_api import Page, expect

from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.campaigns import page_of_campaigns, show_campaign
from tests import recordings
from tests.api.tenants import Person
from tests.browser import windows
from tests.browser.conftest import Desk
from tests.campaign_scene import Scene
from tests.running import Fleet
from tests.security.seeding import picture
from tests.web import visitors

MONTH = "/campaigns/calendar?month=2031-05"
BRING = """([way, bytes]) => {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(bytes)], `${way}.png`, { type: "image/png" }));
  const told = { bubbles: true, cancelable: true, dataTransfer: files, clipboardData: files };
  if (way === "drop") document.querySelector("[data-drop]").dispatchEvent(new DragEvent("drop", told));
  else document.querySelector("#f-body").dispatchEvent(new ClipboardEvent("paste", told));
}"""
"""A file that is dropped or pasted, as the system would bring it."""


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> Scene:
    made = Scene(runtime, workspace)
    device = await made.add_device("Counter")
    for n, name in enumerate(("Aminah", "Ben")):
        await made.add_lead(device, f"+6012345670{n}", name=name, niches=["tea"] if n else ["cake"])
    await made.execute("UPDATE workspaces SET time_zone = 'Asia/Kuala_Lumpur', region = 'MY' WHERE id = $1", workspace)
    return made


async def starts(scene: Scene, campaign: CampaignId) -> datetime | None:
    return (await show_campaign(scene.runtime, scene.workspace, campaign)).campaign.starts_at


def day(page: Page, number: int) -> str:
    return f"[data-day='2031-05-{number:02}']"


async def test_a_campaign_is_dragged_to_another_day_and_taken_back(desk: Desk, scene: Scene, person: Person) -> None:
    campaign = await scene.draft(title="Spring", schedule="2031-05-07 18:30")
    await scene.launch(campaign)
    async with desk.open(person, height=1000) as page:
        await page.goto(MONTH)
        await page.locator("[data-campaign]").drag_to(page.locator(day(page, 22)))
        await expect(page.locator(day(page, 22))).to_contain_text("Spring")
        await expect(page.get_by_role("status")).to_contain_text(
            "Moved Spring from Wed 7 May, 18:30 to Thu 22 May, 18:30."
        )
        assert await starts(scene, campaign) == datetime(2031, 5, 22, 10, 30, tzinfo=UTC)
        await page.get_by_role("button", name="Undo").click()
        await expect(page.locator(day(page, 7))).to_contain_text("Spring")
    assert await starts(scene, campaign) == datetime(2031, 5, 7, 10, 30, tzinfo=UTC)


async def test_a_drop_into_the_past_is_refused_where_it_can_be_put_right(
    desk: Desk, scene: Scene, person: Person
) -> None:
    campaign = await scene.draft(title="Spring")
    async with desk.open(person, height=1400, expected=["status of 422"]) as page:
        await page.goto("/campaigns/calendar?month=2026-01")
        await page.locator("[data-campaign]").drag_to(page.locator("[data-day='2026-01-13']"))
        sheet = page.locator(f"#move-{campaign}")
        await expect(sheet.get_by_role("alert")).to_contain_text("is in the past")
        await expect(sheet.get_by_label("Move to")).to_be_focused()
        await sheet.get_by_label("Move to").fill("2031-05-09T08:00")
        await page.keyboard.press("Enter")
        await expect(page.locator(day(page, 9))).to_contain_text("08:00 · Draft")


@pytest.mark.parametrize("width", [1280, windows.PHONE])
async def test_a_campaign_is_moved_by_the_keyboard_alone(desk: Desk, scene: Scene, person: Person, width: int) -> None:
    campaign = await scene.draft(title="Spring", schedule="2031-05-07 18:30")
    async with desk.open(person, width=width, height=844) as page:
        await page.goto(MONTH)
        await page.get_by_role("button", name="Move Spring to another day").focus()
        await page.keyboard.press("Enter")
        to = page.get_by_label("Move to")
        await expect(to).to_be_focused()
        await to.fill("2031-05-09T08:15")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("to Fri 9 May, 08:15.")
        await expect(page.locator(day(page, 9))).to_contain_text("08:15 · Draft")
    assert await starts(scene, campaign) == datetime(2031, 5, 9, 0, 15, tzinfo=UTC)


async def test_what_is_written_is_seen_as_it_will_be_read_with_its_picture(
    desk: Desk, scene: Scene, person: Person
) -> None:
    async with desk.open(person, height=1000) as page:
        await page.goto("/campaigns/new")
        await page.get_by_label("Title").fill("Spring")
        await page.get_by_label("Text", exact=True).fill("Hello {{ nam }}, *sale*")
        await expect(page.locator("#wrong-body")).to_contain_text('Line 1, column 10: No lead has a "nam"')
        await expect(page.locator("#audience")).to_contain_text("2 people get it")
        await page.get_by_label("Text", exact=True).fill("Hello {{ name }}, *sale*")
        await expect(page.locator("#wrong-body")).to_be_empty()
        await expect(page.locator("#reads .bubble")).to_have_text("Hello Aminah, sale")
        await expect(page.locator("#reads .bubble b")).to_have_text("sale")
        await page.get_by_role("button", name="Another one").click()
        await expect(page.locator("#reads .bubble")).to_have_text("Hello Ben, sale")

        await page.get_by_label("Niches", exact=True).press_sequentially("tea")
        await page.keyboard.press("Enter")
        await expect(page.locator("#audience")).to_contain_text("1 person gets it")
        await page.get_by_role("button", name="cake", exact=True).click()
        await expect(page.locator("#audience")).to_contain_text("2 people get it")
        await page.get_by_role("button", name="Remove cake").click()
        await expect(page.locator("#audience")).to_contain_text("1 person gets it")

        chosen = page.locator("#f-file")
        await chosen.set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"x"})
        await expect(page.locator("[data-trouble]")).to_contain_text("notes.txt is text/plain. Choose a JPEG")
        await chosen.set_input_files({"name": "offer.png", "mimeType": "image/png", "buffer": picture(5)})
        await expect(page.locator("[data-have]")).to_contain_text("offer.png")
        shown = page.locator("#reads .bubble img")
        await expect(shown).to_have_attribute("alt", "offer.png")
        assert await shown.evaluate("async (image) => { await image.decode(); return image.naturalWidth; }") == 4
        for seed, way in enumerate(("drop", "paste"), 6):
            await page.get_by_role("button", name="Remove", exact=True).click()
            await expect(shown).to_have_count(0)
            await page.evaluate(BRING, [way, list(picture(seed))])
            await expect(shown).to_have_attribute("alt", f"{way}.png")
        await page.get_by_role("button", name=re.compile("see whom it reaches")).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Spring")
        await expect(page.locator("#launch")).to_contain_text("Launch to 1 person")
    [(campaign, _)], _ = await page_of_campaigns(scene.runtime, scene.workspace)
    report = await show_campaign(scene.runtime, scene.workspace, campaign.id)
    assert campaign.niches == ("tea",)
    assert report.content.media_sha256 is not None


async def test_a_video_plays_on_while_the_text_is_written_and_can_be_sought(
    desk: Desk, scene: Scene, person: Person
) -> None:
    async with desk.open(person, height=1000) as page:
        await page.goto("/campaigns/new")
        chosen = page.locator("#f-file")
        film = {"name": "offer.mp4", "mimeType": "video/mp4", "buffer": recordings.video(frames=60)}
        await chosen.set_input_files(film)  # type: ignore[arg-type]
        await expect(page.locator("[data-have]")).to_contain_text("64 × 48, 0:05, ")
        await expect(page.locator("[data-thumb]")).to_be_hidden()
        player = page.locator("#reads .bubble video")
        await expect(player).to_have_attribute("aria-label", "offer.mp4")
        sought = """async (video) => {
            if (video.readyState < 1) await new Promise((done) => video.addEventListener("loadedmetadata", done));
            const arrived = new Promise((done) => video.addEventListener("seeked", done));
            video.currentTime = 3;
            await arrived;
            return [video.videoWidth, video.videoHeight, video.currentTime];
        }"""
        assert await player.evaluate(sought) == [64, 48, 3]
        await page.get_by_label("Text", exact=True).fill("Hello {{ name }}, look")
        await expect(page.locator("#reads .bubble")).to_contain_text("Hello Aminah, look")
        assert await player.evaluate("(video) => video.currentTime") == 3, "it is the same player"


async def test_with_audio_a_text_is_told_off_as_one_types_and_none_is_asked_for(
    desk: Desk, scene: Scene, person: Person
) -> None:
    async with desk.open(person, height=1000) as page:
        await page.goto("/campaigns/new")
        await page.get_by_label("Title").fill("Song")
        text = page.get_by_label("Text", exact=True)
        await text.fill("Listen")
        song = {"name": "song.m4a", "mimeType": "audio/x-m4a", "buffer": recordings.audio()}
        await page.locator("#f-file").set_input_files(song)  # type: ignore[arg-type]
        await expect(page.locator("[data-have]")).to_contain_text("song.m4a")
        await expect(page.locator("#wrong-body")).to_contain_text("WhatsApp shows no text with audio: empty it")
        await text.fill("")
        await expect(page.locator("#wrong-body")).to_be_empty()
        await expect(page.locator("#reads .bubble audio")).to_have_attribute("aria-label", "song.m4a")
        await page.get_by_role("button", name=re.compile("see whom it reaches")).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Song")
        await expect(page.locator("audio:visible")).to_have_count(1)


async def test_a_video_that_whatsapp_does_not_play_is_refused_beside_the_field(
    desk: Desk, scene: Scene, person: Person
) -> None:
    async with desk.open(person, expected=["status of 422"]) as page:
        await page.goto("/campaigns/new")
        film = {"name": "offer.mp4", "mimeType": "video/mp4", "buffer": recordings.video("libx265")}
        await page.locator("#f-file").set_input_files(film)  # type: ignore[arg-type]
        await expect(page.locator("[data-trouble]")).to_contain_text("The video is HEVC (H.265); WhatsApp plays H.264")
        await expect(page.locator("[data-have]")).to_be_hidden()


async def test_an_address_that_leads_nowhere_allowed_is_refused_at_once(
    desk: Desk, scene: Scene, person: Person
) -> None:
    async with desk.open(person, expected=["status of 422"]) as page:
        await page.goto("/campaigns/new")
        await page.get_by_label("Picture, video, audio or document", exact=True).fill("https://127.0.0.1/offer.png")
        await page.keyboard.press("Tab")
        await expect(page.locator("[data-trouble]")).to_be_visible()
        await expect(page.locator("[data-have]")).to_be_hidden()


async def test_a_large_audience_is_counted_while_one_reads_and_then_asked_about(
    desk: Desk, scene: Scene, person: Person
) -> None:
    await scene.add_leads(scene.devices[0], 6_000, first=1_000)
    campaign = await scene.draft(title="Spring", body="Hello")
    async with desk.open(person) as page:
        await page.goto(f"/campaigns/{campaign}")
        await expect(page.locator("#summary .fig")).to_have_text("6,002 people get it")
        await page.get_by_role("button", name="Launch…").click()
        await expect(page.get_by_role("button", name="Launch to 6,002 people")).to_be_visible()


async def test_leaving_with_something_unsaved_is_asked_about(desk: Desk, scene: Scene, person: Person) -> None:
    async with desk.open(person, expected=["a dialog opened"]) as page:
        await page.goto("/campaigns/new")
        await page.get_by_role("link", name="Campaigns", exact=True).last.click()
        await expect(page).to_have_url(re.compile("/campaigns$"))
        await page.goto("/campaigns/new")
        await page.get_by_label("Title").press_sequentially("Spring")
        async with page.expect_event("dialog"):
            await page.get_by_role("link", name="Campaigns", exact=True).last.click(no_wait_after=True)
        await expect(page.get_by_label("Title")).to_have_value("Spring")


async def test_a_test_is_sent_to_a_number_of_ones_own_and_its_life_is_seen(desk: Desk, fleet: Fleet) -> None:
    device = await fleet.device("Counter")
    await fleet.leads(device, "phone,name\n+60123456701,Aminah\n+60123456702,Ben\n")
    owner = await visitors.signed_in(fleet.runtime, fleet.workspace.id)
    scene = Scene(fleet.runtime, fleet.workspace.id)
    campaign = await scene.draft(title="Spring", body="Hello {{ name }}")
    async with desk.open(owner) as page:
        await page.goto(f"/campaigns/{campaign}")
        await page.get_by_role("button", name="Send a test…").click()
        await expect(page.get_by_label("Your number")).to_be_focused()
        await page.get_by_label("Your number").fill("012-999 9999")
        await page.get_by_label("As which lead reads it").fill("012-345 6702")
        await page.get_by_role("button", name="Send the test").click()
        life = page.locator("#test")
        await expect(life).to_contain_text("Test to +60 12-999 9999")
        await expect(life).to_contain_text(re.compile("Sent|Delivered|Read"))
        await expect(page.locator("#test-now")).not_to_have_attribute("hx-get", re.compile("."))
    assert (await fleet.show(campaign)).counts.planned == 0
    [sent] = await scene.fetch(
        "SELECT c.body FROM broadcast_messages m JOIN contents c ON c.id = m.content_id WHERE m.recipient = $1",
        "+60129999999",
    )
    assert sent["body"] == "Hello Ben"
    assert (await fleet.judge()).accepted == 1
