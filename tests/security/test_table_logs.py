"""Row 38: no log, error page or figure holds a secret, a whole phone number or the text of a message.

Canaries are planted wherever people write something, everything is logged that can be, and then all that was logged is
searched for them: first through every route of the application, then in all processes of a running Fleetcast.
"""

import io
import json
import logging
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest
import structlog

from fleetcast.domain.identifiers import DeviceId, Phone
from fleetcast.observability.logging import configure_logging, redact
from fleetcast.services import outbound
from fleetcast.settings import Settings
from fleetcast.transports.simulator.behaviour import SendOutcome
from fleetcast.transports.simulator.control import SimulatorControl
from tests.api import tenants
from tests.process_tree import ProcessTree, eventually, home_of_its_own
from tests.security import asking
from tests.security.asking import request
from tests.security.conftest import Stage
from tests.security.routes import STREAMS, Way
from tests.security.seeding import PASSWORD, Tenant, whole_workspace

RUNS = re.compile(r"Fleetcast runs\. The dashboard: (http://\S+)")
TOKENS = re.compile(r"fc[a-z]_[A-Za-z0-9_-]{20,}")
WHOLE_NUMBERS = re.compile(r"\+[1-9][0-9]{9,14}\b")
HASHES = re.compile(r"\$argon2|otpauth://")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged in this process, libraries included, at the level of debug."""
    root = logging.getLogger()
    before = root.handlers, root.level
    stream = io.StringIO()
    configure_logging(Settings(log_level="debug", log_format="json"), "tests", stream=stream)
    yield stream
    root.handlers, root.level = before
    structlog.reset_defaults()


def found(text: str, canaries: list[str]) -> list[str]:
    """What of the canaries, and of anything that looks like a secret, stands in a text."""
    hits = [canary for canary in canaries if canary in text]
    for pattern in (TOKENS, WHOLE_NUMBERS, HASHES):
        hits += [match[0] for match in pattern.finditer(text)]
    return hits


def canaries_of(tenant: Tenant) -> list[str]:
    """What stands in a workspace: its texts and names, its people's numbers and secrets."""
    texts = [
        f"{tenant.mark} first text",
        f"{tenant.mark} first reply",
        f"{tenant.mark} first lead",
        f"{tenant.mark} asked",
    ]
    secrets = [tenant.key, tenant.device_key, *(p.token for p in (tenant.owner, tenant.operator, tenant.viewer))]
    return [*texts, *secrets, tenant.number.lstrip("+") + "1", PASSWORD]


async def test_s38_no_route_logs_what_it_is_given_or_what_it_shows(stage: Stage, log: io.StringIO) -> None:
    planted, answered = f"canary{uuid4().hex}", 0
    changed = await whole_workspace(stage.runtime)
    canaries = canaries_of(stage.ours) + canaries_of(changed)

    async def walked(way: Way, ours: Tenant) -> list[int]:
        """What is answered to the owner, a program, nobody and a wrong key."""
        statuses = []
        for who in (
            {"session": ours.owner.token, "workspace": ours.workspace},
            {"key": ours.key},
            {},
            {"key": f"fck_{planted}"},
        ):
            async with tenants.client(stage.app, **who) as client:
                answer = await request(way, ours).send(client, **{"Idempotency-Key": f"{planted} {way}"})
                statuses.append(answer.status_code)
                refused = await spoilt(client, asking.request(way, ours), planted)
                assert planted not in json.dumps(dict(refused.headers))
        return statuses

    for way in stage.ways:
        if way.path in STREAMS or "token" in way.holes:
            continue
        leaves_less = way.changes and (way.holes or (way.rule and way.rule.sessions_only))
        statuses = await walked(way, changed if leaves_less else stage.ours)
        if leaves_less and statuses[0] >= 400:  # perhaps because of what others have left
            changed = await whole_workspace(stage.runtime)
            canaries += canaries_of(changed)
            statuses = await walked(way, changed)
        answered += sum(status < 400 for status in statuses)
    assert answered > len(stage.api)
    async with tenants.client(stage.app, session=stage.ours.owner.token) as client:
        await client.get(f"/invitations/fci_{planted}")
        await client.post("/sign-in", data={"email": f"{planted}@example.org", "password": planted})
        await client.get(f"/nothing/{planted}?{planted}={planted}", headers={"X-Thing": planted})
    structlog.get_logger().debug("the end of the walk")
    assert "the end of the walk" in log.getvalue()
    assert found(log.getvalue(), [*canaries, planted]) == []


async def spoilt(client: httpx2.AsyncClient, asked: asking.Request, planted: str) -> httpx2.Response:
    """The same request with a content that nobody can accept."""
    body = {"password": planted, "body": planted, "phone": f"+60{planted}", planted: planted}
    return await client.request(asked.way.method, asked.path, json=body if asked.way.changes else None)


async def test_s38_an_error_of_the_database_does_not_take_the_row_into_the_log(stage: Stage, log: io.StringIO) -> None:
    planted = f"canary{uuid4().hex}"
    async with stage.runtime.db.connection() as connection:
        with pytest.raises(asyncpg.CheckViolationError, match=planted) as raised:  # the server tells the row
            await connection.execute(
                "INSERT INTO leads (workspace_id, device_id, phone, name) VALUES ($1, $2, $3, $3)",
                stage.ours.workspace,
                stage.ours.ids["device_id"],
                planted,
            )
    structlog.get_logger().error("a write failed", error=str(raised.value), exc_info=raised.value)
    logging.getLogger("somebody.else").error("a write failed: %s", raised.value, exc_info=raised.value)
    assert "a write failed" in log.getvalue()
    assert found(log.getvalue(), [planted]) == []


async def test_s38_the_address_of_a_medium_is_not_logged(log: io.StringIO) -> None:
    planted = f"canary{uuid4().hex}"

    async def resolver(host: str, port: int) -> list[str]:
        return ["93.184.216.34"]

    async def picture() -> AsyncIterator[bytes]:
        yield b"a picture"

    def answer(asked: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=picture())

    url = f"https://example.com/a.png?signature={planted}"
    fetched = await outbound.fetch(url, 1_000, resolver=resolver, transport=httpx2.MockTransport(answer))
    assert fetched.data == b"a picture"
    structlog.get_logger().debug("it was fetched")
    assert "it was fetched" in log.getvalue()
    assert planted not in log.getvalue()


@pytest.mark.parametrize("kind", ["fcs_", "fck_", "fci_"])
def test_s38_a_token_is_hidden_wherever_it_stands(kind: str) -> None:
    token = kind + "Ab1-_" * 9
    for fields in ({"path": f"/invitations/{token}"}, {"event": f"GET {token} failed"}, {"list": [("x", token)]}):
        assert token[8:] not in str(redact(None, "info", dict(fields)))


# -- all processes of a running Fleetcast


class Planted:
    """The canaries of a whole run."""

    def __init__(self) -> None:
        own = uuid4().hex
        self.secret_key = f"canarykey{own}{uuid4().hex}"
        self.metrics_token = f"canarymetrics{own}{uuid4().hex}"
        self.password = f"canary password {own}"
        self.text = f"canarytext{own}"
        self.name = f"canaryname{own}"
        self.city = f"canarycity{own}"
        self.reply = f"canaryreply{own}"
        self.title = f"Spring {own[:6]}"
        self.phones = [f"+6017{n:03d}{int(own[:8], 16) % 10_000:04d}" for n in range(100, 130)]
        self.secrets: list[str] = [self.secret_key, self.metrics_token, self.password]
        """What must stand nowhere; grows with every secret that Fleetcast makes up."""

    @property
    def everything(self) -> list[str]:
        people = [self.text, self.name, self.city, self.reply, *(p.lstrip("+") for p in self.phones)]
        return [*self.secrets, *people]

    @property
    def leads(self) -> str:
        rows = "".join(f"{phone},{self.name} {n},{self.city}\n" for n, phone in enumerate(self.phones[:-2]))
        return f"phone,name,city\n{rows}"


async def said(home: Path, *arguments: str, code: int = 0, **environment: str) -> Any:
    """Run a command with `--json` to its end: what it printed, and nothing of it on stderr."""
    run = ProcessTree(home, *arguments, "--json", **environment)
    assert await run.end() == code, run.out + run.err
    return json.loads(run.out) if run.out.strip() else None


@pytest.fixture
def home(short_directory: Path) -> Iterator[Path]:
    with home_of_its_own(short_directory, uuid4().hex[:8]) as home:
        yield home


async def test_s38_no_process_logs_what_was_planted(home: Path, tmp_path: Path) -> None:
    planted = Planted()
    socket = home / "s.sock"
    loud: dict[str, Any] = {
        "FLEETCAST_LOG_LEVEL": "debug",
        "FLEETCAST_LOG_FORMAT": "json",
        "FLEETCAST_SECRET_KEY": planted.secret_key,
        "FLEETCAST_METRICS_TOKEN": planted.metrics_token,
        "FLEETCAST_SIMULATOR_SOCKET": str(socket),
        "FLEETCAST_SEND_SECONDS": "1",
    }
    run = ProcessTree(home, "up", PORT="0", **loud)
    await eventually(lambda: RUNS.search(run.out) is not None or run.ended, "Fleetcast runs", 120)
    match = RUNS.search(run.out)
    assert match, run.err
    url, shown = match[1], run.out
    first = re.search(r"[a-z2-9]{5}(?:-[a-z2-9]{5}){3}", shown)
    assert first, "the first password is shown once, on the terminal"
    planted.secrets.append(first[0])

    workspace = ("--workspace", "Main")
    device = await said(home, "device", "add", "Shop", "--min-delay", "0", "--max-delay", "0", *workspace, **loud)
    (tmp_path / "leads.csv").write_text(planted.leads, encoding="utf-8")
    await said(home, "leads", "import", str(tmp_path / "leads.csv"), "--device", "Shop", *workspace, **loud)
    key = await said(home, "key", "create", "program", "--scope", "read", "--scope", "send", *workspace, **loud)
    planted.secrets.append(key["token"])
    member = await said(home, "user", "add", "ann@example.org", "--role", "operator", *workspace, **loud)
    planted.secrets.append(member["password"])
    await said(home, "suppression", "add", planted.phones[-1], "--note", planted.reply, *workspace, **loud)
    body = f"{planted.text} for {{{{ name }}}} in {{{{ city }}}}"
    await said(home, "campaign", "create", planted.title, "--body", body, *workspace, **loud)

    async with SimulatorControl(socket) as simulator:
        for outcome in (o for o in SendOutcome if o is not SendOutcome.SLOW):
            await simulator.force(outcome, device=DeviceId(device["id"]), seconds=0.1)
        await said(home, "campaign", "launch", planted.title, *workspace, **loud)
        await run.has_accepted(10)
        await simulator.reply(DeviceId(device["id"]), Phone(planted.phones[0]), planted.reply)
        await simulator.reply(DeviceId(device["id"]), Phone(planted.phones[1]), "STOP")
    shown_to_anybody = await visited(url, planted, device["id"], member["password"], key["token"])
    await refused_by_the_database(run, planted)
    await eventually(lambda: replied(home, planted), "the replies are stored")
    assert await run.end(signal.SIGINT) == 0

    logs = {"up": run.err} | {p.name: p.read_text(errors="replace") for p in (home / "log").iterdir()}
    logs |= {
        f"command {p.name}": p.read_text() for p in home.with_name(f"{home.name}.said").iterdir() if p.suffix == ".err"
    }
    assert {"sender.log", "scheduler.log", "web.log", "simulator.log", "postgres.log"} <= logs.keys()
    assert "sender starts" in logs["sender.log"]
    assert "violates check constraint" in logs["postgres.log"]
    assert {name: hits for name, text in logs.items() if (hits := found(text, planted.everything))} == {}
    assert {name: hits for name, text in shown_to_anybody.items() if (hits := found(text, planted.everything))} == {}


async def replied(home: Path, planted: Planted) -> bool:
    found = ProcessTree(home, "suppression", "list", "--workspace", "Main", "--json")
    await found.end()
    return planted.phones[1] in found.out


async def refused_by_the_database(run: ProcessTree, planted: Planted) -> None:
    """A row that breaks a rule, as a fault of ours would write it."""
    connection = await asyncpg.connect(run.run_file().database_url)
    try:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                "INSERT INTO leads (workspace_id, device_id, phone, name) "
                f"SELECT workspace_id, id, '{planted.name}', '{planted.text}' FROM devices"
            )
    finally:
        await connection.close()


async def written(client: httpx2.AsyncClient, planted: Planted, device: int) -> None:
    """What programs write, so that it is taken and so that it is not."""
    lead = {"phone": planted.phones[-2], "name": planted.name, "attributes": {"city": planted.city}}
    for path, content in (
        (f"devices/{device}/leads", {"leads": [lead]}),
        ("messages", {"device_id": device, "to": planted.phones[-2], "text": planted.text}),
        ("campaigns", {"title": f"{planted.title} too", "body": f"{planted.text} {{{{ name }}}}"}),
        ("suppressions", {"numbers": [planted.phones[-3]], "note": planted.reply}),
    ):
        key = {"Idempotency-Key": f"{planted.password} {path}"}
        answer = await client.post(f"/api/v1/{path}", json=content, headers=key)
        assert answer.status_code < 300, answer.text
        wrong = content | {planted.password: planted.text, "title": None, "text": 5, "numbers": planted.name}
        assert (await client.post(f"/api/v1/{path}", json=wrong)).status_code == 422
    for query in ({"recipient": planted.phones[0]}, {"recipient": planted.name}, {planted.password: planted.name}):
        await client.get("/api/v1/messages", params=query)


async def visited(url: str, planted: Planted, device: int, password: str, key: str) -> dict[str, str]:
    """Use it over HTTP, rightly and wrongly: the pages that anybody may see, errors and figures among them."""
    shown = {}
    async with httpx2.AsyncClient(base_url=url, headers={"Sec-Fetch-Site": "same-origin"}) as client:
        for tried in (planted.password, password):
            answer = await client.post("/sign-in", data={"email": "ann@example.org", "password": tried})
            shown[f"sign-in {answer.status_code}"] = answer.text
        assert answer.status_code == 303
        planted.secrets.append(client.cookies["fleetcast"])
        assert (await client.get("/")).status_code == 200
        await client.get(f"/invitations/fci_{planted.password.replace(' ', '')}")
        await client.post("/sign-out")
    async with httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}) as client:
        assert (await client.get("/api/v1/devices")).status_code == 200
        await written(client, planted, device)
        shown["wrong"] = (await client.post("/api/v1/devices", json={"name": planted.password})).text
        shown["broken"] = (await client.post("/api/v1/devices", content=b'{"name": "' + planted.password.encode())).text
    async with httpx2.AsyncClient(base_url=url) as client:
        figures = await client.get("/metrics", headers={"Authorization": f"Bearer {planted.metrics_token}"})
        assert figures.status_code == 200
        shown["metrics"] = figures.text
        for path in ("/ready", "/health", "/metrics", "/nothing"):
            shown[path] = (await client.get(path)).text
    return shown
