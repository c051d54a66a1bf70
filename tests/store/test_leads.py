"""Reading leads: one truth for what a text may print, and never a lead of somebody else."""

from collections.abc import Mapping

import pytest

from fleetcast.domain.identifiers import DeviceId, LeadId, Phone, WorkspaceId
from fleetcast.domain.lead import Consent, LeadStatus, lead_variables
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device
from fleetcast.services.workspaces import create_workspace
from fleetcast.store import leads
from fleetcast.store.connection import Database


async def _insert(
    db: Database, workspace: WorkspaceId, device: DeviceId, phone: str, **more: str | list[str] | Mapping[str, str]
) -> LeadId:
    columns = ["workspace_id", "device_id", "phone", *more]
    async with db.connection() as connection:
        made = await connection.fetchval(
            f"INSERT INTO leads ({', '.join(columns)}) VALUES ({', '.join(f'${i + 1}' for i in range(len(columns)))}) "
            "RETURNING id",
            workspace,
            device,
            phone,
            *more.values(),
        )
    return LeadId(made)


@pytest.fixture
async def device(runtime: Runtime, workspace: WorkspaceId) -> DeviceId:
    return (await add_device(runtime, workspace, "Anna")).id


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"name": "Anna", "niches": ["a", "b c"], "target_status": "customer", "journey": "tea, twice"},
        {"attributes": {"city": "Ipoh", "name": "not Anna", "quote": "\"\\\u20ac'"}, "name": "Änna 😀"},
    ],
)
async def test_the_database_and_the_domain_agree_on_what_a_text_may_print(
    db: Database, workspace: WorkspaceId, device: DeviceId, columns: dict[str, str | list[str] | dict[str, str]]
) -> None:
    await _insert(db, workspace, device, "+60123456789", **columns)
    async with db.connection() as connection:
        built = await connection.fetchval(f"SELECT {leads.LEAD_VARIABLES_SQL} FROM leads l")
        stored = await leads.sample_lead(connection, workspace)
    assert stored is not None
    assert built == lead_variables(stored.lead)


async def test_a_lead_comes_back_as_it_is_stored(db: Database, workspace: WorkspaceId, device: DeviceId) -> None:
    made = await _insert(
        db, workspace, device, "+60123456789", name="Anna", niches=["a"], time_zone="UTC", consent="given",
        consent_source="form", attributes={"city": "Ipoh"},
    )  # fmt: skip
    async with db.connection() as connection:
        stored = await leads.get_lead(connection, workspace, Phone("+60123456789"))
        assert await leads.get_lead(connection, workspace, Phone("+60123456780")) is None
    assert stored is not None
    assert (stored.id, stored.device_id, stored.shared, stored.consent_source) == (made, device, False, "form")
    assert (stored.lead.name, stored.lead.niches, stored.lead.time_zone) == ("Anna", ("a",), "UTC")
    assert (stored.lead.target_status, stored.lead.consent) == (LeadStatus.PROSPECT, Consent.GIVEN)
    assert stored.lead.attributes == {"city": "Ipoh"}


async def test_f20_every_look_stays_inside_its_workspace_and_device(
    runtime: Runtime, db: Database, workspace: WorkspaceId, device: DeviceId
) -> None:
    second = (await add_device(runtime, workspace, "Berta")).id
    other = (await create_workspace(runtime, "Other")).id
    theirs = (await add_device(runtime, other, "Anna")).id
    phone = Phone("+60123456789")
    foreign = await _insert(db, other, theirs, phone)
    first = await _insert(db, workspace, device, phone)
    later = await _insert(db, workspace, second, phone)
    async with db.connection() as connection:

        async def ids(where: WorkspaceId, which: DeviceId | None) -> list[int]:
            return [s.id for s in await leads.page_after(connection, where, which, after=LeadId(0))]

        assert await ids(workspace, None) == [first, later]
        assert await ids(workspace, second) == [later]
        assert await ids(other, None) == [foreign]
        assert await ids(other, device) == []
        assert await leads.count_leads(connection, workspace) == 2
        assert await leads.count_leads(connection, workspace, theirs) == 0
        mine = await leads.get_lead(connection, workspace, phone)
        assert mine is not None
        assert mine.id == first
        on_second = await leads.get_lead(connection, workspace, phone, device_id=second)
        assert on_second is not None
        assert on_second.id == later
        assert await leads.get_lead(connection, workspace, phone, device_id=theirs) is None
        assert await leads.sample_lead(connection, workspace, device_id=theirs) is None


async def test_pages_go_on_after_the_last_lead_and_end_empty(
    db: Database, workspace: WorkspaceId, device: DeviceId
) -> None:
    made = [await _insert(db, workspace, device, f"+6012345678{n}") for n in range(5)]
    async with db.connection() as connection:
        seen: list[int] = []
        while page := await leads.page_after(
            connection, workspace, None, after=LeadId(seen[-1] if seen else 0), size=2
        ):
            assert len(page) <= 2
            seen += [stored.id for stored in page]
    assert seen == made
