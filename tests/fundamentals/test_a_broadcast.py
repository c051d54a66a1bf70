"""From a file to `sent`, step by step."""

from fleetcast.domain.identifiers import CampaignId
from fleetcast.services.audience import preview_audience
from fleetcast.services.campaign_actions import cancel_campaign, launch_campaign, pause_campaign, resume_campaign
from fleetcast.services.campaigns import CampaignFields, create_campaign
from fleetcast.services.suppressions import add_suppression
from tests.running import Fleet, until

PEOPLE = """name,phone,niche,city
Aisyah,012-000 0001,fitness,Penang
Budi,+62812000000002,"fitness, food",Bandung
Mei Ling,+60120000003,food,Ipoh
"""
HELLO = "Hello {{ name }}, greetings to {{ city }}."


def many(count: int) -> str:
    return "name,phone\n" + "".join(f"Person {n},+6012000{n:04}\n" for n in range(count))


async def start(fleet: Fleet, **fields: object) -> CampaignId:
    """A launched campaign."""
    given: CampaignFields = {"title": "Greetings", "body": "Hello {{ name }}", "schedule": "now"}
    given.update(fields)  # type: ignore[typeddict-item]
    campaign = await create_campaign(fleet.runtime, fleet.workspace.id, given, actor="a person")
    await launch_campaign(fleet.runtime, fleet.workspace.id, campaign.id, actor="a person")
    return campaign.id


async def test_a_file_becomes_leads(fleet: Fleet) -> None:
    device = await fleet.device()
    report = await fleet.leads(device, PEOPLE + "Nobody,no number at all,food,Melaka\n")
    assert report.added == 3
    assert report.rejected == 1
    assert (report.problems[0].line, report.problems[0].column) == (5, "phone")


async def test_a_campaign_reaches_everybody_once_and_ends(fleet: Fleet) -> None:
    await fleet.leads(await fleet.device(), PEOPLE)
    campaign = await start(fleet, body=HELLO)
    await until(lambda: fleet.has_finished(campaign))
    assert await fleet.count(campaign, "sent") == 3
    verdict = await fleet.judge()
    assert verdict.accepted == 3
    assert verdict.holds


async def test_the_preview_counts_whom_the_campaign_will_reach(fleet: Fleet) -> None:
    await fleet.leads(await fleet.device(), PEOPLE)
    fields: CampaignFields = {"title": "Food", "body": HELLO, "niches": ["food"], "schedule": "now"}
    campaign = await create_campaign(fleet.runtime, fleet.workspace.id, fields, actor="a person")
    preview = await preview_audience(fleet.runtime, fleet.workspace.id, campaign.id)
    assert preview.recipients == 2
    await launch_campaign(fleet.runtime, fleet.workspace.id, campaign.id, actor="a person")
    await until(lambda: fleet.has_finished(campaign.id))
    assert (await fleet.show(campaign.id)).counts.planned == preview.recipients


async def test_a_paused_campaign_sends_nothing_more_until_it_is_resumed(fleet: Fleet) -> None:
    await fleet.leads(await fleet.device(delay=0.05), many(60))
    campaign = await start(fleet)

    async def some_are_sent() -> bool:
        return await fleet.count(campaign, "sent") >= 5

    async def nothing_is_under_way() -> bool:
        return await fleet.count(campaign, "queued", "sending") == 0

    await until(some_are_sent)
    await pause_campaign(fleet.runtime, fleet.workspace.id, campaign, actor="a person")
    await until(nothing_is_under_way)
    assert await fleet.count(campaign, "pending") > 0
    await resume_campaign(fleet.runtime, fleet.workspace.id, campaign, actor="a person")
    await until(lambda: fleet.has_finished(campaign))
    assert await fleet.count(campaign, "sent") == 60
    assert (await fleet.judge()).holds


async def test_a_cancelled_campaign_leaves_no_message_unaccounted(fleet: Fleet) -> None:
    await fleet.leads(await fleet.device(delay=0.05), many(60))
    campaign = await start(fleet)

    async def some_are_sent() -> bool:
        return await fleet.count(campaign, "sent") >= 5

    async def all_are_settled() -> bool:
        return await fleet.count(campaign, "sent", "cancelled") == 60

    await until(some_are_sent)
    await cancel_campaign(fleet.runtime, fleet.workspace.id, campaign, actor="a person")
    await until(all_are_settled)
    assert await fleet.count(campaign, "cancelled") > 0
    assert (await fleet.judge()).holds


async def test_who_opted_out_is_not_written_to(fleet: Fleet) -> None:
    await fleet.leads(await fleet.device(), PEOPLE)
    await add_suppression(fleet.runtime, fleet.workspace, "012-000 0001", actor="a person")
    campaign = await start(fleet)
    await until(lambda: fleet.has_finished(campaign))
    assert await fleet.count(campaign, "sent") == 2
    assert (await fleet.judge()).accepted == 2
