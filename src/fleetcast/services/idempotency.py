"""The same request twice is done once: Stripe's contract for the header Idempotency-Key.

The first request with a key is done and its answer kept for a day; the same request again gets that answer, whoever
sends it again and whatever it was, errors of the server included. Another request with the same key is refused, and so
is the same one while the first is under way. Nothing is kept of a request that was refused before it began (bad input,
no rights, too many). A key whose first request never got an answer, because the process was killed, can be used again
after ten minutes; single sends are safe even then, because their message carries the key.

A request that carries or is answered with a secret leaves none behind: it is recognised by a digest that nobody can
try passwords against, and its answer is sealed.
"""

import hashlib
from dataclasses import dataclass

from fleetcast.domain.access import Access
from fleetcast.errors import Conflict, InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services.installation_key import installation_key
from fleetcast.store import idempotency

HEADER = "Idempotency-Key"
LONGEST_KEY = 255
KEPT_HOURS = 24
ABANDONED_SECONDS = 600.0
LARGEST_ANSWER = 1 << 20
"""Bytes of an answer that is kept; only lists are larger, and no request that changes something answers with one."""


class KeyInUse(Conflict):
    """The first request with this key is still under way."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered."""

    status: int
    media_type: str | None
    body: bytes


def fingerprint(method: str, path: str, query: str, body: bytes) -> bytes:
    """By which a request is recognised as the same."""
    told = hashlib.sha256()
    for part in (method.encode(), path.encode(), query.encode(), body):
        told.update(len(part).to_bytes(8, "big") + part)
    return told.digest()


def checked_key(key: str) -> str:
    """A key as it is stored. Raises InvalidInput."""
    if not 1 <= len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise InvalidInput(HEADER, f"1 to {LONGEST_KEY} printable characters, best a UUID made for this request")
    return key


async def begin(runtime: Runtime, access: Access, key: str, asked: bytes, *, secret: bool = False) -> Answer | None:
    """Take a key for a request: None, go on; else the answer that this request got before. `secret`: it or its answer
    holds one.

    Raises InvalidInput when the key was used for another request, KeyInUse while the first one is under way.
    """
    checked_key(key)
    seal = await installation_key(runtime) if secret else None
    if seal is not None:
        asked = seal.digest(asked)
    async with runtime.db.transaction() as connection:
        await idempotency.sweep(connection, KEPT_HOURS)
        if await idempotency.begin(
            connection, access.workspace_id, access.actor, key, asked, ABANDONED_SECONDS, sealed=secret
        ):
            return None
        kept = await idempotency.find(connection, access.workspace_id, access.actor, key)
    if kept is None:
        raise KeyInUse("A request with this key has just been given up. Send it again.")
    if kept.fingerprint != asked:
        raise InvalidInput(HEADER, "this key was used for another request; make a new one for each request")
    if kept.status is None:
        raise KeyInUse("The first request with this key is under way. Wait for its answer, or ask again later.")
    body = kept.body or b""
    return Answer(kept.status, kept.media_type, body if seal is None else seal.open(body))


async def finish(runtime: Runtime, access: Access, key: str, answer: Answer, *, secret: bool = False) -> None:
    """Keep the answer of the request that took the key; `secret` as when it began."""
    body = (await installation_key(runtime)).close(answer.body) if secret else answer.body
    async with runtime.db.transaction() as connection:
        await idempotency.finish(
            connection, access.workspace_id, access.actor, key, answer.status, answer.media_type, body
        )


async def release(runtime: Runtime, access: Access, key: str) -> None:
    """The request was refused before it did anything: the key is free."""
    async with runtime.db.transaction() as connection:
        await idempotency.release(connection, access.workspace_id, access.actor, key)
