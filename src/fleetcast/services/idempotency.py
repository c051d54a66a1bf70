"""The same request twice is done once: Stripe's contract for the header Idempotency-Key.

The first request with a key is done and its answer kept for a day; the same request again gets that answer, whoever
sends it again and whatever it was, errors of the server included. Another request with the same key is refused, and so
is the same one while the first is under way. Nothing is kept of a request that was refused before it began (bad input,
no rights, too many). A key whose first request never got an answer, because the process was killed, can be used again
after ten minutes; single sends are safe even then, because their message carries the key.
"""

import hashlib
from dataclasses import dataclass

from fleetcast.domain.access import Access
from fleetcast.errors import Conflict, InvalidInput
from fleetcast.runtime import Runtime
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


async def begin(runtime: Runtime, access: Access, key: str, asked: bytes) -> Answer | None:
    """Take a key for a request: None, go on; else the answer that this request got before.

    Raises InvalidInput when the key was used for another request, KeyInUse while the first one is under way.
    """
    checked_key(key)
    async with runtime.db.transaction() as connection:
        await idempotency.sweep(connection, KEPT_HOURS)
        if await idempotency.begin(connection, access.workspace_id, access.actor, key, asked, ABANDONED_SECONDS):
            return None
        kept = await idempotency.find(connection, access.workspace_id, access.actor, key)
    if kept is None:
        raise KeyInUse("A request with this key has just been given up. Send it again.")
    if kept.fingerprint != asked:
        raise InvalidInput(HEADER, "this key was used for another request; make a new one for each request")
    if kept.status is None:
        raise KeyInUse("The first request with this key is under way. Wait for its answer, or ask again later.")
    return Answer(kept.status, kept.media_type, kept.body or b"")


async def finish(runtime: Runtime, access: Access, key: str, answer: Answer) -> None:
    """Keep the answer of the request that took the key."""
    async with runtime.db.transaction() as connection:
        await idempotency.finish(
            connection, access.workspace_id, access.actor, key, answer.status, answer.media_type, answer.body
        )


async def release(runtime: Runtime, access: Access, key: str) -> None:
    """The request was refused before it did anything: the key is free."""
    async with runtime.db.transaction() as connection:
        await idempotency.release(connection, access.workspace_id, access.actor, key)
