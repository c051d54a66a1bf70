"""`fleetcast status` says the same as the page, for people and for machines; a watched campaign ends with it."""

import asyncio
import io
import json

import pytest
from rich.console import Console

from fleetcast.cli.status import watch_campaign
from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.errors import NotFound
from fleetcast.runtime import Runtime
from fleetcast.store import processes
from fleetcast.store.connection import Database
from tests.cli.conftest import Command
from tests.web.seeding import FIGURES, add_campaign, add_device, add_tally


class Heard(io.StringIO):
    """Sets `event` once `words` were written."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words
        self.event = asyncio.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if self._words in self.getvalue():
            self.event.set()
        return written


@pytest.fixture
async def running(db: Database, workspace: WorkspaceId) -> CampaignId:
    await add_device(db, workspace, "Kedai 1")
    await add_device(db, workspace, "Kedai 2", state="logged_out")
    return await add_campaign(db, workspace, "Spring [bold]", sums=FIGURES)


async def test_status_for_machines_adds_up(command: Command, workspace: WorkspaceId, running: CampaignId) -> None:
    ended = await asyncio.to_thread(command, "status", "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    (campaign,) = told["active"]
    assert campaign["planned"] == 1000
    counts = campaign["counts"]
    statuses = ("pending", "queued", "sending", "in_doubt", "sent", "failed", "skipped", "cancelled")
    assert sum(counts[s] for s in statuses) == 1000
    assert {"status": "failed", "reason": "not_on_whatsapp", "n": 40} in counts["reasons"]
    assert told["rate_per_minute"] is None
    assert told["devices"]["by_state"] == {"online": 1, "logged_out": 1}
    assert {n["kind"] for n in told["needs_a_person"]} == {"in_doubt", "logged_out"}


async def test_status_tells_of_a_process_that_stands_still(
    command: Command, db: Database, workspace: WorkspaceId, running: CampaignId
) -> None:
    async with db.connection() as connection:
        await connection.execute("INSERT INTO nodes (id, name) VALUES ('here', 'here')")
        await processes.beat(connection, "host:1:abcd", "sender", "here", ["claims"], {"age:claims": 41.0})
    sentence = "Loops of the sender stand still: claims for 41 seconds."
    assert sentence in (await asyncio.to_thread(command, "status")).out
    told = json.loads((await asyncio.to_thread(command, "status", "--json")).out)
    assert told["troubles"] == {"host:1:abcd": sentence}


async def test_status_for_people_shows_names_as_they_are(
    command: Command, workspace: WorkspaceId, running: CampaignId
) -> None:
    ended = await asyncio.to_thread(command, "status")
    assert ended.code == 0, ended.err
    for words in ("Spring [bold]", "500 sent", "432 to go", "45 failed", "1 logged out", "Simulated devices"):
        assert words in ended.out
    assert "\x1b" not in ended.out


async def test_watching_cannot_be_json(command: Command) -> None:
    ended = await asyncio.to_thread(command, "status", "--watch", "--json")
    assert ended.code == 2
    assert "leave out --watch" in ended.out


@pytest.mark.parametrize("terminal", [True, False])
async def test_a_watched_campaign_is_followed_to_its_end(
    runtime: Runtime, db: Database, workspace: WorkspaceId, running: CampaignId, terminal: bool
) -> None:
    said = Heard("500 sent")
    console = Console(file=said, force_terminal=terminal, width=160)
    watching = asyncio.create_task(
        watch_campaign(runtime, workspace, running, console, look_every=0.02, line_every=0.02)
    )
    async with asyncio.timeout(20):
        await said.event.wait()
        for counter in ("pending", "queued", "sending", "in_doubt"):
            n = sum(v for (c, _), v in FIGURES.items() if c == counter)
            await add_tally(db, running, counter, -n, "no_answer" if counter == "in_doubt" else None)
            await add_tally(db, running, "sent", n)
        async with db.connection() as connection:
            await connection.execute("UPDATE campaigns SET status = 'finished' WHERE id = $1", running)
        last = await watching
    assert last.row.status is CampaignStatus.FINISHED
    assert (last.counts.sent, last.counts.left, last.counts.share) == (935, 0, 1)
    assert "935 sent" in said.getvalue()
    assert ("\x1b" in said.getvalue()) == terminal


async def test_watching_an_unknown_campaign_is_not_found(runtime: Runtime, workspace: WorkspaceId) -> None:
    with pytest.raises(NotFound):
        await watch_campaign(runtime, workspace, CampaignId(987_654), Console(file=io.StringIO()))
