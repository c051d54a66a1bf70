"""Real neonize clients for tests: a process that holds them, and one client as a test speaks of it."""

import asyncio
import base64
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Self

from testbed.whatsapp_web.launch import Testbed

PATIENCE = 60.0
"""Seconds until a test gives up waiting; the machine may be busy."""
_PROGRAM = Path(__file__).with_name("neonize_child.py")


class Failed(Exception):
    """The library raised; the text begins with the name of the exception."""


class Process:
    """Clients in one child process. `async with Process(testbed, folder) as process:`."""

    def __init__(self, testbed: Testbed, folder: Path) -> None:
        self.testbed = testbed
        self.folder = folder
        self._numbers = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.events: defaultdict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        self.news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            str(_PROGRAM),
            self.testbed.reach.proxy,
            stdin=PIPE,
            stdout=PIPE,
            limit=64 << 20,
            env=os.environ | self.testbed.environment(),
        )
        self._reader = asyncio.create_task(self._read(), name="neonize's events")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def kill(self) -> None:
        """End it as a crash would. Idempotent."""
        if self._child.returncode is None:
            self._child.kill()
        await self._child.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._child.stdout is not None
        while line := await self._child.stdout.readline():
            said = json.loads(line)
            if "n" in said:
                self._answers.pop(said["n"]).set_result(said)
                continue
            self.events[said["client"]].append((said["event"], said["facts"]))
            async with self.news:
                self.news.notify_all()
        for answer in self._answers.values():
            if answer.done():
                continue
            answer.set_exception(Failed("the process is gone"))

    async def do(self, client: str, order: str, **arguments: Any) -> Any:
        """Have a client do something. Raises Failed."""
        self._numbers += 1
        number = self._numbers
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        assert self._child.stdin is not None
        told = {"number": number, "name": client, "order": order, "arguments": arguments}
        self._child.stdin.write(json.dumps(told).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            said = await answer
        if "failed" in said:
            raise Failed(said["failed"])
        return said["done"]

    async def client(self, name: str) -> "Client":
        """A client with a session file of its own, or the one that it had in an earlier process."""
        await self.do(name, "open", session=str(self.folder / f"{name}.db"))
        return Client(self, name)


class Client:
    """One neonize client. Its number is that of the phone that it is paired with."""

    def __init__(self, process: Process, name: str) -> None:
        self._process = process
        self._taken: Counter[str] = Counter()
        self.name = name
        self.companion = ""

    @property
    def number(self) -> str:
        """Of its phone."""
        return self.companion.partition(":")[0]

    async def do(self, order: str, **arguments: Any) -> Any:
        """What the library is asked for. Raises Failed."""
        return await self._process.do(self.name, order, **arguments)

    async def connect(self) -> None:
        """Begin to connect."""
        await self.do("connect")

    async def hears(self, event: str, **facts: Any) -> dict[str, Any]:
        """Wait for the next event of this name with these facts. Each is heard once."""
        async with asyncio.timeout(PATIENCE), self._process.news:
            while True:
                for found in self.all(event)[self._taken[event] :]:
                    self._taken[event] += 1
                    if facts.items() <= found.items():
                        return found
                await self._process.news.wait()

    def forget(self) -> None:
        """What was heard until now is of no interest any more."""
        self._taken = Counter(name for name, _ in self._process.events[self.name])

    async def receipt(self, lid: str) -> dict[str, Any]:
        """Wait for the next receipt from a person."""
        while True:
            found = await self.hears("Receipt")
            if found["MessageSource"]["Chat"]["User"] == lid:
                return found

    def all(self, event: str) -> list[dict[str, Any]]:
        """Every event of this name so far."""
        return [facts for name, facts in self._process.events[self.name] if name == event]

    async def pair(self, number: str) -> None:
        """Link it to a phone by QR code, and be online."""
        await self.connect()
        code = await self.hears("Qr")
        async with self._process.testbed.control() as control:
            self.companion = await control.scan(number, code["code"])
        await self.hears("Connected")

    async def text(self, to: str, text: str) -> str:
        """Send a text; its id."""
        return str(await self.do("text", to=to, text=text))

    async def image(self, to: str, data: bytes, caption: str) -> str:
        """Send an image; its id."""
        return str(await self.do("image", to=to, data=base64.b64encode(data).decode(), caption=caption))

    async def document(self, to: str, data: bytes, *, caption: str, name: str, mime: str) -> str:
        """Send a document; its id."""
        sent = {"to": to, "data": base64.b64encode(data).decode(), "caption": caption, "name": name, "mime": mime}
        return str(await self.do("document", **sent))
