"""How doubt ends: by evidence, by proof of absence, by the end of the window. The provider is the only double."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta

import pytest

from bench.null_transport import NullTransport
from fleetcast.domain.device import TransportKind
from fleetcast.domain.identifiers import Reference, WorkspaceId
from fleetcast.domain.message import MAX_CRASHES, MessageStatus, Outcome, Reason
from fleetcast.engine.reconciler import Reconciler
from fleetcast.runtime import Runtime
from fleetcast.services.doubts import resend
from fleetcast.store.connection import Connection
from fleetcast.store.invariants import broken_invariants
from fleetcast.transports.base import Finding
from tests.store.broadcast import Broadcast, make_broadcast, move_time


class Provider(NullTransport):
    """Answers what the test told it; knows nothing of anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[Reference, str | None] = {}

    async def find(self, references: Sequence[Reference]) -> list[Finding]:
        return [Finding(r, self.answers[r]) for r in references if r in self.answers]


@pytest.fixture
async def connection(runtime: Runtime) -> AsyncIterator[Connection]:
    async with runtime.db.connection() as connection:
        yield connection


@pytest.fixture
async def cast(connection: Connection, workspace: WorkspaceId) -> Broadcast:
    made = await make_broadcast(connection, workspace, people=3)
    await made.queue(connection)
    for message in made.messages:
        await made.end(connection, message, MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    return made


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def reconciler(runtime: Runtime, provider: Provider) -> Reconciler:
    return Reconciler(runtime, {TransportKind.SIMULATOR: provider})


class Slow(Provider):
    """Answers about one attempt while a person has the message sent again."""

    def __init__(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    async def find(self, references: Sequence[Reference]) -> list[Finding]:
        await self._meanwhile()
        return await super().find(references)


async def test_a_proof_about_an_earlier_attempt_does_not_settle_a_later_one(
    runtime: Runtime, connection: Connection, cast: Broadcast, workspace: WorkspaceId
) -> None:
    message = cast.messages[0]

    async def send_again_and_lose_the_answer() -> None:
        await resend(runtime, workspace, [message], actor="test")
        await cast.queue(connection)
        await cast.end(connection, message, MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)

    provider = Slow(send_again_and_lose_the_answer)
    provider.answers = {reference(message): None}
    await Reconciler(runtime, {TransportKind.SIMULATOR: provider}).run_once()
    assert (await row(connection, message))[0] == "in_doubt"


def reference(message: int) -> Reference:
    return Reference(f"test-{message}-1")


async def row(connection: Connection, message: int) -> tuple[str, str | None, str | None]:
    found = await connection.fetchrow(
        "SELECT status::text, reason, resolution FROM broadcast_messages WHERE id = $1", message
    )
    assert found is not None
    return tuple(found)


async def test_what_the_provider_knows_is_sent_what_it_denies_waits_again_and_nobody_guesses_the_rest(
    connection: Connection, cast: Broadcast, provider: Provider, reconciler: Reconciler
) -> None:
    known, denied, unanswered = cast.messages
    provider.answers = {reference(known): "p", reference(denied): None}
    assert await reconciler.run_once() == 2
    assert await row(connection, known) == ("sent", None, "ledger")
    assert (await row(connection, denied))[0] == "pending"
    assert (await row(connection, unanswered))[0] == "in_doubt"
    assert await broken_invariants(connection) == []


async def test_without_an_answer_a_doubt_ends_as_unconfirmed_when_its_window_is_over(
    connection: Connection, cast: Broadcast, reconciler: Reconciler
) -> None:
    await move_time(connection, timedelta(seconds=NullTransport.doubt_window - 1))
    assert await reconciler.run_once() == 0
    await move_time(connection, timedelta(seconds=2))
    assert await reconciler.run_once() == 3
    assert await row(connection, cast.messages[0]) == ("failed", "unconfirmed", None)
    assert await broken_invariants(connection) == []


async def test_a_row_that_killed_its_senders_too_often_fails_as_poison(
    connection: Connection, cast: Broadcast, provider: Provider, reconciler: Reconciler
) -> None:
    await connection.execute("UPDATE broadcast_messages SET crashes = $1 WHERE id = $2", MAX_CRASHES, cast.messages[0])
    provider.answers = {reference(m): None for m in cast.messages}
    await reconciler.run_once()
    assert await row(connection, cast.messages[0]) == ("failed", "poison", None)
    assert (await row(connection, cast.messages[1]))[0] == "pending"
