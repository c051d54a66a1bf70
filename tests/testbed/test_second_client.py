"""A client library of other origin, in pure Python, pairs and sends through the testbed as well.

So the testbed speaks the protocol and not only one library's reading of it. It runs in the test's own process beside
the testbed, with a clock that the test moves.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pyaileys.auth.state import AuthenticationState
from pyaileys.auth.store import MultiFileAuthState
from pyaileys.client import ClientConfig, WhatsAppClient
from pyaileys.crypto import noise
from pyaileys.exceptions import SendRejectedError
from pyaileys.socket import ConnectionUpdate
from pyaileys.socket_config import SocketConfig

from testbed.whatsapp_web.behaviour import Treatment
from testbed.whatsapp_web.control import Control, Refused
from testbed.whatsapp_web.server import Server
from tests.running import until

OWNER, PERSON = "5511900000001", "5511988887777"
Said = TypeVar("Said")
TO = f"{PERSON}@s.whatsapp.net"
PATIENCE = 60.0


class Second:
    """The other client: what it shows and hears, as queues."""

    def __init__(self, client: WhatsAppClient, folder: MultiFileAuthState) -> None:
        self.client = client
        self.codes: asyncio.Queue[str] = asyncio.Queue()
        self.opened: asyncio.Queue[None] = asyncio.Queue()
        self.texts: asyncio.Queue[str] = asyncio.Queue()
        self.receipts: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        client.on("connection.update", self._on_update)
        client.on("message.decrypted", self._on_message)
        client.on("stanza.receipt", self._on_receipt)
        client.on("creds.update", lambda _: folder.save_creds())

    @classmethod
    async def of(cls, folder: Path) -> "Second":
        state = await MultiFileAuthState.load(str(folder))
        auth = AuthenticationState(creds=state.creds, keys=state.keys)
        return cls(WhatsAppClient(auth=auth, config=ClientConfig(socket=SocketConfig(reconnect_delay_s=0.05))), state)

    def _on_update(self, update: ConnectionUpdate) -> None:
        if update.qr:
            self.codes.put_nowait(update.qr)
        if update.connection == "open":
            self.opened.put_nowait(None)

    def _on_message(self, message: Any) -> None:
        self.texts.put_nowait(message["text"])

    def _on_receipt(self, node: Any) -> None:
        self.receipts.put_nowait((node.attrs["id"], node.attrs.get("type", "delivered")))


class MovedClock:
    """The testbed's time, as far ahead as a test wants."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: MovedClock) -> AsyncIterator[Server]:
    """A testbed in this process, which the other client trusts."""
    async with Server(tmp_path / "testbed", seed=os.urandom(32), now=clock) as running:
        monkeypatch.setenv("https_proxy", running.reach.proxy)
        monkeypatch.setenv("SSL_CERT_FILE", running.reach.authority)
        monkeypatch.setattr(noise, "WA_CERT_PUBLIC_KEY", bytes.fromhex(running.reach.root))
        yield running


@pytest.fixture
async def control(server: Server) -> AsyncIterator[Control]:
    async with Control(server.reach.control) as connection:
        yield connection


@pytest.fixture
async def paired(server: Server, control: Control, tmp_path: Path) -> AsyncIterator[Second]:
    """The other client, linked and online."""
    second = await Second.of(tmp_path / "second")
    async with asyncio.timeout(PATIENCE):
        await second.client.connect()
        await control.scan(OWNER, await second.codes.get())
        await second.opened.get()

    async def has_keys() -> bool:
        return (await control.phone(OWNER)).companions[0].one_time_keys > 0

    await until(has_keys)  # which it uploads after it was let in, and others need to write to it first
    yield second
    await second.client.disconnect()


async def next_of(queue: "asyncio.Queue[Said]") -> Said:
    async with asyncio.timeout(PATIENCE):
        return await queue.get()


async def test_it_is_linked_and_its_text_arrives(paired: Second, control: Control) -> None:
    mark = await paired.client.send_text(TO, "from the other library", wait_ack=True)
    (arrival,) = await control.arrivals(PERSON)
    assert (arrival.id, arrival.kind, arrival.text) == (mark, "text", "from the other library")
    (copy,) = await control.arrivals(OWNER)
    assert (copy.id, copy.text, copy.copied_to) == (mark, "from the other library", TO)
    assert [await next_of(paired.receipts) for _ in range(2)] == [(mark, "delivered"), (mark, "read")]


async def test_its_document_arrives_byte_for_byte(paired: Second, control: Control) -> None:
    data = b"%PDF-1.4 " + os.urandom(100_000)
    await paired.client.send_document(TO, data, mimetype="application/pdf", filename="a.pdf", wait_ack=True)
    (arrival,) = await control.arrivals(PERSON)
    assert (arrival.kind, arrival.file_name) == ("document", "a.pdf")
    assert await control.file(arrival.file_sha256) == data


async def test_a_conversation_goes_back_and_forth(paired: Second, control: Control) -> None:
    lid = f"{(await control.phone(PERSON)).lid}@lid"  # this library holds one conversation an address
    for turn in range(3):
        await control.say(PERSON, f"{OWNER}:1", f"question {turn}")
        assert await next_of(paired.texts) == f"question {turn}"
        for part in "ab":
            await paired.client.send_text(lid, f"answer {turn}{part}", wait_ack=True)
    texts = [each.text for each in await control.arrivals(PERSON)]
    assert texts == [f"answer {turn}{part}" for turn in range(3) for part in "ab"]
    assert await control.doubles() == []
    assert [name for name in (await control.state()).counts if name.startswith("unknown")] == []


async def test_a_refusal_reaches_it(paired: Second, control: Control) -> None:
    await control.treat(Treatment(error=463))
    with pytest.raises(SendRejectedError) as refused:
        await paired.client.send_text(TO, "hello", wait_ack=True)
    assert refused.value.code == "463"
    assert await control.arrivals(PERSON) == []


async def test_it_comes_back_after_a_drop(paired: Second, control: Control) -> None:
    await control.drop()
    await next_of(paired.opened)
    await paired.client.send_text(TO, "here again", wait_ack=True)
    assert [each.text for each in await control.arrivals(PERSON)] == ["here again"]


async def test_a_banned_account_is_not_let_in_before_the_end_of_its_ban(
    paired: Second, control: Control, clock: MovedClock
) -> None:
    await control.ban(OWNER, code=101, seconds=3600)

    async def refused() -> bool:
        return (await control.state()).counts.get("login refused", 0) > 0

    await until(refused)
    assert paired.opened.empty()
    clock.ahead = 3601
    await next_of(paired.opened)


async def test_a_code_is_forgotten_when_the_client_shows_the_next(
    server: Server, control: Control, tmp_path: Path, clock: MovedClock
) -> None:
    second = await Second.of(tmp_path / "second")
    await second.client.connect()
    code = await next_of(second.codes)
    clock.ahead = 60
    with pytest.raises(Refused, match="not valid any more"):
        await control.scan(OWNER, code)
    clock.ahead = 0
    await control.scan(OWNER, code)
    await next_of(second.opened)
    await second.client.disconnect()
