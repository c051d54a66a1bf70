"""A person's story: everything that happened, newest first, each once, and nothing of anybody else."""

from fleetcast.domain.bulk_edit import EditAction
from fleetcast.domain.identifiers import LeadId
from fleetcast.domain.lead import Consent
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.engine.bulk_editor import BulkEditor
from fleetcast.runtime import Runtime
from fleetcast.services import leads
from fleetcast.services.bulk_edits import change_leads
from fleetcast.services.lead_timeline import story_of
from tests.security.seeding import whole_workspace


async def test_everything_that_happened_to_a_person_is_told_once_and_newest_first(runtime: Runtime) -> None:
    shop, other = await whole_workspace(runtime), await whole_workspace(runtime)
    lead = LeadId(int(shop.ids["lead_id"]))
    stored = (await leads.show_lead(runtime, shop.workspace, lead)).stored
    await leads.change_lead(runtime, shop.workspace, lead, {"name": "Aminah"}, may_lift=True, actor="user:ann")
    async with runtime.db.connection() as connection:
        await connection.execute(
            "INSERT INTO inbox (workspace_id, device_id, occurred_at, kind, event_id, sender, body) "
            "VALUES ($1, $2, fleetcast_now(), 'reply', 'story', $3, 'Thank you')",
            shop.workspace,
            stored.device_id,
            stored.lead.phone,
        )
    made = await change_leads(
        runtime,
        shop.workspace,
        LeadFilter(ids=(lead,)),
        EditAction.SET_STATUS,
        {"status": "customer"},
        confirmed=1,
        actor="user:ben",
    )
    editor = BulkEditor(runtime)
    while await editor.run_once():
        pass
    said = leads.ConsentGiven(Consent.REFUSED, "on the telephone")
    await leads.change_lead(runtime, shop.workspace, lead, {}, consent=said, may_lift=True, actor="user:ann")

    told = (await story_of(runtime, shop.workspace, stored)).happened
    kinds = [each.kind for each in told]
    assert sorted(kinds[:2]) == ["decided", "ended"], "who refuses is in no sequence any more"
    [refused, ended] = sorted(told[:2], key=lambda each: each.kind)
    assert refused.facts["after"]["consent"] == "refused"
    assert (ended.facts["sequence"], ended.facts["stop_reason"]) == (f"{shop.mark} first sequence", "opted_out")
    came = ["message", "reply", "enrolled", "imported"]
    assert sorted(kinds) == sorted(["decided", "decided", "changed", "changed", "ended", *came])
    assert [each.at for each in told] == sorted((each.at for each in told), reverse=True)
    assert any(each.kind == "changed" and each.facts["id"] == made.id for each in told)

    pages, before = [], None
    while True:
        page = await story_of(runtime, shop.workspace, stored, before=before, limit=2)
        pages += page.happened
        before = page.next
        if before is None:
            break
    assert pages == told
    assert not any(other.mark in str(each.facts) for each in told)
