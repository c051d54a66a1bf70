"""One device in the child: its session from open to close, through everything that can happen to a connection.

The library itself connects again after a connection that stood is lost; whatever else ends a client is tried again
here, after growing, jittered pauses. A logout, a ban and a session that was opened elsewhere are never fought.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from random import Random

from fleetcast.clock import Clock
from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId
from fleetcast.transports.base import StateChange
from fleetcast.transports.linked import words
from fleetcast.transports.linked.files import DeviceFiles, Held
from fleetcast.transports.linked.gate import Gate
from fleetcast.transports.linked.happenings import (
    Away,
    Back,
    Banned,
    Down,
    Ended,
    Failed,
    Happening,
    Incoming,
    LoggedOut,
    Marks,
    Outdated,
    QrCode,
    Replaced,
    Silent,
    Up,
)
from fleetcast.transports.linked.hearing import Hearing
from fleetcast.transports.linked.library import Client
from fleetcast.transports.linked.protocol import Hold, Told

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between attempts to connect, doubling; each is drawn between half of it and all."""
OUTDATED_PAUSE = 3600.0
LIBRARYS_TURN = 120.0
"""Seconds in which the library should have connected again by itself; then it is begun anew."""
LOCK_RETRY = 1.0
LOCK_HOURS = (6, 12, 24)
"""How long nothing is sent to new people after WhatsApp locked new chats, which does not say how long: the first time,
the second, and from then on. To ask it counts as another offence there."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions of a child share."""

    gate: Gate
    tell: Callable[[Told], None]
    doing: Callable[[DeviceId | None], Awaitable[bool]]
    clock: Clock
    random: Random
    names: "itertools.count[int]"
    began: str
    """Names this run of the process, in names of events."""


class _Next(Enum):
    """What becomes of a device whose client is over."""

    AGAIN = "again"
    AT_ONCE = "at once"
    NEVER = "never"


class Session:
    """One device."""

    def __init__(self, hold: Hold, around: Surroundings) -> None:
        self.device = hold.device
        self.files = DeviceFiles.of(hold.session)
        self.state: DeviceState | None = None
        """As it was told last; None: nothing was told yet."""
        self.reason = ""
        self.client: Client | None = None
        """While it is connected."""
        self.up = asyncio.Event()
        self.hearing: Hearing | None = None
        """Once its files are ours."""
        self._hold = hold
        self._around = around
        self._held = Held(self.files.lock)
        self._notes = self.files.read_notes()
        self._closing = asyncio.Event()
        self._happened: asyncio.Queue[Happening | None] = asyncio.Queue()
        self._living: Client | None = None
        self._restarts = False
        """Its client was ended so that another one begins: nothing to tell anybody."""
        self._restriction: asyncio.TimerHandle | None = None
        self._down_since: float | None = None
        self.closed = asyncio.Event()

    # life

    async def run(self) -> None:
        """Until closed, or until the session is over for good; then it only waits to be closed."""
        try:
            if await self._take():
                self._notes = self.files.read_notes()  # whoever had the files until now may have written some
                self.hearing = Hearing(self.device, self.files, self._around.tell, self._around.clock)
                await self._keep_up()
            await self._closing.wait()
        finally:
            if self._restriction is not None:
                self._restriction.cancel()
            self._held.give_back()
            self.closed.set()

    @property
    def is_closing(self) -> bool:
        """Whether it is wanted no more."""
        return self._closing.is_set()

    async def close(self) -> None:
        """End the session without logging it out; returns once nobody holds its files."""
        self._closing.set()
        self._happened.put_nowait(None)
        await self.closed.wait()

    async def restart(self) -> None:
        """Begin a new connection: the library is still occupied with a message that nobody waits for."""
        self.up.clear()
        self.client = None
        if self._living is not None:
            self._restarts = True
            await self._living.end()

    async def _take(self) -> bool:
        """Be the only one who has the files open. False when it is closed before."""
        while not self._held.take():
            self._say(DeviceState.OFFLINE, words.HELD_ELSEWHERE)
            if await self._pause(LOCK_RETRY):
                return False
        return True

    async def _keep_up(self) -> None:
        pause = FIRST_PAUSE
        while not self._closing.is_set():
            if not self.files.is_paired:
                self._say(DeviceState.LOGGED_OUT, words.NO_SESSION)
                return
            if (until := self._restricted_until()) is not None and not self._notes.may_answer:
                self._say(DeviceState.RESTRICTED, self._notes.restricted_why, until)
                if await self._pause((until - self._around.clock.now()).total_seconds()):
                    return
                continue
            was_up, following = await self._live()
            if following is _Next.NEVER:
                return
            pause = FIRST_PAUSE if was_up else min(2 * pause, LONGEST_PAUSE)
            if following is _Next.AGAIN and await self._pause(pause * self._around.random.uniform(0.5, 1.0)):
                return

    async def _live(self) -> tuple[bool, _Next]:
        """One client from connect to end: whether it was ever up, and what follows."""
        self._happened = asyncio.Queue()
        name = f"{self.device}-{next(self._around.names)}"
        client = self._living = Client(
            self._hold.session,
            name,
            self._hold.proxy,
            self._around.gate,
            self._happened.put_nowait,
            None if self.hearing is None else self.hearing.write_down,
        )
        was_up = False
        try:
            await self._around.doing(self.device)
            await client.connect()
            await self._around.doing(None)
            while True:
                happening = await self._following()
                if happening is None:
                    return was_up, _Next.NEVER if self._closing.is_set() else _Next.AT_ONCE
                was_up = was_up or isinstance(happening, Up)
                following = await self._take_in(happening, client)
                if following is not None:
                    return was_up, following
        finally:
            self.up.clear()
            self.client = self._living = None
            await client.end()

    async def _following(self) -> Happening | None:
        """What happens next; None when the session is closed, or the library took too long to come back."""
        left = None if self._down_since is None else max(0.0, self._down_since + LIBRARYS_TURN - self._now())
        try:
            async with asyncio.timeout(left):
                happening = await self._happened.get()
        except TimeoutError:
            happening = None
        return None if self._closing.is_set() else happening

    async def _take_in(self, happening: Happening, client: Client) -> _Next | None:
        """Act on what happened; what follows if that was the end of the client."""
        match happening:
            case Up() | Back():
                self._is_up(client)
                if self.hearing is not None:
                    await self.hearing.catch_up(client)
            case Down():
                self._is_down(words.CONNECTION_LOST)
                self._down_since = self._now()
            case Silent(times=times):
                self._is_down(words.NO_ANSWER)
                if times > 1 or not self._is_sending:
                    return _Next.AT_ONCE
            case Away(code=code):
                self._is_down(words.stream_error(code))
                self._down_since = self._now()
            case Ended() if self._restarts:
                self._restarts = False
                return _Next.AT_ONCE
            case Ended(problem=problem):
                self._is_down(words.tried_again(words.unreachable(problem)) if problem else words.CONNECTION_LOST)
                return _Next.AGAIN
            case Failed(reason=reason, message=message):
                self._is_down(words.refused(reason, message))
                return _Next.AGAIN
            case Outdated():
                self._is_down(words.OUTDATED)
                return _Next.NEVER if await self._pause(OUTDATED_PAUSE) else _Next.AT_ONCE
            case Banned(code=code, seconds=seconds):
                until = self._around.clock.now() + timedelta(seconds=seconds)
                self._note_restriction(until, words.banned_for_now(code), may_answer=False)
                return _Next.AT_ONCE
            case LoggedOut(reason=reason):
                state, why = words.logged_out(reason)
                self._say(state, why)
                return _Next.NEVER
            case QrCode():  # the file holds no session
                self._say(DeviceState.LOGGED_OUT, words.NO_SESSION)
                return _Next.NEVER
            case Replaced():
                self._say(DeviceState.OFFLINE, words.REPLACED, replaced=True)
                return _Next.NEVER
            case Marks() | Incoming() if self.hearing is not None:
                await self.hearing.hear(happening, client)
        return None

    def _is_up(self, client: Client) -> None:
        self.client = client
        self._down_since = None
        until = self._restricted_until()
        if until is not None:
            self._say(DeviceState.RESTRICTED, self._notes.restricted_why, until)
            self._plan_end(until)
        else:
            self._say(DeviceState.ONLINE, "")
        self.up.set()

    def _is_down(self, reason: str) -> None:
        self.up.clear()
        self.client = None
        self._say(DeviceState.OFFLINE, reason)

    # restrictions

    def lock_new_chats(self, *, may_answer: bool) -> None:
        """WhatsApp refused a message to somebody new and counts each further attempt: stop for hours, but for answers
        unless it was one.
        """
        hours = LOCK_HOURS[min(self._notes.locks, len(LOCK_HOURS) - 1)]
        self._notes = replace(self._notes, locks=self._notes.locks + 1)
        self._note_restriction(
            self._around.clock.now() + timedelta(hours=hours), words.TIME_LOCK, may_answer=may_answer, told=True
        )

    def new_chat_worked(self) -> None:
        """A message to somebody new was taken: the next lock is a first one again."""
        if self._notes.locks and self._restricted_until() is None:
            self._notes = replace(self._notes, locks=0)
            self.files.write_notes(self._notes)

    def may_send(self, *, is_answer: bool) -> bool:
        """Whether a message may leave now, as far as restrictions go."""
        if self.state in (DeviceState.LOGGED_OUT, DeviceState.BANNED):
            return False
        if self._restricted_until() is None:
            return True
        return self._notes.may_answer and is_answer

    def _restricted_until(self) -> datetime | None:
        until = self._notes.until
        return until if until is not None and until > self._around.clock.now() else None

    def _note_restriction(self, until: datetime, why: str, *, may_answer: bool, told: bool = False) -> None:
        self._notes = self._notes.restricted(until, why, may_answer=may_answer)
        self.files.write_notes(self._notes)
        self._say(DeviceState.RESTRICTED, why, until)
        if told:
            self._plan_end(until)

    def _plan_end(self, until: datetime) -> None:
        """At the end of a restriction during which it stays connected, the device is online again."""
        if self._restriction is not None:
            self._restriction.cancel()
        loop = asyncio.get_running_loop()
        wait = max(0.0, (until - self._around.clock.now()).total_seconds())
        self._restriction = loop.call_later(wait + 0.05, self._restriction_over)

    def _restriction_over(self) -> None:
        if self.client is not None and self._restricted_until() is None:
            self._say(DeviceState.ONLINE, "")

    # telling

    def _say(self, state: DeviceState, reason: str, until: datetime | None = None, *, replaced: bool = False) -> None:
        if (state, reason, replaced) == (self.state, self.reason, False) and state is not DeviceState.RESTRICTED:
            return
        self.state, self.reason = state, reason
        name = f"state-{self._around.began}-{next(self._around.names)}"
        may_answer = state is DeviceState.RESTRICTED and self._notes.may_answer
        change = StateChange(name, self.device, state, self._around.clock.now(), reason, until, may_answer, replaced)
        self._around.tell(Told(change, kept=False))

    async def _pause(self, seconds: float) -> bool:
        """Wait; whether it was closed meanwhile."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._closing.wait()
        except TimeoutError:
            return False
        return True

    @property
    def _is_sending(self) -> bool:
        return self.hearing is not None and self.hearing.is_sending

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
