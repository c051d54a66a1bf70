"""The same request twice is done once: Stripe's contract for the header Idempotency-Key.

The first request with a key is done and its answer kept for a day; the same request again gets that answer, whatever it
was, errors of the server included. Another request with the same key is refused, and so is the same one while the first
is under way. Nothing is kept of a request that was refused before it began (bad input, no rights, too many). A key
whose first request never got an answer, because the process was killed, can be used again after a while; single sends
are safe even then, because their message carries the key.

An answer may show a secret once, such as a new key, and a request may hold a password. So answers are sealed, and
requests are recognised by a hash that is keyed.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from fleetcast.domain.access import Access
from fleetcast.errors import Conflict, InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services.installation_key import installation_key
from fleetcast.store import idempotency

HEADER = "Idempotency-Key"
LONGEST_KEY = 255
KEPT_HOURS = 24
ABANDONED_SECONDS = 600.0
"""After so long without an answer a key can be used again: no request takes longer."""
ABANDONED_STREAM_SECONDS = 6 * 3_600.0
"""The same for requests whose content may be large and the line slow."""
ABANDONED_REPEATABLE_SECONDS = 30.0
"""The same for those that may be done again without harm."""
FINGERPRINT_BYTES = 32


class KeyInUse(Conflict):
    """The first request with this key is still under way."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as far as it is known before it is done."""

    method: str
    path: str
    query: str
    body: bytes
    """Its content; of one that is read as a stream, its length in digits."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A key that belongs to the request that asked for it, until it is finished or released."""

    key: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered."""

    status: int
    media_type: str | None
    location: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that was given before."""

    answer: Answer
    content: bytes
    """By which `is_same_content` recognises a content that was read as a stream; empty for others."""


def checked_key(key: str) -> str:
    """A key as it is stored. Raises InvalidInput."""
    if not 1 <= len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise InvalidInput(HEADER, f"1 to {LONGEST_KEY} printable characters, best a UUID made for this request")
    return key


def another_request() -> InvalidInput:
    """The refusal of a key that was used for something else."""
    return InvalidInput(HEADER, "this key was used for another request; make a new one for each request")


async def begin(runtime: Runtime, access: Access, key: str, asked: Asked, abandoned: float) -> Taken | Kept:
    """Take a key for a request, or find the answer that this request got before.

    Raises InvalidInput when the key was used for another request, KeyInUse while the first one is under way and has
    been for less than `abandoned` seconds.
    """
    checked_key(key)
    seal = await installation_key(runtime)
    told = seal.digest(_joined(asked.method.encode(), asked.path.encode(), asked.query.encode(), asked.body))
    async with runtime.db.transaction() as connection:
        await idempotency.sweep(connection, KEPT_HOURS)
        since = await idempotency.begin(connection, access.workspace_id, access.actor, key, told, abandoned)
        if since is not None:
            return Taken(key, since)
        kept = await idempotency.find(connection, access.workspace_id, access.actor, key)
    if kept is None:
        raise KeyInUse("A request with this key has just been given up. Send it again.")
    if kept.fingerprint[:FINGERPRINT_BYTES] != told:
        raise another_request()
    if kept.status is None:
        raise KeyInUse("The first request with this key is under way. Wait for its answer, or ask again later.")
    body = seal.open(kept.body) if kept.body else b""
    return Kept(Answer(kept.status, kept.media_type, kept.location, body), kept.fingerprint[FINGERPRINT_BYTES:])


async def is_same_content(runtime: Runtime, kept: Kept, sha256: bytes) -> bool:
    """Whether a content that was read as a stream is the one that was answered. `sha256`: of all of it."""
    return not kept.content or (await installation_key(runtime)).digest(sha256) == kept.content


async def finish(runtime: Runtime, access: Access, taken: Taken, answer: Answer, sha256: bytes | None = None) -> None:
    """Keep the answer of the request that took the key. `sha256`: of a content that was read as a stream."""
    seal = await installation_key(runtime)
    async with runtime.db.transaction() as connection:
        await idempotency.finish(
            connection,
            access.workspace_id,
            access.actor,
            taken.key,
            taken.since,
            status=answer.status,
            media_type=answer.media_type,
            location=answer.location,
            body=seal.close(answer.body) if answer.body else b"",
            content=seal.digest(sha256) if sha256 else b"",
        )


async def release(runtime: Runtime, access: Access, taken: Taken) -> None:
    """The request was refused before it did anything: the key is free."""
    async with runtime.db.transaction() as connection:
        await idempotency.release(connection, access.workspace_id, access.actor, taken.key, taken.since)


def _joined(*parts: bytes) -> bytes:
    """The parts as one text that no other parts make."""
    told = hashlib.sha256()
    for part in parts:
        told.update(len(part).to_bytes(8, "big") + part)
    return told.digest()
