"""Orders over the wire: one line of JSON each way, on loopback. The listener, and the typed client for tests.

`{"order": "scan", "number": "…", "code": "…"}` is answered with `{"done": {…}}`, or with `{"refused": "a sentence"}`.
"""

import asyncio
import base64
import inspect
import json
import logging
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from testbed.whatsapp_web.behaviour import Treatment
from testbed.whatsapp_web.identities import SignedIdentity
from testbed.whatsapp_web.record import Arrival, Double

log = logging.getLogger(__name__)

LONGEST_LINE: Final = 256 << 20
"""Bytes: answers carry files."""


class Refused(Exception):
    """The testbed says in a sentence why it did not do something."""


class Listener:
    """Takes orders; they are the public methods of the value that it is given."""

    def __init__(self, orders: object) -> None:
        self._orders = orders
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self, host: str, port: int) -> int:
        """Listen; the port."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=LONGEST_LINE)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def close(self) -> None:
        """Stop listening and hang up."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._do(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _do(self, line: bytes) -> dict[str, Any]:
        try:
            arguments = json.loads(line)
            name = str(arguments.pop("order"))
            method = getattr(self._orders, name, None)
            if name.startswith("_") or method is None:
                return {"refused": f"There is no order {name!r}. Orders: {', '.join(order_names(self._orders))}."}
            inspect.signature(method).bind(**arguments)
            return {"done": await method(**arguments)}
        except Exception as error:  # whoever gave the order is told, whatever it is
            log.debug("An order was not carried out", exc_info=True)
            return {"refused": str(error) or repr(error)}


def order_names(orders: object) -> list[str]:
    """What can be ordered."""
    return sorted(name for name, _ in inspect.getmembers(orders, inspect.ismethod) if not name.startswith("_"))


@dataclass(frozen=True, slots=True)
class LinkedDevice:
    """A companion, as its phone lists it."""

    name: str
    online: bool
    one_time_keys: int
    unconfirmed: int
    """What it was told and has not confirmed."""


@dataclass(frozen=True, slots=True)
class Account:
    """A phone and its companions."""

    number: str
    lid: str
    companions: tuple[LinkedDevice, ...]


@dataclass(frozen=True, slots=True)
class State:
    """Counts of everything."""

    counts: dict[str, int]
    uploads: dict[str, int]
    online: int
    companions: int
    arrived: int


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a companion said about a message that a phone sent it."""

    by: str
    id: str
    kind: str


@dataclass(frozen=True, slots=True)
class NewDevice:
    """The public side of a device that is linked without pairing."""

    noise: bytes
    identity: bytes
    registration: int
    signed: tuple[int, bytes, bytes]
    """Number, key and signature of its signed key."""
    one_time: tuple[tuple[int, bytes], ...]
    """Numbers and keys."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What such a device gets."""

    companion: str
    lid: str
    """Its address by LID."""
    signed: SignedIdentity


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Control:
    """Gives orders to a running testbed: `async with Control(port) as control:`. Raises Refused."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._host, self._port = host, port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=LONGEST_LINE)
        self._turn = asyncio.Lock()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def order(self, order: str, **arguments: Any) -> dict[str, Any]:
        """Any order by its name. The methods below are these with types."""
        async with self._turn:
            self._writer.write(json.dumps({"order": order} | arguments).encode() + b"\n")
            await self._writer.drain()
            answer: dict[str, Any] = json.loads(await self._reader.readline() or b'{"refused": "The testbed is gone."}')
        if "refused" in answer:
            raise Refused(answer["refused"])
        done: dict[str, Any] = answer["done"]
        return done

    async def scan(self, number: str, code: str) -> str:
        """Scan a QR code with a phone; the new companion's name."""
        return str((await self.order("scan", number=number, code=code))["companion"])

    async def enter_code(self, number: str, code: str) -> str:
        """Type a code of eight characters into a phone; the new companion's name."""
        return str((await self.order("enter_code", number=number, code=code))["companion"])

    async def enrol(self, number: str, device: NewDevice) -> Enrolled:
        """Link a device without pairing."""
        one_time = [(mark, _text(key)) for mark, key in device.one_time]
        mark, key, signature = device.signed
        answer = await self.order(
            "enrol",
            number=number,
            noise=_text(device.noise),
            identity=_text(device.identity),
            registration=device.registration,
            signed=(mark, _text(key), _text(signature)),
            one_time=one_time,
        )
        signed = (base64.b64decode(answer[name]) for name in ("details", "account", "signature"))
        return Enrolled(answer["companion"], answer["lid"], SignedIdentity(device.identity, *signed))

    async def log_out(self, companion: str) -> bool:
        """Remove a companion on its phone; whether it was connected."""
        return bool((await self.order("log_out", companion=companion))["connected"])

    async def type_on_phone(self, number: str, to: str, text: str) -> str:
        """Write on the phone itself; the message's id."""
        return str((await self.order("type_on_phone", number=number, to=to, text=text))["id"])

    async def say(self, number: str, to: str, text: str) -> str:
        """A person writes to a companion; the message's id."""
        return str((await self.order("say", number=number, to=to, text=text))["id"])

    async def arrivals(self, number: str, *, since: int = 0) -> list[Arrival]:
        """What came to a phone."""
        return [Arrival(**facts) for facts in (await self.order("arrivals", number=number, since=since))["arrivals"]]

    async def doubles(self) -> list[Double]:
        """What came to any phone more than once."""
        found = (await self.order("doubles"))["doubles"]
        return [Double(**facts | {"ids": tuple(facts["ids"])}) for facts in found]

    async def file(self, sha256: str) -> bytes:
        """A file that somebody received."""
        return base64.b64decode((await self.order("file", sha256=sha256))["data"])

    async def confirmed(self, number: str) -> list[Confirmation]:
        """What companions said about messages from this person."""
        return [Confirmation(**facts) for facts in (await self.order("confirmed", number=number))["confirmed"]]

    async def exists(self, number: str, exists: bool) -> None:
        """Whether WhatsApp knows a number."""
        await self.order("exists", number=number, exists=exists)

    async def phone(self, number: str) -> Account:
        """An account and its companions."""
        facts = await self.order("phone", number=number)
        companions = tuple(LinkedDevice(**each) for each in facts["companions"])
        return Account(facts["number"], facts["lid"], companions)

    async def state(self) -> State:
        """Counts of everything."""
        return State(**await self.order("state"))

    async def treat(
        self, treatment: Treatment, *, sender: str = "", recipient: str = "", times: int | None = None
    ) -> None:
        """Treat messages in another way, those that fit."""
        await self.order("treat", treatment=asdict(treatment), sender=sender, recipient=recipient, times=times)

    async def behave(self) -> None:
        """Behave well again; bans stay."""
        await self.order("behave")

    async def release(self) -> int:
        """Send every acknowledgement that was held; how many."""
        return int((await self.order("release"))["released"])

    async def offer_codes(self, codes: int) -> None:
        """How many QR codes a client is given."""
        await self.order("offer_codes", codes=codes)

    async def drop(self, companion: str = "") -> None:
        """Cut a connection, or all."""
        await self.order("drop", companion=companion)

    async def silence(self, companion: str) -> None:
        """Leave a connection half open."""
        await self.order("silence", companion=companion)

    async def slow(self, seconds: float) -> None:
        """Everything that the server says waits so long."""
        await self.order("slow", seconds=seconds)

    async def refuse_connections(self, refuse: bool) -> None:
        """Hang up on whoever connects, or serve them again."""
        await self.order("refuse_connections", refuse=refuse)

    async def restart(self, seconds: float) -> None:
        """Be gone for so long; returns when it listens again."""
        await self.order("restart", seconds=seconds)

    async def stream_error(self, companion: str, code: int) -> None:
        """End a connection with this code."""
        await self.order("stream_error", companion=companion, code=code)

    async def replace(self, companion: str) -> None:
        """Tell a companion that its session was opened elsewhere."""
        await self.order("replace", companion=companion)

    async def fail(self, companion: str, reason: int) -> None:
        """Refuse a connection with this reason."""
        await self.order("fail", companion=companion, reason=reason)

    async def ban(self, number: str, *, code: int, seconds: float) -> None:
        """Ban an account for a while."""
        await self.order("ban", number=number, code=code, seconds=seconds)

    async def lift_ban(self, number: str) -> None:
        """End a ban before its time."""
        await self.order("lift_ban", number=number)
