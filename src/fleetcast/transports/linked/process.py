"""One child as its parent sees it: started, spoken to, and at some point gone, in order or not.

What was asked of it and is unanswered then ends: a message that it had not begun certainly never left.
"""

import asyncio
import itertools
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from fleetcast.domain.identifiers import DeviceId
from fleetcast.errors import Unavailable
from fleetcast.transports.base import Accepted, Inbound, Media
from fleetcast.transports.errors import NotSent, SendError, Unknown
from fleetcast.transports.linked.protocol import (
    LONGEST_LINE,
    VERSION,
    Begun,
    BrokenFrame,
    Doing,
    Done,
    Frame,
    GiveUp,
    Hello,
    Ping,
    Refused,
    Send,
    Sent,
    Stop,
    Told,
    WantsFile,
    Wire,
)
from fleetcast.transports.linked.verdicts import refusal

log = structlog.get_logger()

START_SECONDS = 60.0
"""Until the library is loaded."""
STOP_SECONDS = 15.0
LAST_WORD = 1.0
"""Seconds after a message's time in which the child says whether it had begun."""
_SECRETS = ("DATABASE_URL", "REDIS_URL", "FLEETCAST_")
"""Variables that a process which strangers write to has no use for begin so."""
_CHATTER = ("Press Ctrl+C", "Login event", "SendMessage: Error", "PairStatus")
_WORDS_KEPT = 5
FILES_AT_ONCE = 4
"""On their way to WhatsApp; each is in memory several times meanwhile."""
GONE = "the process that holds the device's session ended"


@dataclass(slots=True)
class _Sending:
    """A message that the child has."""

    device: DeviceId
    answer: "asyncio.Future[Sent | Refused | WantsFile]"
    begun: bool = False


class _Gone(Exception):
    """The child ended before it answered."""


class ChildProcess:
    """Started once; another try is another child. `told` gets its events, `lost` is called once when it is gone."""

    def __init__(
        self,
        number: int,
        devices: int,
        environment: Mapping[str, str],
        told: "Callable[[ChildProcess, Inbound, bool], None]",
        lost: "Callable[[ChildProcess], None]",
    ) -> None:
        self.number = number
        self.room = devices
        self.devices: set[DeviceId] = set()
        self.started_at = 0.0
        self._environment = environment
        self._told = told
        self._lost = lost
        self._wire: Wire | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Done]] = {}
        self._sends: dict[int, _Sending] = {}
        self._files = asyncio.Semaphore(FILES_AT_ONCE)
        self._doing: DeviceId | None = None
        self._words: deque[str] = deque(maxlen=_WORDS_KEPT)
        self.gone = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the running child."""
        return None if self._process is None or self.gone.is_set() else self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether it takes orders."""
        return self._ready.done() and not self.gone.is_set()

    @property
    def suspects(self) -> set[DeviceId]:
        """Devices that the library was occupied with."""
        begun = {sending.device for sending in self._sends.values() if sending.begun}
        return begun if self._doing is None else begun | {self._doing}

    # life

    async def run(self) -> None:
        """Start it, and hear it until it is gone."""
        ours, theirs = socket.socketpair()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fleetcast.transports.linked", str(theirs.fileno()), str(self.room)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                env=_clean(os.environ) | dict(self._environment),
                start_new_session=True,
            )
            self.started_at = asyncio.get_running_loop().time()
            theirs.close()
            reader, writer = await asyncio.open_connection(sock=ours, limit=LONGEST_LINE)
            self._wire = Wire(reader, writer)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read_words(), name=f"words of linked child {self.number}")
                await self._hear(self._wire)
                self.kill()  # it has hung up, so it ends
        finally:
            theirs.close()
            ours.close()
            await self._end()

    async def ready(self) -> None:
        """Wait until it takes orders. Raises Unavailable with its last words."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.shield(self._ready)
        except TimeoutError:
            self.kill()
            raise Unavailable("The process for linked devices does not start.") from None
        except _Gone:
            said = f" It said: {self._words[-1]}" if self._words else ""
            raise Unavailable(f"The process for linked devices ended as it started.{said}") from None

    def stop(self) -> None:
        """Have it end its sessions in order, and itself. Idempotent."""
        self.write(Stop())

    async def stopped(self) -> None:
        """Wait until it is gone; it is killed when that takes long."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.gone.wait()
        except TimeoutError:
            self.kill()
            await self.gone.wait()

    def kill(self) -> None:
        """End it at once, as a crash does. Idempotent."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):  # not by its own method, which may reap it before its watcher does
                os.kill(self._process.pid, signal.SIGKILL)

    async def _end(self) -> None:
        if self._process is not None:
            self.kill()
            await self._process.wait()
        self.fail_sends()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(_Gone())
        if not self._ready.done():
            self._ready.set_exception(_Gone())
            self._ready.exception()  # nobody may be waiting
        self.gone.set()
        self._lost(self)

    @property
    def how_it_ended(self) -> str:
        """For the log."""
        code = None if self._process is None else self._process.returncode
        if code is not None and code < 0:
            with suppress(ValueError):
                return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    # hearing

    async def _hear(self, wire: Wire) -> None:
        try:
            while (read := await wire.read()) is not None:
                self._heard(read[0])
        except BrokenFrame as error:
            log.error("a process for linked devices cannot be understood", child=self.number, problem=str(error))
            self.kill()
        finally:
            wire.close()

    def _heard(self, frame: Frame) -> None:
        match frame:
            case Told(event=event, kept=kept):
                self._told(self, event, kept)
            case Begun(number=number) if number in self._sends:
                self._sends[number].begun = True
            case Sent() | Refused() | WantsFile():
                sending = self._sends.get(frame.number)
                if sending is not None and not sending.answer.done():
                    sending.answer.set_result(frame)
            case Done(number=number):
                asked = self._asked.get(number)
                if asked is not None and not asked.done():
                    asked.set_result(frame)
            case Doing(device=device):
                self._doing = device
            case Hello(version=version) if not self._ready.done():
                if version != VERSION:
                    raise BrokenFrame(f"it speaks version {version}, not {VERSION}")
                self._ready.set_result(None)

    async def _read_words(self) -> None:
        """What it and the library print: into the log, where numbers are masked."""
        assert self._process is not None and self._process.stderr is not None  # noqa: PT018
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # longer than a line may be
                continue
            if not line:
                return
            said = line.decode(errors="replace").strip()
            if said and not said.startswith(_CHATTER):
                self._words.append(said[:500])
                log.info("a process for linked devices says", child=self.number, said=said[:500])

    # asking

    def write(self, frame: Frame, data: bytes | None = None) -> None:
        """Put an order on its way. Silent when it is gone."""
        if self._wire is not None:
            self._wire.write(frame, data)

    async def ask(self, order: Callable[[int], Frame], timeout: float) -> str:
        """Give an order and wait until it is carried out; the problem, where there is one. Raises Unavailable."""
        number = next(self._numbers)
        asked: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        self.write(order(number))
        try:
            if self.gone.is_set():
                raise _Gone
            async with asyncio.timeout(timeout):
                return (await asked).problem
        except TimeoutError:
            raise Unavailable("The process for linked devices does not answer.") from None
        except _Gone:
            raise Unavailable("The process for linked devices ended.") from None
        finally:
            del self._asked[number]

    async def answers(self, timeout: float) -> bool:
        """Whether it does what it is told within so many seconds."""
        try:
            await self.ask(Ping, timeout)
        except Unavailable:
            return False
        return True

    async def send(self, order: Callable[[int], Send], media: Media | None, timeout: float) -> Accepted:
        """Send a message. Raises a SendError."""
        if self.gone.is_set():
            raise NotSent("disconnected", GONE)
        number = next(self._numbers)
        frame = order(number)
        loop = asyncio.get_running_loop()
        sending = self._sends[number] = _Sending(frame.device, loop.create_future())
        ends, held = loop.time() + timeout, False
        try:
            self.write(frame)
            while True:
                answer = await self._answer(sending, number, ends)
                if not isinstance(answer, WantsFile):
                    break
                sending.answer = loop.create_future()
                held = held or await self._turn_for_a_file(ends)
                self.write(*_with_bytes(frame, media))
        finally:
            if held:
                self._files.release()
            del self._sends[number]
        if isinstance(answer, Sent):
            return Accepted(answer.provider_id)
        raise refusal(answer)

    async def _turn_for_a_file(self, ends: float) -> bool:
        """Wait until few other files are on their way to the child, and through it. Raises NotSent."""
        try:
            async with asyncio.timeout_at(ends):
                return await self._files.acquire()
        except TimeoutError:
            raise NotSent("uploading", "other files are being uploaded") from None

    async def _answer(self, sending: _Sending, number: int, ends: float) -> Sent | Refused | WantsFile:
        try:
            async with asyncio.timeout_at(ends):
                return await asyncio.shield(sending.answer)
        except TimeoutError:
            self.write(GiveUp(number))
        except asyncio.CancelledError:
            self.write(GiveUp(number))
            raise
        if not sending.begun:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORD):
                    return await asyncio.shield(sending.answer)
        raise Unknown("no_answer", "WhatsApp did not answer in time")

    def fail_sends(self) -> None:
        """Nobody will answer any more."""
        for sending in self._sends.values():
            if not sending.answer.done():
                error: SendError = Unknown("process_ended", GONE) if sending.begun else NotSent("disconnected", GONE)
                sending.answer.set_exception(error)
                sending.answer.exception()  # who waited may have stopped


def _with_bytes(frame: Send, media: Media | None) -> tuple[Send, bytes]:
    """The order with all that an upload needs."""
    if media is None or frame.file is None:
        return frame, b""
    return replace(frame, file=frame.file.complete(media)), media.data


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(_SECRETS)}
