"""One attempt: render, send, and turn what came of it into a result row.

The whole decision table between a transport's error and a message's next status is here, and nowhere else.
"""

import asyncio
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import structlog

from fleetcast import failpoints
from fleetcast.domain.content import ContentError, Template, payload_sha256
from fleetcast.domain.identifiers import ContentId, DeviceId, Phone, Reference, WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.domain.retry import next_attempt
from fleetcast.errors import InvalidInput, Unavailable
from fleetcast.store import contents, media
from fleetcast.store.connection import Database
from fleetcast.store.transitions import Claimed, OtherResult, SentResult
from fleetcast.transports.base import Media, Outbound, Transport
from fleetcast.transports.errors import DeviceRefused, SendError

log = structlog.get_logger()

FIRST_BYTE_SECONDS = 5.0
"""After a claim is this old its first byte must not leave any more: the row is given back instead."""
DEVICE_REFUSED_SECONDS = 60.0
"""How long a row waits that was given back because its device may not send; the device stops meanwhile."""
CACHED_CONTENTS = 256
CACHED_MEDIA_BYTES = 64 * 2**20
"""Of all contents together; at least four of the largest files that can be sent."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A content ready to render for many recipients."""

    template: Template
    media: Media | None

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.media.data) if self.media else 0


class Contents:
    """Contents by id, parsed once. They are immutable, so nothing here grows old; the oldest is dropped when full."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[int, Prepared] = {}
        self.media_bytes = 0
        """How much of the files is in memory."""

    def known(self, content: int) -> Prepared | None:
        """The content, if it is here already."""
        return self._known.get(content)

    async def get(self, workspace: int, content: int) -> Prepared:
        """The content, read and parsed if need be. Raises LookupError when it is gone."""
        found = self._known.get(content)
        if found is not None:
            return found
        async with self._db.connection() as connection:
            row = await contents.get(connection, WorkspaceId(workspace), ContentId(content))
            if row is None:
                raise LookupError(f"content {content} is gone")
            file = None
            if row.media_sha256 is not None:
                stored = await media.get(connection, WorkspaceId(workspace), row.media_sha256)
                if stored is None:
                    raise LookupError(f"media of content {content} is gone")
                file = Media(
                    stored.sha256,
                    stored.mime,
                    stored.filename,
                    stored.data,
                    stored.width,
                    stored.height,
                    stored.duration_ms,
                    stored.thumbnail,
                )
        prepared = Prepared(Template.parse(row.body), file)
        self._keep(content, prepared)
        return prepared

    def _keep(self, content: int, prepared: Prepared) -> None:
        if content in self._known:  # two attempts missed it at the same time
            return
        self._known[content] = prepared
        self.media_bytes += prepared.size
        while len(self._known) > CACHED_CONTENTS or self.media_bytes > CACHED_MEDIA_BYTES:
            self.media_bytes -= self._known.pop(next(iter(self._known))).size


class Ended(NamedTuple):
    """What came of an attempt. `suppress`: the provider says that the person refuses messages. `session_lost`: the
    device's session has to be opened anew.
    """

    result: SentResult | OtherResult
    suppress: bool = False
    session_lost: bool = False


class Attempts:
    """Runs attempts for one sender."""

    def __init__(self, contents: Contents, install: str, send_seconds: float, random: Random) -> None:
        self._contents = contents
        self._install = install
        self._send_seconds = send_seconds
        self._random = random

    async def run(self, transport: Transport, claimed: Claimed, received_at: float) -> Ended:
        """One attempt from claim to result; never raises for anything that can go wrong with one message.

        `received_at`: monotonic time at which the claim's answer was in hand.
        """
        ending = _Ending(claimed, received_at)
        try:
            prepared = self._contents.known(claimed.content)
            if prepared is None:
                prepared = await self._contents.get(claimed.workspace, claimed.content)
            text = prepared.template.render(claimed.variables, claimed.planned_at)
            if not text.strip() and prepared.media is None:
                return ending.final(Reason.CONTENT_REFUSED, "empty", "nothing is left of the text for this person")
            sha = ending.sha = payload_sha256(text, prepared.media.sha256 if prepared.media else None)
            if claimed.payload_sha256 not in (None, sha):
                return ending.final(Reason.CONTENT_CHANGED, "content_changed")
            if asyncio.get_running_loop().time() - received_at > FIRST_BYTE_SECONDS:
                return ending.again(Reason.RELEASED, "too_late", 0.0)
            outbound = Outbound(
                DeviceId(claimed.device),
                Phone(claimed.recipient),
                reference(self._install, claimed),
                text,
                prepared.media,
                claimed.is_answer,
            )
            try:
                accepted = await transport.send(outbound, self._send_seconds)
                if failpoints.armed:
                    await failpoints.passing(failpoints.Point.SEND_ANSWERED)
            except Unavailable as error:  # not a transport's word: it does not say that nothing left
                return ending.doubt(type(error).__name__, str(error))
        except SendError as error:
            return self._refused(ending, error)
        except (ContentError, InvalidInput, LookupError) as error:
            return ending.final(Reason.CONTENT_REFUSED, type(error).__name__, str(error))
        except Unavailable as error:
            return ending.again(Reason.RELEASED, "content_not_read", 0.0, str(error))
        except Exception as error:  # a poisoned row must end as a row, not as a dead sender
            log.exception("an attempt failed inside", message_id=claimed.id)
            return ending.doubt(type(error).__name__, str(error))
        return ending.sent(accepted.provider_id, sha)

    def unanswered(self, claimed: Claimed, received_at: float) -> Ended:
        """The process must end before the answer came."""
        return _Ending(claimed, received_at).doubt("stopped", "the sender stopped before the answer came")

    def _refused(self, ending: "_Ending", error: SendError) -> Ended:
        if error.outcome is Outcome.UNKNOWN:
            return ending.doubt(error.code, error.detail)
        if not error.retryable:
            return ending.final(error.reason, error.code, error.detail, suppress=error.opt_out)
        if error.session_lost:
            return ending.again(error.reason, error.code, 0.0, error.detail)._replace(session_lost=True)
        attempt = ending.claimed.attempt
        if isinstance(error, DeviceRefused):
            return ending.again(error.reason, error.code, DEVICE_REFUSED_SECONDS, error.detail)
        delay = next_attempt(attempt, error.retry_after, self._random)
        if delay is None:
            return ending.final(Reason.RETRIES_EXHAUSTED, error.code, error.detail)
        return ending.again(error.reason, error.code, delay, error.detail)


@dataclass(slots=True)
class _Ending:
    """Builds the result rows of one attempt; times are database time, counted from the claim by the monotonic clock."""

    claimed: Claimed
    received_at: float
    sha: bytes | None = None

    def _now(self) -> float:
        return self.claimed.now + asyncio.get_running_loop().time() - self.received_at

    def sent(self, provider_id: str, sha: bytes) -> Ended:
        c = self.claimed
        return Ended(SentResult(c.id, c.attempt, c.epoch, provider_id, self._now(), sha))

    def final(self, reason: Reason, code: str, detail: str = "", *, suppress: bool = False) -> Ended:
        return Ended(self._other(MessageStatus.FAILED, reason, Outcome.REFUSED, code, detail), suppress)

    def again(self, reason: Reason, code: str, delay: float, detail: str = "") -> Ended:
        return Ended(self._other(MessageStatus.PENDING, reason, Outcome.NOT_SENT, code, detail, delay))

    def doubt(self, code: str, detail: str = "") -> Ended:
        return Ended(self._other(MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN, code, detail))

    def _other(
        self, after: MessageStatus, reason: Reason, outcome: Outcome, code: str, detail: str, delay: float = 0.0
    ) -> OtherResult:
        c = self.claimed
        return OtherResult(
            c.id, c.attempt, c.epoch, after, reason, outcome, code, self._now(), detail[:500], delay, self.sha
        )


def reference(install: str, claimed: Claimed) -> Reference:
    """Our name of this attempt; the claim's statement writes the same into the attempt row."""
    return Reference(f"{install}-{claimed.id}-{claimed.attempt}")
