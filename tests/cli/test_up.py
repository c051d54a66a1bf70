"""`fleetcast up` as a person runs it: one process tree, seen from outside."""

import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest

from fleetcast.services.demo import TITLE, WORKSPACE
from tests.process_tree import ProcessTree, eventually, home_of_its_own, is_empty, processes_of

RUNS = re.compile(r"Fleetcast runs\. The dashboard: (http://\S+)")
OWNER = re.compile(r"Sign in as (\S+) with the password (\S+)\n")
SECRET = "geheim-4711"


@pytest.fixture
def home(short_directory: Path) -> Iterator[Path]:
    with home_of_its_own(short_directory, uuid4().hex[:8]) as home:
        yield home


async def dashboard(run: ProcessTree) -> str:
    """The address that it prints once it runs."""
    await eventually(lambda: RUNS.search(run.out) is not None or run.ended, "Fleetcast runs")
    found = RUNS.search(run.out)
    assert found, run.err
    return found[1]


@pytest.fixture(scope="module")
async def running(short_directory: Path) -> AsyncIterator[ProcessTree]:
    """`fleetcast up --demo`, in the middle of its campaign; it must end well, too."""
    with home_of_its_own(short_directory, uuid4().hex[:8]) as home:
        run = ProcessTree(home, "up", "--demo", PORT="0")
        await run.has_accepted(1, seconds=120)
        yield run
        assert await run.end(signal.SIGINT, seconds=25) == 0, run.err
        assert "Fleetcast has stopped." in run.out
        assert processes_of(home) == []
        crashes = [log.name for log in (home / "log").iterdir() if "Fatal Python error" in log.read_text()]
        assert crashes == [], "a part that was told to stop ends in order"


async def refusal(run: ProcessTree, code: int) -> str:
    """The one sentence with which it ended at once."""
    assert await run.end() == code, run.out + run.err
    assert run.out == ""
    [sentence] = run.err.splitlines()
    return sentence.removeprefix("Error: ")


async def is_ready(run: ProcessTree, url: str) -> bool:
    """Whether the dashboard answers that all it needs is there."""
    assert not run.ended, run.err
    async with httpx2.AsyncClient() as client:
        try:
            return (await client.get(f"{url}/ready")).status_code == 200
        except httpx2.TransportError:
            return False


async def test_the_dashboard_is_at_the_address_that_was_printed_and_shows_the_demo(running: ProcessTree) -> None:
    url = await dashboard(running)
    assert urlsplit(url).port not in (None, 0)
    assert running.run_file().web_url == url
    await eventually(lambda: is_ready(running, url), f"it answers at {url}")
    async with httpx2.AsyncClient(base_url=url) as client:
        for path in ("/health", "/ready"):
            answer = await client.get(path)
            assert answer.status_code == 200, answer.text
        assert (await client.get("/")).status_code == 401
        [(email, password)] = OWNER.findall(running.out)
        answer = await client.post("/sign-in", data={"email": email, "password": password})
        assert answer.headers["location"] == "/"
        shown = await client.get("/")
        assert TITLE in shown.text
        assert f"<title>{WORKSPACE} " in shown.text


async def test_f36_the_first_password_is_random_and_printed_once(running: ProcessTree) -> None:
    await dashboard(running)
    [(email, password)] = OWNER.findall(running.out)
    assert email == "owner@localhost"
    assert len(password) >= 20
    assert len(set(password)) >= 8
    logs = [log.name for log in (running.home / "log").iterdir() if password in log.read_text()]
    assert logs == []
    again = ProcessTree(running.home, "user", "list", "--json")
    assert await again.end() == 0
    assert [user["email"] for user in json.loads(again.out)] == [email]
    assert password not in again.out


async def test_the_figures_of_the_whole_tree_are_at_one_address(running: ProcessTree) -> None:
    url = await dashboard(running)

    async def all_tell() -> bool:
        async with httpx2.AsyncClient() as client:
            text = (await client.get(f"{url}/metrics")).text
        kinds = ("sender", "scheduler", "web")
        return all(re.search(rf'fleetcast_memory_bytes{{kind="{kind}",process="[^"]+"}} [1-9]', text) for kind in kinds)

    await eventually(all_tell, "sender, scheduler and web tell what they measure")


async def test_a_sender_that_is_stopped_in_its_tracks_makes_readiness_fail_and_goes_on(running: ProcessTree) -> None:
    """It cannot say so itself: what is seen is that nothing is heard of it."""
    url = await dashboard(running)
    await eventually(lambda: is_ready(running, url), "it is ready")
    sender = await running.child("sender")
    sender.suspend()
    try:

        async def is_missed() -> bool:
            async with httpx2.AsyncClient() as client:
                answer = await client.get(f"{url}/ready")
            return answer.status_code == 503 and "The sender was not heard of for" in answer.text

        await eventually(is_missed, "readiness names the sender")
    finally:
        sender.resume()
    await eventually(lambda: is_ready(running, url), "it is ready again")
    assert await running.child("sender") == sender


async def test_a_second_up_is_refused_by_the_pid_of_the_first_even_before_the_port(running: ProcessTree) -> None:
    port = str(urlsplit(await dashboard(running)).port)
    sentence = await refusal(ProcessTree(running.home, "up", PORT=port), 4)
    assert "already running" in sentence
    assert f"process {running.process.pid}" in sentence


async def test_commands_attach_to_what_runs_and_start_no_servers(running: ProcessTree) -> None:
    servers = {kind: process.pid for kind, process in running.children().items()}

    async def said(*arguments: str) -> dict[str, object] | list[object]:
        command = ProcessTree(running.home, *arguments, "--json")
        code = await command.end()
        found: dict[str, object] | list[object] = json.loads(command.out)
        assert code == 0, command.out + command.err
        return found

    assert len(await said("device", "list")) == 50
    status = await said("status")
    assert isinstance(status, dict)
    assert [campaign["title"] for campaign in status["active"]] == [TITLE]  # type: ignore[attr-defined]
    checkup = await said("doctor")
    assert isinstance(checkup, dict)
    assert checkup["holds"] is True
    assert {kind: process.pid for kind, process in running.children().items()} == servers
    starts = (running.data / "log" / "postgres.log").read_text().count("starting PostgreSQL")
    assert starts == 1


async def test_a_dashboard_that_was_killed_is_back_at_its_address(running: ProcessTree) -> None:
    url = await dashboard(running)
    first = await running.child("web")
    first.kill()
    await eventually(lambda: running.children().get("web", first) != first, "another web process runs")
    await eventually(lambda: is_ready(running, url), f"it answers at {url}")


async def test_a_port_in_use_is_named_before_anything_is_started(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = await refusal(ProcessTree(home, "up", PORT=str(port)), 5)
    assert f"Port {port}" in sentence
    assert "set PORT" in sentence
    assert not (home / "postgres").exists()


async def test_production_mode_refuses_the_demo(home: Path) -> None:
    sentence = await refusal(ProcessTree(home, "up", "--demo", PORT="0", FLEETCAST_MODE="production"), 4)
    assert "not for production" in sentence
    assert is_empty(home)


async def test_external_servers_are_used_and_their_passwords_are_nowhere(
    home: Path, database_url: str, redis_url: str
) -> None:
    run = ProcessTree(
        home,
        "up",
        PORT="0",
        # Servers that trust everybody take any password.
        DATABASE_URL=database_url.replace("://fleetcast@", f"://fleetcast:{SECRET}@", 1),
        REDIS_URL=redis_url,
        FLEETCAST_REDIS_PREFIX=f"test-{uuid4().hex[:12]}",
    )
    url = await dashboard(run)
    await eventually(lambda: {"scheduler", "sender", "web", "simulator"} <= run.children().keys(), "the parts run")
    await eventually(lambda: is_ready(run, url), f"it answers at {url}")
    assert run.children().keys() == {"scheduler", "sender", "web", "simulator"}
    assert not any(SECRET in word for process in processes_of(home) for word in process.cmdline())
    assert await run.end(signal.SIGTERM, seconds=25) == 0, run.err
    assert processes_of(home) == []
    assert SECRET not in run.out + run.err
    assert [path for path in (home / "log").iterdir() if SECRET in path.read_text()] == []


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", f"postgresql://me:{SECRET}@127.0.0.1:1/fleetcast"),
        ("DATABASE_URL", f"postgresql://me:{SECRET}@no-such-host.invalid/fleetcast"),
        ("REDIS_URL", f"redis://me:{SECRET}@127.0.0.1:1/0"),
    ],
)
async def test_a_server_that_does_not_answer_is_named_without_its_password(
    home: Path, database_url: str, redis_url: str, name: str, url: str
) -> None:
    servers = {"DATABASE_URL": database_url, "REDIS_URL": redis_url} | {name: url}
    sentence = await refusal(ProcessTree(home, "up", PORT="0", **servers), 6)
    assert str(urlsplit(url).hostname) in sentence
    assert SECRET not in sentence
    assert processes_of(home) == []


async def test_a_password_that_redis_refuses_is_not_printed(home: Path, database_url: str, redis_url: str) -> None:
    wrong = redis_url.replace("unix://", f"unix://me:{SECRET}@", 1)
    sentence = await refusal(ProcessTree(home, "up", PORT="0", DATABASE_URL=database_url, REDIS_URL=wrong), 5)
    assert "REDIS_URL" in sentence
    assert SECRET not in sentence
