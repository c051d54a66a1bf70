"""One request to the API until it is answered: which refusals and losses are worth asking again, and when no more.

Separate from what is asked because every call obeys it. A request that changes something carries an Idempotency-Key
that stays the same over its tries, so it is done once, however often its answer was lost on the way. Asked again is
after a lost or refused connection, 429, 502, 503, 504, and while the first try is still being worked on; no other
refusal would change its mind. Waits grow, are drawn, and are never shorter than `Retry-After` says.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from datetime import date, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from random import Random
from typing import Any, Self, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx2

from fleetcast.client.errors import UNDER_WAY, ApiError, UnexpectedAnswer, Unreachable, of_answer
from fleetcast.clock import Clock

log = logging.getLogger("fleetcast.client")

T = TypeVar("T")
PREFIX = "/api/v1/"
HEADER = "Idempotency-Key"
PIECE_BYTES = 1 << 16
FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0
"""Seconds; between them the drawn part of a wait grows."""
UNDER_WAY_WAIT = 0.5
"""Seconds between two looks whether the first try is through."""
CONNECT_SECONDS = 5.0
LONGEST_NAME = 200
_SAFE = frozenset({"GET", "HEAD"})
_NOTHING: Any = object()


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is a request's content. It is read from disk piece by piece, again for each try."""

    path: Path
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class _Wish:
    """What every try of one request has in common."""

    method: str
    path: str
    query: Mapping[str, Any]
    content: bytes | Upload | None
    key: str | None
    saves: bool = False
    """The answer is written to a file."""

    @property
    def streams(self) -> bool:
        """Whether it may take long for good reasons: then only silence ends a try."""
        return self.saves or isinstance(self.content, Upload)


class Exchange:
    """The way to one installation, with one key."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        patience: float,
        silence: float,
        clock: Clock,
        random: Random,
        sleep: Callable[[float], Awaitable[None]],
        transport: httpx2.AsyncBaseTransport | None,
    ) -> None:
        if not key.strip() or not key.isascii() or not key.isprintable():
            raise ValueError("the key of the API is empty or was not copied whole: it begins with fck_")
        self._patience = patience
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._name: str | None = None
        self._writes = 0
        self._http = httpx2.AsyncClient(
            base_url=_base(url),
            headers={"Authorization": f"Bearer {key.strip()}", "User-Agent": "fleetcast-client"},
            timeout=httpx2.Timeout(silence, connect=min(CONNECT_SECONDS, silence)),
            transport=transport,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def named(self, name: str) -> Self:
        """The same way, on which the keys of writes are not drawn but begin with `name`, in the order of the writes."""
        if not 1 <= len(name) <= LONGEST_NAME or not name.isascii() or not name.isprintable():
            raise ValueError(f"an Idempotency-Key is 1 to {LONGEST_NAME} printable ASCII characters, not {name!r}")
        way = copy(self)
        way._name, way._writes = name, 0
        return way

    async def pause(self, seconds: float) -> None:
        """Wait, as between two looks at a job."""
        await self._sleep(seconds)

    async def ask(
        self,
        method: str,
        place: str,
        /,
        *,
        query: Mapping[str, Any] | None = None,
        content: Any = _NOTHING,
        **ids: int | str,
    ) -> Any:
        """The JSON of the answer; None where there is none. `place` is the path as the description has it, `ids` fill
        its holes, `content` is an `Upload` or what becomes JSON.
        """
        answer = await self._until_answered(self._wish(method, place, ids, query, content), _whole)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise UnexpectedAnswer(f"What answers at {self._http.base_url} is not the API of Fleetcast.") from None

    async def save(
        self, place: str, target: Path, /, *, query: Mapping[str, Any] | None = None, **ids: int | str
    ) -> int:
        """Write an answer to a file, piece by piece; its bytes. The file has its name only once it is complete."""
        part = target.with_name(f"{target.name}.part")

        async def written(answer: httpx2.Response) -> int:
            size = 0
            with part.open("wb") as file:
                async for piece in answer.aiter_bytes(PIECE_BYTES):
                    await asyncio.to_thread(file.write, piece)
                    size += len(piece)
            return size

        try:
            wish = replace(self._wish("GET", place, ids, query, _NOTHING), saves=True)
            size = await self._until_answered(wish, written)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return size

    def _wish(
        self,
        method: str,
        place: str,
        ids: Mapping[str, int | str],
        query: Mapping[str, Any] | None,
        content: Any,
    ) -> _Wish:
        path = place.format(**{name: quote(str(value), safe="") for name, value in ids.items()})
        asked = {name: _told(value) for name, value in (query or {}).items() if value is not None}
        if content is not _NOTHING and not isinstance(content, Upload):
            content = json.dumps(content, default=_written, allow_nan=False, ensure_ascii=False).encode()
        key = None if method in _SAFE else self._new_key()
        return _Wish(method, path, asked, None if content is _NOTHING else content, key)

    def _new_key(self) -> str:
        if self._name is None:
            return str(UUID(int=self._random.getrandbits(128), version=4))
        self._writes += 1
        return self._name if self._writes == 1 else f"{self._name} ({self._writes})"

    async def _until_answered(self, wish: _Wish, read: Callable[[httpx2.Response], Awaitable[T]]) -> T:
        deadline = self._clock.monotonic() + self._patience
        tries = 0
        while True:
            tries += 1
            failure: ApiError | Unreachable
            left = deadline - self._clock.monotonic()
            try:
                async with asyncio.timeout(None if wish.streams else left):
                    return await self._once(wish, read)
            except TimeoutError:
                raise Unreachable(f"Fleetcast has not answered within {self._patience:g} seconds.") from None
            except httpx2.TransportError as error:
                failure, wait = _unreachable(error, tries), 0.0
                if _is_hopeless(error):
                    raise failure from error
            except ApiError as error:
                if not error.may_pass:
                    raise
                under_way = UNDER_WAY_WAIT if error.type == UNDER_WAY else 0.0
                failure, wait = error, max(error.retry_after or 0.0, under_way)
            wait += self._random.uniform(0.0, min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(tries, 16)))
            if self._clock.monotonic() + wait >= deadline:
                raise failure
            log.info("%s is asked again in %.1f s: %s", wish.method, wait, type(failure).__name__)
            await self._sleep(wait)

    async def _once(self, wish: _Wish, read: Callable[[httpx2.Response], Awaitable[T]]) -> T:
        headers = {} if wish.key is None else {HEADER: wish.key}
        content: bytes | AsyncIterator[bytes] | None = None
        if isinstance(wish.content, Upload):
            size = wish.content.path.stat().st_size
            headers |= {"Content-Type": wish.content.media_type, "Content-Length": str(size)}
            content = _pieces(wish.content.path)
        elif wish.content is not None:
            headers["Content-Type"] = "application/json"
            content = wish.content
        request = self._http.build_request(
            wish.method, wish.path, params=wish.query or None, content=content, headers=headers
        )
        answer = await self._http.send(request, stream=True)
        try:
            if answer.is_success:
                return await read(answer)
            await answer.aread()
            raise self._refusal(answer)
        finally:
            await answer.aclose()

    def _refusal(self, answer: httpx2.Response) -> ApiError | UnexpectedAnswer:
        if answer.is_redirect:
            return UnexpectedAnswer(
                f"The server at {self._http.base_url} sends elsewhere, to {answer.headers.get('Location')!r}: give the "
                "client that address."
            )
        try:
            body = answer.json()
        except ValueError:
            body = None
        return of_answer(answer.status_code, answer.reason_phrase, body, self._retry_after(answer))

    def _retry_after(self, answer: httpx2.Response) -> float | None:
        """Seconds, from either form of the header."""
        told = answer.headers.get("Retry-After", "").strip()
        if told.isascii() and told.isdigit():
            return float(told)
        try:
            at = parsedate_to_datetime(told)
        except ValueError:
            return None
        return max(0.0, (at - self._clock.now()).total_seconds()) if at.tzinfo else None


def _base(url: str) -> httpx2.URL:
    """Where the paths begin, whether or not the address was given with the API's own part."""
    stem = url.strip().rstrip("/")
    return httpx2.URL((stem if stem.endswith(PREFIX.rstrip("/")) else stem + PREFIX.rstrip("/")) + "/")


def _told(value: object) -> object:
    """A value as it stands in a query."""
    return value.isoformat() if isinstance(value, datetime | date) else value


def _written(value: object) -> str:
    """A value that JSON has no form for."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} cannot be sent")


async def _whole(answer: httpx2.Response) -> httpx2.Response:
    await answer.aread()
    return answer


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


def _unreachable(error: httpx2.TransportError, tries: int) -> Unreachable:
    asked = f", asked {tries} times" if tries > 1 else ""
    return Unreachable(f"Fleetcast does not answer{asked}: {str(error).rstrip('.') or type(error).__name__}.")


def _is_hopeless(error: BaseException) -> bool:
    """Whether a failure stays, however often one asks: a wrong address, a certificate that is not trusted."""
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return True
    cause = error.__cause__ or error.__context__
    return isinstance(cause, ssl.SSLCertVerificationError) or (cause is not None and _is_hopeless(cause))
