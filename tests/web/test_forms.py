"""What the forms of the pages do: each of them as a browser sends it, judged by what the system says afterwards."""

import re
from collections.abc import AsyncIterator

import httpx2
import pyotp
import pytest
from fastapi import FastAPI

from fleetcast.domain.access import Role
from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import CampaignId, DeviceId, LeadId, MessageId, WorkspaceId
from fleetcast.domain.lead import Consent
from fleetcast.domain.message import PRIORITY_REPLY, PRIORITY_SINGLE
from fleetcast.runtime import Runtime
from fleetcast.services import campaigns, devices, leads, messages, suppressions
from fleetcast.services.accounts import keys, membership
from fleetcast.services.workspaces import get_workspace
from tests.api import tenants
from tests.campaign_scene import Scene
from tests.security.seeding import PASSWORD, Tenant


@pytest.fixture
async def browser(app: FastAPI, shop: Tenant) -> AsyncIterator[httpx2.AsyncClient]:
    """The owner's."""
    async with tenants.client(app, session=shop.owner.token) as client:
        yield client


async def send(browser: httpx2.AsyncClient, path: str, **fields: object) -> httpx2.Response:
    return await browser.post(path, data=fields)


async def done(browser: httpx2.AsyncClient, path: str, **fields: object) -> str:
    """Send a form that is accepted; returns what the page says that one comes to."""
    answer = await send(browser, path, **fields)
    assert answer.status_code == 303, answer.text[-1_500:]
    page = await browser.get(answer.headers["Location"])
    assert page.status_code == 200
    found = re.search(r'<p class="lost k-ok" role="status">(.*?)</p>', page.text)
    assert found is not None, page.text
    return found[1]


def alert(answer: httpx2.Response) -> str:
    found = re.search(r'role="alert"[^>]*>(.*?)</(?:p|div)>\n', answer.text, re.DOTALL)
    assert found is not None, answer.text
    return re.sub(r"<[^>]+>", " ", found[1])


# -- devices


async def test_a_device_is_added_paced_paused_resumed_and_removed(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    said = await done(browser, "/devices", name="Counter", min_delay="5", max_delay="7,5", region="my")
    assert said == "The device was added."
    made = await devices.find_device(runtime, shop.workspace, "Counter")
    assert (made.min_delay, made.max_delay, made.region) == (5, 7.5, "MY")
    path = f"/devices/{made.id}"
    await done(browser, f"{path}/pace", min_delay="20", max_delay="30")
    await done(browser, f"{path}/pause", reason="battery")
    paused = await devices.get_device(runtime, shop.workspace, made.id)
    assert (paused.min_delay, paused.max_delay, paused.paused_reason) == (20, 30, "battery")
    assert "battery" in (await browser.get(path)).text
    await done(browser, f"{path}/resume")
    assert (await devices.get_device(runtime, shop.workspace, made.id)).paused_at is None
    await done(browser, f"{path}/remove")
    assert (await browser.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "", "min_delay": "1", "max_delay": "2"}, "Name"),
        ({"name": "X", "min_delay": "soon", "max_delay": "2"}, "Min_delay: 'soon' is no number of seconds."),
        ({"name": "X", "min_delay": "9", "max_delay": "2"}, "delay"),
        ({"name": "X", "min_delay": "1", "max_delay": "2", "region": "XX"}, "Region"),
    ],
)
async def test_a_device_that_cannot_be_is_refused_beside_its_field_and_what_was_typed_stays(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant, fields: dict[str, str], words: str
) -> None:
    before = len(await devices.list_devices(runtime, shop.workspace))
    answer = await send(browser, "/devices", **fields)
    assert answer.status_code == 422
    assert words in alert(answer).replace("&#39;", "'")
    assert f'value="{fields["max_delay"]}"' in answer.text
    assert len(await devices.list_devices(runtime, shop.workspace)) == before


async def test_several_devices_are_paused_and_resumed_at_once(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    every = [d.id for d in await devices.list_devices(runtime, shop.workspace)]
    assert len(every) == 2
    assert (await done(browser, "/devices/actions/pause", device=every)).startswith("2 devices are paused")
    assert all(d.paused_at for d in await devices.list_devices(runtime, shop.workspace))
    assert (await done(browser, "/devices/actions/resume", device=every)) == "2 devices go on."
    assert (await done(browser, "/devices/actions/resume", device=every)) == "Nothing had to be done."


async def test_the_removal_of_a_device_says_how_many_messages_it_skips(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    device = DeviceId(int(shop.ids["device_id"]))
    waiting = await devices.waiting_messages(runtime, shop.workspace, device)
    assert waiting == 1
    assert "Remove, skip 1 message" in (await browser.get(f"/devices/{device}")).text


# -- campaigns


async def test_a_campaign_is_drafted_shown_launched_paused_changed_resumed_and_cancelled(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    answer = await send(
        browser, "/campaigns/new", title="Spring", body="Hello {{ name }}", niches="", deadline="2d", schedule=""
    )
    assert answer.status_code == 303, answer.text[-1_500:]
    campaign = CampaignId(int(re.findall(r"\d+", answer.headers["Location"])[0]))
    page = (await browser.get(f"/campaigns/{campaign}")).text
    assert "Launch to 12 people" in page, "two devices with five leads and an imported one each"
    assert await done(browser, f"/campaigns/{campaign}/launch") == "The campaign is launched."
    await Scene(runtime, shop.workspace).plan()
    await done(browser, f"/campaigns/{campaign}/pause")
    await done(browser, f"/campaigns/{campaign}/edit", title="Spring sale", body="Hi {{ name }}", deadline="3d")
    await Scene(runtime, shop.workspace).plan()
    await done(browser, f"/campaigns/{campaign}/resume")
    report = await campaigns.show_campaign(runtime, shop.workspace, campaign)
    assert (report.campaign.status, report.campaign.title) == (CampaignStatus.RUNNING, "Spring sale")
    assert (report.content.body, report.campaign.deadline_after.days) == ("Hi {{ name }}", 3)
    assert "Cancel 12 messages" in (await browser.get(f"/campaigns/{campaign}")).text
    await done(browser, f"/campaigns/{campaign}/cancel")
    report = await campaigns.show_campaign(runtime, shop.workspace, campaign)
    assert report.campaign.status is CampaignStatus.CANCELLED


async def test_a_draft_with_mistakes_names_each_of_them_and_keeps_what_was_typed(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    given = {"title": "", "body": "Hello {{ nme }}", "deadline": "soon", "min_delay": "1", "max_delay": ""}
    answer = await send(browser, "/campaigns/new", **given)
    assert answer.status_code == 422
    told = alert(answer)
    for field in ("Title", "Body", "Deadline"):
        assert field in told
    assert "Hello {{ nme }}" in answer.text


async def test_a_campaign_for_chosen_devices_is_never_widened_by_an_edit(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    first = int(shop.ids["device_id"])
    form = {"title": "Few", "body": "Hello", "deadline": "7d"}
    answer = await send(browser, "/campaigns/new", **form, which="chosen", device=first)
    campaign = CampaignId(int(re.findall(r"\d+", answer.headers["Location"])[0]))
    page = (await browser.get(f"/campaigns/{campaign}/edit")).text
    assert f'value="{first}" checked' in page
    for mistake in ({"which": "chosen"}, {"which": "all", "device": first}):
        answer = await send(browser, f"/campaigns/{campaign}/edit", **form, **mistake)
        assert answer.status_code == 422
        assert "device" in alert(answer).lower()
    report = await campaigns.show_campaign(runtime, shop.workspace, campaign)
    assert report.campaign.device_ids == (first,)
    await done(browser, f"/campaigns/{campaign}/edit", **form, which="all")
    assert (await campaigns.show_campaign(runtime, shop.workspace, campaign)).campaign.device_ids is None


async def test_what_is_no_longer_possible_is_said_on_the_campaigns_page(
    browser: httpx2.AsyncClient, shop: Tenant
) -> None:
    answer = await send(browser, f"/campaigns/{shop.ids['campaign_id']}/launch")
    assert answer.status_code == 409
    assert "is already running" in alert(answer)


async def test_a_copy_is_a_draft_that_opens_in_the_form(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    answer = await send(browser, f"/campaigns/{shop.ids['campaign_id']}/clone")
    assert answer.headers["Location"].split("?")[0].endswith("/edit")
    copy = CampaignId(int(re.findall(r"\d+", answer.headers["Location"])[0]))
    assert (await campaigns.show_campaign(runtime, shop.workspace, copy)).campaign.status is CampaignStatus.DRAFT


# -- messages in doubt


@pytest.mark.parametrize(("decision", "status"), [("arrived", "sent"), ("give-up", "failed"), ("resend", "pending")])
async def test_a_message_in_doubt_is_decided(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant, decision: str, status: str
) -> None:
    message = MessageId(int(shop.ids["message_id"]))
    await done(browser, f"/messages/in-doubt/{decision}", message=message)
    assert (await messages.show_message(runtime, shop.workspace, message)).message.status == status


async def test_a_decision_about_nothing_is_no_decision(browser: httpx2.AsyncClient) -> None:
    answer = await send(browser, "/messages/in-doubt/resend")
    assert answer.status_code == 422
    assert alert(answer)


# -- leads


async def test_a_lead_is_changed_refuses_and_is_forgotten(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    lead = LeadId(int(shop.ids["lead_id"]))
    await done(browser, f"/leads/{lead}", name="Aminah", niches="tea, coffee", target_status="customer", journey="x")
    stored = (await leads.show_lead(runtime, shop.workspace, lead)).stored.lead
    assert (stored.name, stored.niches, stored.target_status) == ("Aminah", ("coffee", "tea"), "customer")
    await done(browser, f"/leads/{lead}/consent", said="refused", source="on the telephone")
    shown = await leads.show_lead(runtime, shop.workspace, lead)
    assert (shown.stored.lead.consent, shown.suppressed) == (Consent.REFUSED, True)
    await done(browser, f"/leads/{lead}/remove")
    assert (await browser.get(f"/leads/{lead}")).status_code == 404


async def test_a_lead_is_written_to_once_by_its_own_device_and_answered_where_they_wrote(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    lead, path = LeadId(int(shop.ids["lead_id"])), f"/leads/{shop.ids['lead_id']}"
    page = (await browser.get(path)).text
    assert "Write…" in page
    once = re.search(r'name="once" value="(\w+)"', page)
    assert once is not None
    for _ in range(2):  # a button that was pressed twice
        said = await done(browser, f"{path}/write", text="Your parcel is here", once=once[1])
    assert said == "Your message leaves as soon as it is the device&#39;s turn."
    stored = (await leads.show_lead(runtime, shop.workspace, lead)).stored
    async with runtime.db.connection() as connection:
        made = await connection.fetch(
            "SELECT b.device_id, b.priority, c.body FROM broadcast_messages b JOIN contents c ON c.id = b.content_id "
            "WHERE b.recipient = $1 AND c.body LIKE '%parcel%'",
            stored.lead.phone,
        )
        await connection.execute(
            "INSERT INTO inbox (workspace_id, device_id, occurred_at, kind, event_id, sender, body) "
            "VALUES ($1, $2, fleetcast_now(), 'reply', 'a-reply', $3, 'When?')",
            shop.workspace,
            stored.device_id,
            stored.lead.phone,
        )
    assert [tuple(row) for row in made] == [(stored.device_id, PRIORITY_SINGLE, "Your parcel is here")]
    assert "Answer…" in (await browser.get(path)).text
    await done(browser, f"{path}/write", text="Until six")
    async with runtime.db.connection() as connection:
        assert (
            await connection.fetchval(
                "SELECT b.priority FROM broadcast_messages b JOIN contents c ON c.id = b.content_id "
                "WHERE c.body = 'Until six'"
            )
            == PRIORITY_REPLY
        )


async def test_an_empty_message_to_a_lead_is_refused_in_its_sheet(browser: httpx2.AsyncClient, shop: Tenant) -> None:
    answer = await send(browser, f"/leads/{shop.ids['lead_id']}/write", text="  ")
    assert answer.status_code == 422
    assert "a text is needed" in alert(answer)
    assert "data-open" in answer.text


async def test_nobody_can_write_to_a_lead_that_refused(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    path = f"/leads/{shop.ids['lead_id']}"
    await done(browser, f"{path}/consent", said="refused", source="on the telephone")
    assert "Write…" not in (await browser.get(path)).text
    assert await done(browser, f"{path}/write", text="Still") == (
        "Nothing was sent: this person asked for no more messages."
    )


async def test_consent_needs_a_source(browser: httpx2.AsyncClient, shop: Tenant) -> None:
    answer = await send(browser, f"/leads/{shop.ids['lead_id']}/consent", said="given", source=" ")
    assert answer.status_code == 422
    assert "source" in alert(answer).lower()


async def test_leads_come_as_a_table_and_so_do_refused_rows(browser: httpx2.AsyncClient, shop: Tenant) -> None:
    table = await browser.get("/leads/export")
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text.count("\n") == 13, "twelve leads and the headings"
    refused = await browser.get(f"/leads/imports/{shop.ids['import_id']}/rejected")
    assert f"{shop.mark} first refused" in refused.text


# -- settings


async def test_a_workspace_is_changed(browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant) -> None:
    await done(browser, "/settings", name=f"{shop.mark} new", time_zone="Asia/Tokyo", region="jp")
    changed = await get_workspace(runtime, shop.workspace)
    assert (changed.name, changed.time_zone, changed.region) == (f"{shop.mark} new", "Asia/Tokyo", "JP")
    answer = await send(browser, "/settings", name="x", time_zone="Mars/Base", region="JP")
    assert answer.status_code == 422
    assert "Mars/Base" in answer.text


async def test_a_member_is_invited_promoted_and_removed(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    page = (await send(browser, "/settings/members", email="new@example.org", role="operator")).text
    assert re.search(r"<code>http[^<]*/invitations/[^<]+</code>", page), "the link is shown"
    [_, made] = (await membership.list_invitations(runtime, shop.workspace))[0]
    assert (made.email, made.role) == ("new@example.org", Role.OPERATOR)
    await done(browser, f"/settings/invitations/{made.id}/withdraw")
    await done(browser, f"/settings/members/{shop.viewer.user_id}/role", role="operator")
    assert (await membership.get_member(runtime, shop.workspace, shop.viewer.user_id)).role is Role.OPERATOR
    await done(browser, f"/settings/members/{shop.viewer.user_id}/remove")
    assert shop.viewer.email not in (await browser.get("/settings/members")).text


async def test_the_last_owner_stays(browser: httpx2.AsyncClient, shop: Tenant) -> None:
    answer = await send(browser, f"/settings/members/{shop.owner.user_id}/remove")
    assert answer.status_code == 409
    assert "owner" in alert(answer)


async def test_a_key_is_shown_once_and_revoked(browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant) -> None:
    answer = await send(browser, "/settings/keys", name="export", scope=["read", "send"], days="30")
    [token] = re.findall(r"fck_[\w-]+", answer.text)
    assert token not in (await browser.get("/settings/keys")).text
    made = next(k for k in (await keys.list_keys(runtime, shop.workspace))[0] if k.name == "export")
    assert {s.value for s in made.scopes} == {"read", "send"}
    await done(browser, f"/settings/keys/{made.id}/revoke")
    assert (await keys.get_key(runtime, shop.workspace, made.id)).revoked_at is not None


async def test_a_number_is_suppressed_and_lifted(browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant) -> None:
    workspace = await get_workspace(runtime, shop.workspace)
    await done(browser, "/settings/suppressions", number="+60123456789", note="at the counter")
    entry = await suppressions.find_suppression(runtime, workspace, "+60123456789")
    assert entry is not None
    assert entry.note == "at the counter"
    await done(browser, "/settings/suppressions/lift", number="+60123456789")
    assert await suppressions.find_suppression(runtime, workspace, "+60123456789") is None
    assert (await send(browser, "/settings/suppressions", number="abc")).status_code == 422


# -- oneself


async def test_a_password_and_a_name_are_changed(browser: httpx2.AsyncClient) -> None:
    await done(browser, "/me/name", name="Ann")
    wrong = await send(browser, "/me/password", password="not it at all", new_password="a purple kettle upstairs")
    assert wrong.status_code == 422
    assert alert(wrong)
    await done(browser, "/me/password", password=PASSWORD, new_password="a purple kettle upstairs")


async def test_a_second_factor_is_set_up_with_codes_shown_once(browser: httpx2.AsyncClient, runtime: Runtime) -> None:
    page = (await send(browser, "/me/second-factor", password=PASSWORD)).text
    found = re.search(r"<code>([A-Z2-7]{16,})</code>", page)
    assert found is not None
    async with runtime.db.connection() as connection:
        now = await connection.fetchval("SELECT fleetcast_now()")
    page = (await send(browser, "/me/second-factor/confirm", code=pyotp.TOTP(found[1]).at(now))).text
    assert page.count("<li><code>") == 10
    after = (await browser.get("/me")).text
    assert "10 recovery codes left" in after
    assert "<li><code>" not in after


async def test_other_sessions_are_ended(app: FastAPI, runtime: Runtime, workspace: WorkspaceId) -> None:
    person = await tenants.person(runtime, workspace)
    async with tenants.client(app, session=person.token) as here:
        assert await done(here, "/me/sessions/end-others") == "Nothing had to be done."
