"""Clients of neonize in a process of their own: does what lines on standard input say, and tells every event.

The library as anybody would use it; that it trusts the testbed is its environment's doing. A process of its own,
because the library's Go part reads the environment that its process was started with, and may abort it.
"""

import asyncio
import base64
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pylibmagic  # noqa: F401 the library in it has to be known before neonize looks for one

# isort: split
from google.protobuf.json_format import MessageToDict
from neonize._binder import ProxySettings
from neonize.aioze import events
from neonize.aioze.client import NewAClient
from neonize.utils.enum import ReceiptType
from neonize.utils.jid import build_jid
from neonize.utils.log import log

EVENTS = (
    "ClientOutdatedEv",
    "ConnectFailureEv",
    "ConnectedEv",
    "DisconnectedEv",
    "LoggedOutEv",
    "MessageEv",
    "OfflineSyncCompletedEv",
    "PairStatusEv",
    "ReceiptEv",
    "StreamErrorEv",
    "StreamReplacedEv",
    "TemporaryBanEv",
)
THREADS = 64
"""The library keeps one for each client for ever."""


class Way:
    """Lines out of the process."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(2, 1)  # the library prints

    def tell(self, **facts: Any) -> None:
        """One line."""
        os.write(self._out, json.dumps(facts).encode() + b"\n")


class Client:
    """One client; its public methods are what it can be told to do."""

    def __init__(self, name: str, session: Path, proxy: str, way: Way) -> None:
        self._name, self._proxy, self._way = name, proxy, way
        self._client = NewAClient(str(session), uuid=name)
        self._client.qr(self._on_qr)
        for each in EVENTS:
            self._client.event(getattr(events, each))(self._on(each.removesuffix("Ev")))

    def _tell(self, event: str, **facts: Any) -> None:
        self._way.tell(client=self._name, event=event, facts=facts)

    async def _on_qr(self, _: Any, code: bytes) -> None:
        self._tell("Qr", code=code.decode())

    def _on(self, name: str) -> Any:
        async def tell(_: Any, event: Any) -> None:
            self._tell(name, **MessageToDict(event, preserving_proto_field_name=True))

        return tell

    async def connect(self) -> None:
        task = await self._client.connect(ProxySettings(self._proxy))
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        why = None if task.cancelled() else task.exception()
        self._tell("Ended", why="" if why is None else str(why))

    async def pair_phone(self, number: str) -> str:
        return str(await self._client.PairPhone(number, True))

    async def text(self, to: str, text: str) -> str:
        return str((await self._client.send_message(build_jid(to), text)).ID)

    async def image(self, to: str, data: str, caption: str) -> str:
        return str((await self._client.send_image(build_jid(to), base64.b64decode(data), caption=caption)).ID)

    async def document(self, to: str, data: str, caption: str, name: str, mime: str) -> str:
        sent = await self._client.send_document(
            build_jid(to), base64.b64decode(data), caption=caption, filename=name, mimetype=mime
        )
        return str(sent.ID)

    async def exists(self, number: str) -> bool:
        return bool((await self._client.is_on_whatsapp(number))[0].IsIn)

    async def number_of(self, lid: str) -> str:
        return str((await self._client.get_pn_from_lid(build_jid(lid, "lid"))).User)

    async def mark_read(self, message: str, lid: str) -> None:
        chat = build_jid(lid, "lid")
        await self._client.mark_read(message, chat=chat, sender=chat, receipt=ReceiptType.READ)

    async def is_connected(self) -> bool:
        return bool(await self._client.is_connected)

    async def logout(self) -> None:
        await self._client.logout()


async def main(proxy: str, way: Way) -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS))
    clients: dict[str, Client] = {}

    async def do(number: int, name: str, order: str, arguments: dict[str, Any]) -> None:
        try:
            if order == "open":
                clients[name] = Client(name, Path(arguments["session"]), proxy, way)
                way.tell(n=number, done=None)
            else:
                way.tell(n=number, done=await getattr(clients[name], order)(**arguments))
        except Exception as error:
            way.tell(n=number, failed=f"{type(error).__name__}: {error}")

    reader = asyncio.StreamReader(limit=64 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks = set()
    while line := await reader.readline():
        task = loop.create_task(do(**json.loads(line)), name="order")
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    os._exit(0)  # threads of the library never end, and the interpreter would wait for them


if __name__ == "__main__":
    the_way = Way()
    log.setLevel(os.environ.get("NEONIZE_LOG", "ERROR"))
    asyncio.run(main(sys.argv[1], the_way))
