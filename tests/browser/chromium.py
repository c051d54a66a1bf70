"""A real browser, driven over two pipes by the DevTools protocol: keys are pressed, and what the browser complains of
is kept.
"""

import asyncio
import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",  # tests may run as root
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
    "about:blank",
)
# The browser reads orders from descriptor 3 and answers on 4.
_START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
PATIENCE = 30.0
LARGEST = 64 << 20


def program() -> str | None:
    """Where a browser is, if there is one."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Chromium:
    """One browser process; each `page` is a profile of its own, without cookies of others."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}

    async def listen(self) -> None:
        """Hand out what the browser says, until it is gone."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
                if "id" in message:
                    if not (waiting := self._waiting.pop(message["id"])).done():
                        waiting.set_result(message)
                elif (page := self._pages.get(message.get("sessionId", ""))) is not None:
                    page.hear(message["method"], message["params"])

    async def order(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One order and its answer."""
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        self._writer.write(json.dumps(message).encode() + b"\0")
        async with asyncio.timeout(PATIENCE):
            answer = await waiting
        assert "error" not in answer, f"{method}: {answer['error']}"
        found: dict[str, Any] = answer["result"]
        return found

    @asynccontextmanager
    async def page(self, *, width: int = 1280, height: int = 800, dark: bool = False) -> "AsyncIterator[Page]":
        """A window of its own."""
        profile = (await self.order("Target.createBrowserContext"))["browserContextId"]
        target = await self.order("Target.createTarget", url="about:blank", browserContextId=profile)
        attached = await self.order("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        made = Page(self, attached["sessionId"])
        self._pages[made.session] = made
        for domain in ("Page", "Runtime", "Log", "Network"):
            await made.order(f"{domain}.enable")
        await made.order(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await made.order("Emulation.setEmulatedMedia", features=[scheme])
        try:
            yield made
        finally:
            del self._pages[made.session]
            await self.order("Target.disposeBrowserContext", browserContextId=profile)


class Page:
    """One window. `complaints`: violations of the policy, failed scripts, and dialogs that opened."""

    def __init__(self, chromium: Chromium, session: str) -> None:
        self._chromium = chromium
        self.session = session
        self.complaints: list[str] = []
        self.requests: list[dict[str, Any]] = []

    def hear(self, method: str, params: dict[str, Any]) -> None:
        """What the browser says of this window by itself."""
        if method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"a dialog opened: {params['message']}")
        elif method == "Network.requestWillBeSentExtraInfo":
            self.requests.append(params["headers"])

    async def order(self, method: str, **params: Any) -> dict[str, Any]:
        """One order to this window."""
        return await self._chromium.order(method, self.session, **params)

    async def run(self, script: str) -> Any:
        """What an expression comes to."""
        answer = await self.order("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until an expression is true; a page that is just being replaced is asked again."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    with suppress(AssertionError):
                        if await self.run(f"document.readyState === 'complete' && !!({script})"):
                            return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            shown = await self.run("document.documentElement.innerText")
            raise AssertionError(f"never so: {script}\nThe page: {shown}\nComplaints: {self.complaints}") from None

    async def open(self, url: str, wanted: str = "true") -> None:
        """Go there, as by typing the address."""
        await self.order("Page.navigate", url=url)
        await self.until(f"location.href !== 'about:blank' && ({wanted})")

    async def press(self, *keys: str) -> None:
        """Press keys one after the other: `Tab`, `Enter`."""
        for key in keys:
            code, text = {"Tab": (9, ""), "Enter": (13, "\r")}[key]
            facts = {"key": key, "code": key, "windowsVirtualKeyCode": code}
            await self.order("Input.dispatchKeyEvent", type="keyDown", text=text, **facts)
            await self.order("Input.dispatchKeyEvent", type="keyUp", **facts)

    async def type(self, text: str) -> None:
        """Type into whatever has the focus."""
        await self.order("Input.insertText", text=text)

    async def give_cookie(self, url: str, name: str, value: str) -> None:
        """As if it had been set there."""
        await self.order("Network.setCookie", url=url, name=name, value=value, httpOnly=True, sameSite="Lax")

    async def picture(self) -> bytes:
        """What is seen now, as PNG."""
        return base64.b64decode((await self.order("Page.captureScreenshot"))["data"])


def _started(binary: str, profile: Path) -> tuple[subprocess.Popen[bytes], int, int]:
    """The process, where it answers, and where it takes orders."""
    orders_in, orders_out = os.pipe()
    answers_in, answers_out = os.pipe()
    theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (orders_in, answers_out)]
    child = subprocess.Popen(
        [sys.executable, "-c", _START, *map(str, theirs), binary, f"--user-data-dir={profile}", *FLAGS],
        pass_fds=theirs,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(profile)},
    )
    for fd in (*theirs, orders_in, answers_out):
        os.close(fd)
    return child, answers_in, orders_out


def _ended(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


@asynccontextmanager
async def running(binary: str) -> AsyncIterator[Chromium]:
    """A browser for as long as the block runs."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(prefix="fleetcast-browser-", dir="/tmp", ignore_cleanup_errors=True) as profile:
        child, answers, orders = _started(binary, Path(profile))
        reader = asyncio.StreamReader(limit=LARGEST)
        reading, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(answers, "rb", 0)
        )
        writing, protocol = await loop.connect_write_pipe(
            lambda: asyncio.streams.FlowControlMixin(loop=loop), os.fdopen(orders, "wb", 0)
        )
        chromium = Chromium(reader, asyncio.StreamWriter(writing, protocol, None, loop))
        listening = asyncio.create_task(chromium.listen(), name="browser")
        try:
            yield chromium
            with suppress(TimeoutError, AssertionError):
                await chromium.order("Browser.close")
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            writing.close()
            reading.close()
            await asyncio.to_thread(_ended, child)
