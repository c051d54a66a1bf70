"""What was sent over time, on the first page: by the workspace's clock, as a chart and a table that says the same."""

import json
from datetime import datetime

import httpx2
import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from tests.web.looking import Page

RANGES = ("today", "7", "30", "90", "own")


async def put(runtime: Runtime, workspace: WorkspaceId, slot: str, **counts: int) -> None:
    async with runtime.db.connection() as connection:
        await connection.execute(
            f"INSERT INTO workspace_history (workspace_id, slot, {', '.join(counts)}) "
            f"VALUES ($1, $2, {', '.join(f'${n}' for n in range(3, 3 + len(counts)))})",
            workspace,
            datetime.fromisoformat(slot),
            *counts.values(),
        )


async def at(runtime: Runtime, instant: str, zone: str, workspace: WorkspaceId) -> None:
    """It is that time, in a workspace there."""
    async with runtime.db.connection() as connection:
        await connection.execute(
            "UPDATE installation SET clock_offset = $1::text::timestamptz - statement_timestamp()", instant
        )
        await connection.execute("UPDATE workspaces SET time_zone = $2 WHERE id = $1", workspace, zone)


def drawn(page: Page) -> dict[str, list]:  # type: ignore[type-arg]
    [chart] = [a["data-chart"] for a in page.attributes("figure")]
    data = json.loads(chart or "")
    return {"spoken": data["spoken"], "marks": data["marks"]} | {b["kind"]: b["values"] for b in data["bars"]}


@pytest.fixture
async def evening(runtime: Runtime, workspace: WorkspaceId) -> WorkspaceId:
    """Tuesday 24 November 2026, 20:12 in Kuala Lumpur; sent yesterday and today."""
    await at(runtime, "2026-11-24 20:12:00+08", "Asia/Kuala_Lumpur", workspace)
    await put(runtime, workspace, "2026-11-23 12:00:00+08:00", sent=1000, delivered=900, read=400, failed=10)
    await put(
        runtime,
        workspace,
        "2026-11-24 00:00:00+08:00",
        sent=60,
        delivered=50,
        read=20,
        failed=40,
        replied=3,
        opted_out=1,
    )
    await put(runtime, workspace, "2026-11-24 20:00:00+08:00", sent=40, delivered=80)
    return workspace


async def test_today_is_shown_in_quarters_of_an_hour_up_to_now(
    client: httpx2.AsyncClient, evening: WorkspaceId
) -> None:
    page = Page((await client.get("/")).text)
    chart = drawn(page)
    assert (chart["spoken"][0], chart["spoken"][-1]) == ("00:00 to 00:15", "20:00 to 20:15")
    assert len(chart["spoken"]) == 81
    assert (chart["sent"][0], chart["dlv"][0], chart["read"][0]) == (60, 50, 20)
    assert chart["bad"][0] == 100, "what failed stands on top of what was sent"
    assert chart["bad"][-1] == chart["dlv"][-1] == 80, "receipts of what was sent earlier"
    assert [0, "00:00"] in chart["marks"]
    assert [72, "18:00"] in chart["marks"]
    for told in (
        "Sent 100 71.4% of tries",
        "Delivered 130 100% of sent",
        "Read 20 20.0% of sent",
        "Failed 40 28.5%",
    ):
        assert told in page.words
    assert "Replies 3 3.0% of sent Opted out 1 1.0% of sent" in page.words
    assert "00:00 to 00:15 60 50 20 40 3 1" in page.words, "the table says the same"


@pytest.mark.parametrize(("chosen", "periods", "sent"), [("7", 6 * 24 + 21, 1100), ("30", 30, 1100), ("90", 90, 1100)])
async def test_longer_ranges_have_longer_periods(
    client: httpx2.AsyncClient, evening: WorkspaceId, chosen: str, periods: int, sent: int
) -> None:
    page = Page((await client.get("/", params={"range": chosen})).text)
    chart = drawn(page)
    assert (len(chart["spoken"]), sum(chart["sent"])) == (periods, sent)
    [current] = [a for a in page.attributes("a") if a.get("aria-current") == "true"]
    assert f"range={chosen}" in (current["href"] or "")
    if chosen != "7":
        assert (chart["spoken"][-2:], chart["sent"][-2:]) == (["Mon 23 Nov", "Tue 24 Nov"], [1000, 100])


async def test_days_of_ones_own_are_shown_and_wrong_ones_are_refused_beside_their_field(
    client: httpx2.AsyncClient, evening: WorkspaceId
) -> None:
    page = Page((await client.get("/", params={"range": "own", "from": "2026-11-23", "to": "2026-11-23"})).text)
    assert sum(drawn(page)["sent"]) == 1000
    assert page.attributes("input", name="from")[0]["value"] == "2026-11-23"
    for first, last, field, said in (
        ("2026-11-24", "2026-11-23", "to", "before the first"),
        ("24.11.2026", "2026-11-24", "from", "is no day"),
        ("2001-01-01", "2026-11-24", "from", "choose fewer"),
    ):
        answer = await client.get("/", params={"range": "own", "from": first, "to": last})
        page = Page(answer.text)
        assert answer.status_code == 200
        assert said in page.words
        assert page.attributes("input", name=field)[0].get("aria-invalid") == "true"
        assert page.attributes("input", name="from")[0]["value"] == first, "what was written stays"
    assert (await client.get("/", params={"range": "yesterday"})).status_code == 404


async def test_a_day_of_25_hours_has_25_and_the_hour_that_comes_twice_says_which(
    client: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId
) -> None:
    await at(runtime, "2026-10-27 12:00:00+00", "Europe/Berlin", workspace)
    await put(runtime, workspace, "2026-10-25 00:15:00+00:00", sent=1)
    await put(runtime, workspace, "2026-10-25 01:15:00+00:00", sent=10)
    page = Page((await client.get("/", params={"range": "7"})).text)
    chart = drawn(page)
    of_day = [(s, n) for s, n in zip(chart["spoken"], chart["sent"], strict=True) if s.startswith("Sun 25 Oct")]
    assert len(of_day) == 25
    assert [each for each in of_day if each[1]] == [
        ("Sun 25 Oct, 02:00 CEST to 02:00 CET", 1),
        ("Sun 25 Oct, 02:00 CET to 03:00 CET", 10),
    ]
    assert [word for _, word in chart["marks"] if word.startswith(("Sun", "Mon"))] == ["Sun 25", "Mon 26"]


async def test_a_time_in_which_nothing_was_sent_says_so(client: httpx2.AsyncClient, workspace: WorkspaceId) -> None:
    page = Page((await client.get("/")).text)
    assert "Nothing was sent in this time." in page.words
    assert page.attributes("figure") == []


async def test_what_was_tried_again_makes_no_bar_below_the_line(
    client: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId
) -> None:
    await at(runtime, "2026-11-24 20:12:00+00", "UTC", workspace)
    await put(runtime, workspace, "2026-11-24 09:00:00+00:00", failed=10)
    await put(runtime, workspace, "2026-11-24 10:00:00+00:00", failed=-10, sent=10)
    page = Page((await client.get("/")).text)
    assert min(drawn(page)["bad"]) == 0
    assert "Failed 0" in page.words
    assert "10:00 to 10:15 10 0 0 -10" in page.words


@pytest.mark.parametrize("chosen", RANGES)
async def test_the_part_renews_itself_as_it_was_chosen(
    client: httpx2.AsyncClient, evening: WorkspaceId, chosen: str
) -> None:
    whole = Page((await client.get("/", params={"range": chosen})).text)
    [section] = whole.attributes("section", id="history")
    part = await client.get(str(section["hx-get"]))
    assert part.status_code == 200
    assert drawn(Page(part.text)) == drawn(whole)
