"""Linking a device to a phone, in a child that does nothing else and ends afterwards.

The library shows a code for as long as WhatsApp takes it and renews it by itself; that its codes have run out it tells
nobody, so a clock of our own begins anew. A session is the device's once it has connected as a linked device: then its
keys lie at WhatsApp, its file is whole, and it takes its final name before anybody hears of it.
"""

import asyncio
from datetime import datetime

from fleetcast.domain.pairing import Code, CodeKind
from fleetcast.transports.base import Inbound, Paired, PairingCode, PairingEnded
from fleetcast.transports.linked import words
from fleetcast.transports.linked.files import DeviceFiles, Held, Notes, number
from fleetcast.transports.linked.happenings import (
    Banned,
    Down,
    Ended,
    Failed,
    Happening,
    LoggedOut,
    Outdated,
    PairedWith,
    PairingFailed,
    QrCode,
    Replaced,
    Up,
)
from fleetcast.transports.linked.library import Client, LibraryError
from fleetcast.transports.linked.protocol import Link, Told
from fleetcast.transports.linked.session import Surroundings

SLACK = 2.0
"""Seconds after the end of a code in which the library should have shown the next."""
RETRY = 1.0
UNREACHED = 8.0
"""Seconds after which a device that was given no code at all is told why."""
UNPAIRED_ENDS = 0.1
LOG_IN = 60.0
"""Seconds from the moment in which a phone took the code until the device must have logged in: a client writes 812
keys meanwhile."""
PHONE_CODE_SECONDS = 160.0
"""How long a code that is typed is good for."""


class Linking:
    """One device on its way to a phone."""

    def __init__(self, link: Link, around: Surroundings) -> None:
        self._link = link
        self._around = around
        self._files = DeviceFiles.of(link.session)
        self._shown = 0
        self._problem = ""
        self._ends = 0.0

    async def run(self) -> None:
        """Show codes until a phone took one, or nobody is waited for any more."""
        began = self._now()
        self._ends = began + self._link.patience
        while True:
            self._files.forget_fresh()
            name = f"link-{self._link.device}-{next(self._around.names)}"
            happened: asyncio.Queue[Happening] = asyncio.Queue()
            fresh = str(self._files.fresh)
            client = Client(fresh, name, self._link.proxy, self._around.gate, happened.put_nowait)
            await client.connect()
            try:
                ended = await self._wait_for_phone(client, happened)
            except BaseException:
                await client.end()
                raise
            await client.end(*(() if isinstance(ended, Notes) else (UNPAIRED_ENDS,)))
            if isinstance(ended, Notes):
                self._files.adopt(ended)
                self._tell_paired(ended)
                return
            if ended or (not self._shown and self._now() - began > UNREACHED) or self._now() >= self._ends:
                self._files.forget_fresh()
                self._tell_ended(ended or (words.NOBODY if self._shown else self._problem or words.UNREACHABLE))
                return
            if self._problem:
                await asyncio.sleep(RETRY)

    async def _wait_for_phone(self, client: Client, happened: "asyncio.Queue[Happening]") -> Notes | str | None:
        """What came of one client: a session, a reason for which nothing comes of it, or None: begin anew."""
        self._problem, asked, taken = "", False, False
        until = self._ends
        while True:
            try:
                async with asyncio.timeout(max(0.0, until - self._now())):
                    happening = await happened.get()
            except TimeoutError:
                if taken:
                    return "the phone took the code, but the device did not get through to WhatsApp: try again"
                return None
            match happening:
                case QrCode(text=text) if self._link.phone is None:
                    if self._shown >= self._link.codes:
                        return words.NOBODY
                    seconds = self._show(text)
                    until = min(self._ends, self._now() + seconds + min(SLACK, seconds))
                case QrCode() if not asked and self._link.phone is not None:
                    asked = True
                    try:
                        typed = await client.pair_code(self._link.phone.removeprefix("+"))
                    except LibraryError as error:
                        return f"WhatsApp gave no code for this number: {str(error)[:120]}"
                    seconds = min(PHONE_CODE_SECONDS, self._ends - self._now())
                    self._shown += 1
                    self._tell_code(CodeKind.PHONE, typed, seconds)
                    until = self._now() + seconds
                case PairedWith():
                    taken, until = True, self._now() + LOG_IN
                case PairingFailed(problem=problem):
                    return f"the phone did not accept this device: {problem[:120]}"
                case Up() if (identity := client.identity) is not None:
                    user, jid, lid = identity
                    return Notes(order=self._link.order, phone=number(user), jid=jid, lid=lid)
                case Outdated():
                    return words.OUTDATED
                case LoggedOut() | Failed():
                    return "WhatsApp refused to link this device: try again later"
                case Ended(problem=problem) if not taken or problem:
                    self._problem = words.unreachable(problem) if problem else words.UNREACHABLE
                    return None
                case Down() if not taken:
                    self._problem = words.UNREACHABLE
                    return None
                case _:
                    pass

    def _show(self, text: str) -> float:
        """A code to scan; for how many seconds."""
        seconds = self._link.code_seconds if self._shown else self._link.first_seconds
        self._shown += 1
        self._tell_code(CodeKind.QR, text, seconds)
        return seconds

    # telling

    def _tell_code(self, kind: CodeKind, text: str, seconds: float) -> None:
        code = Code(self._link.order, kind, text, seconds)
        self._tell(PairingCode(self._name("code"), self._link.device, code, self._at()))

    def _tell_paired(self, notes: Notes) -> None:
        self._tell(
            Paired(
                self._name("paired"),
                self._link.device,
                notes.order,
                number(notes.phone.removeprefix("+")),
                notes.jid,
                notes.lid,
                self._at(),
            )
        )

    def _tell_ended(self, reason: str) -> None:
        self._tell(PairingEnded(self._name("ended"), self._link.device, self._link.order, reason, self._at()))

    def _tell(self, event: Inbound) -> None:
        self._around.tell(Told(event, kept=False))

    def _name(self, kind: str) -> str:
        return f"pairing-{kind}-{self._around.began}-{next(self._around.names)}"

    def _at(self) -> datetime:
        return self._around.clock.now()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def log_out(session: str, proxy: str | None, around: Surroundings) -> str:
    """Unlink a device whose session is not open; why not, in plain words."""
    held = Held(DeviceFiles.of(session).lock)
    if not held.take():
        return words.HELD_ELSEWHERE
    happened: asyncio.Queue[Happening] = asyncio.Queue()
    client = Client(session, f"out-{next(around.names)}", proxy, around.gate, happened.put_nowait)
    try:
        await client.connect()
        while True:
            match await happened.get():
                case Up():
                    try:
                        await client.log_out()
                    except LibraryError as error:
                        return f"WhatsApp did not take the logout: {str(error)[:120]}"
                    return ""
                case LoggedOut() | QrCode():
                    return ""  # it was not linked any more
                case Banned(code=code):
                    return words.banned_for_now(code)
                case Ended(problem=problem):
                    return words.unreachable(problem)
                case Failed() | Outdated() | Replaced():
                    return "WhatsApp refused the connection"
                case _:
                    pass
    finally:
        await client.end()
        held.give_back()
