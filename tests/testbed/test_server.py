"""The testbed itself: where it listens, what it takes for an order, what it does with strangers."""

import asyncio
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from testbed.whatsapp_web.__main__ import main
from testbed.whatsapp_web.control import Control, Refused, order_names
from testbed.whatsapp_web.orders import Orders
from testbed.whatsapp_web.server import NotLoopback, Server

ROOT = Path(__file__).resolve().parents[2]
PERSON = "5511988887777"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with Server(tmp_path / "testbed", seed=os.urandom(32)) as running:
        yield running


@pytest.fixture
async def control(server: Server) -> AsyncIterator[Control]:
    async with Control(server.reach.control) as connection:
        yield connection


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_it_refuses_every_address_but_loopback(tmp_path: Path, host: str) -> None:
    with pytest.raises(NotLoopback, match="loopback only"):
        Server(tmp_path, seed=os.urandom(32), host=host)


async def test_an_order_that_does_not_exist_is_refused_with_those_that_do(control: Control) -> None:
    with pytest.raises(Refused, match=r"no order 'dance'.* scan,"):
        await control.order("dance")
    with pytest.raises(Refused, match="no order '_session'"):
        await control.order("_session", companion="1:1")


@pytest.mark.parametrize(
    ("order", "arguments", "why"),
    [
        ("scan", {"number": PERSON, "code": "no code"}, "no code of WhatsApp Web"),
        ("scan", {"number": PERSON, "code": "a,b3RoZXI=,b3RoZXI=,b3RoZXI="}, "not valid any more"),
        ("scan", {"number": PERSON}, "code"),
        ("enter_code", {"number": PERSON, "code": "ABCD-EFGH"}, "No client shows a code"),
        ("phone", {"number": "+55 11"}, "is no phone number"),
        ("drop", {"companion": f"{PERSON}:7"}, "no linked device"),
        ("say", {"number": PERSON, "to": f"{PERSON}:7", "text": "hello"}, "no linked device"),
        ("file", {"sha256": "../../etc/passwd"}, "Nobody received"),
    ],
)
async def test_an_order_that_cannot_be_carried_out_says_why(
    control: Control, order: str, arguments: dict[str, str], why: str
) -> None:
    with pytest.raises(Refused, match=why):
        await control.order(order, **arguments)


def test_every_order_has_a_typed_method_and_stands_in_the_documentation() -> None:
    orders = [name for name in vars(Orders) if not name.startswith("_")]
    assert [name for name in orders if not hasattr(Control, name)] == []
    told = (ROOT / "docs" / "testbed.md").read_text(encoding="utf-8")
    assert [name for name in orders if not re.search(rf"`{name}`|tell {name}\b", told)] == []
    assert order_names(object.__new__(Orders)) == sorted(orders)


async def test_strangers_are_hung_up_on_and_do_no_harm(server: Server, control: Control) -> None:
    host, _, port = server.reach.proxy.removeprefix("http://").partition(":")
    for words in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"CONNECT web.whatsapp.com:443 HTTP/1.1\r\n\r\nnot TLS at all\r\n\r\n",
        b"",
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(words)
        writer.write_eof()
        async with asyncio.timeout(30):
            await reader.read()
        writer.close()
    assert "broken" not in (await control.state()).counts


async def test_uploads_and_downloads_pass_through_one_connection(server: Server) -> None:
    host, _, port = server.reach.proxy.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"CONNECT mmg.whatsapp.net:443 HTTP/1.1\r\n\r\n")
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    trust = ssl.create_default_context(cafile=server.reach.authority)
    await writer.start_tls(trust, server_hostname="mmg.whatsapp.net")
    token = "FPxZD8hE1M-B9WvGK6jjI4K3kBv9GCPpkZ6Hl8cSzjE"
    for head, body, status in (
        (f"POST /mms/image/{token}", b"data", b"400"),
        ("GET /v/nothing", b"", b"404"),
        ("POST /mms/image/Om6weQUV2ZlqSEkdNZ7lbtg5MUqBqlmjKxhRTM2yLmU=", b"", b"400"),
    ):
        request = f"{head} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        writer.write(request + (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n")
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.split(b" ")[1] == status
        await reader.readexactly(2)
    writer.close()


async def test_it_listens_again_on_the_same_port_after_a_restart(server: Server, control: Control) -> None:
    before = server.reach
    await control.restart(0)
    assert server.reach == before
    _, writer = await asyncio.open_connection("127.0.0.1", int(before.proxy.rpartition(":")[2]))
    writer.close()


async def test_orders_can_be_given_from_a_terminal(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    tell = ["--control-port", str(server.reach.control), "tell"]
    assert await asyncio.to_thread(main, [*tell, "phone", f"number={PERSON}"]) == 0
    assert json.loads(capsys.readouterr().out)["number"] == PERSON
    assert await asyncio.to_thread(main, [*tell, "dance"]) == 1
    assert "Orders: arrivals, " in capsys.readouterr().err
    assert await asyncio.to_thread(main, ["--control-port", "1", "tell", "state"]) == 1
    assert "No testbed takes orders on port 1" in capsys.readouterr().err


def test_the_command_says_how_to_reach_it_and_ends_with_its_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "testbed.whatsapp_web", "--json", "--ends-with-stdin", "--folder", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        reach = json.loads(child.stdout.readline())
        assert Path(reach["authority"]).exists()
        child.stdin.close()
        assert child.wait(30) == 0
