"""What an inbound event does: receipts move delivery, evidence settles doubt, a stop word suppresses.

Separate from the loop that reads transports, so that the same rules serve a webhook, a socket and a test. Every
function may be repeated with the same events: nothing happens twice.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta

from fleetcast.domain.consent import is_stop_word
from fleetcast.domain.identifiers import Phone, WorkspaceId
from fleetcast.domain.message import MessageStatus, Resolution
from fleetcast.runtime import Runtime
from fleetcast.services.devices import set_state
from fleetcast.services.pairing import paired, pairing_ended
from fleetcast.services.suppressions import suppress
from fleetcast.store import devices, doubt, enrolments, history, inbox, transitions
from fleetcast.store.connection import Connection
from fleetcast.store.inbox import Kept, Waiting
from fleetcast.store.transitions import Evidence
from fleetcast.transports.base import (
    Inbound,
    OwnEcho,
    Paired,
    PairingEnded,
    Receipt,
    ReceiptKind,
    Reply,
    StateChange,
)

WAITING_CHUNK = 500
REST = timedelta(seconds=5)
"""How long a receipt waits before it is taken as evidence."""
KEEP_LOOKING = timedelta(days=8)
"""How long evidence without a message waits: a day more than the longest repetition of webhooks."""


async def receive(runtime: Runtime, install: str, events: Sequence[Inbound]) -> None:
    """Make a batch of events durable and apply what can be applied now. After this it may be confirmed.

    Codes are not for here: they are shown for as long as they are valid, and never stored.
    """
    echoes = [e for e in events if isinstance(e, OwnEcho)]
    if echoes:
        async with runtime.db.transaction() as connection:
            await inbox.keep(connection, [_echo(e) for e in echoes])
    receipts = [e for e in events if isinstance(e, Receipt)]
    if receipts:
        async with runtime.db.transaction() as connection:
            await _receipts(connection, install, receipts)
    for event in events:
        if isinstance(event, Reply):
            await _reply(runtime, event)
        elif isinstance(event, Paired):
            await paired(runtime, event)
        elif isinstance(event, PairingEnded):
            await pairing_ended(runtime, event)
    await _states(runtime, [e for e in events if isinstance(e, StateChange)])


async def _states(runtime: Runtime, changes: Sequence[StateChange]) -> None:
    """Write the newest state of each device where it is news. A sender that takes devices over is told the state of
    each, and nearly always it stands there already.
    """
    newest = {e.device: e for e in changes if not e.replaced}  # the session that took over tells the state
    if not newest:
        return
    told = [(e.device, e.state, e.reason, e.until, e.may_answer) for e in newest.values()]
    async with runtime.db.connection() as connection:
        news = await devices.differing(connection, told)
    for device in news:
        event = newest[device]
        await set_state(runtime, event.device, event.state, event.reason, event.until, may_answer=event.may_answer)


def _echo(echo: OwnEcho) -> Kept:
    """What was typed on the phone, without its text: only so that its receipts are not taken for those of ours."""
    return Kept(
        echo.device,
        echo.at,
        "echo",
        echo.event_id,
        provider_id=echo.provider_id,
        sender=echo.recipient,
        effect="recorded: typed on the phone",
    )


async def _receipts(connection: Connection, install: str, receipts: Sequence[Receipt]) -> None:
    """Apply receipts whose message is known; take the others as evidence of their attempt; keep what is still early."""
    left = await _apply(connection, receipts)
    proof: dict[int, Evidence] = {}
    for receipt in left:
        attempt = parse_reference(install, receipt.reference)
        if attempt is not None:
            proof[attempt[0]] = Evidence(*attempt, receipt.provider_id, receipt.at)
    if proof:
        confirmed = await transitions.confirm_sent(connection, list(proof.values()), Resolution.RECEIPT)
        named = await inbox.fill_provider(connection, [(e.id, e.provider_id) for e in proof.values() if e.provider_id])
        if confirmed or named:
            left = await _apply(connection, left)
    early = [
        Kept(r.device, r.at, r.kind, r.event_id, provider_id=r.provider_id, reference=r.reference, sender=r.recipient)
        for r in left
    ]
    await inbox.keep(connection, early)


async def _apply(connection: Connection, receipts: Sequence[Receipt]) -> list[Receipt]:
    """Move delivery, or fail what failed after acceptance. Returns the receipts that have no message yet."""
    moving = [r for r in receipts if r.kind in (ReceiptKind.DELIVERED, ReceiptKind.READ)]
    failing = [r for r in receipts if r.kind is ReceiptKind.FAILED]
    matched = await inbox.apply_receipts(connection, [(r.device, r.provider_id, r.kind, r.at) for r in moving])
    found = await inbox.messages_of(connection, [(r.device, r.provider_id) for r in failing])
    if found:
        await transitions.fail_later(connection, list(found.values()))
    accepted = [r for r in receipts if r.kind is ReceiptKind.ACCEPTED]
    known = await inbox.messages_of(connection, [(r.device, r.provider_id) for r in accepted])
    taken = {ReceiptKind.FAILED: found, ReceiptKind.ACCEPTED: known}
    return [r for r in receipts if (r.device, r.provider_id) not in taken.get(r.kind, matched)]


async def _reply(runtime: Runtime, reply: Reply) -> None:
    """A reply is kept until retention takes it; it ends sequences that end by one, and a stop word suppresses, in the
    transaction that stores it.
    """
    stop = is_stop_word(reply.text)
    async with runtime.db.transaction() as connection:
        workspace = (await inbox.workspaces_of(connection, [reply.device])).get(reply.device)
        new = await inbox.keep(
            connection,
            [
                Kept(
                    reply.device,
                    reply.at,
                    "reply",
                    reply.event_id,
                    sender=reply.sender,
                    body=reply.text,
                    effect="suppressed: stop word" if stop else "kept",
                )
            ],
        )
        if new and workspace is not None:
            await history.note(connection, WorkspaceId(workspace), "replied", 1)
            if not stop:
                await enrolments.replied(connection, WorkspaceId(workspace), Phone(reply.sender))
        if stop and new and workspace is not None:
            await suppress(
                connection, WorkspaceId(workspace), Phone(reply.sender), "reply", note=reply.text.strip()[:40]
            )


async def settle_waiting(runtime: Runtime, install: str, beat: Callable[[], None] = lambda: None) -> int:
    """Try to match what came too early or was refused by a guard. Returns how many rows were settled.

    `beat` is called before each chunk: many may wait after a long time without the database.
    """
    settled, after = 0, 0
    while True:
        beat()
        async with runtime.db.transaction() as connection:
            rows = await inbox.waiting(connection, after, WAITING_CHUNK)
            effects = await _settle(connection, install, rows)
            if effects:
                await inbox.processed(connection, effects)
                settled += len(effects)
            if len(rows) < WAITING_CHUNK:
                await inbox.overdue(connection, KEEP_LOOKING)
                return settled
            after = rows[-1].id


async def _settle(connection: Connection, install: str, rows: Sequence[Waiting]) -> dict[int, str]:
    effects: dict[int, str] = {}
    proof: dict[int, tuple[Waiting, Evidence]] = {}
    for row in rows:
        attempt = parse_reference(install, row.reference)
        if attempt is not None and row.provider_id is not None:
            proof[row.id] = (row, Evidence(*attempt, row.provider_id, row.occurred_at))
    answers = [evidence for row, evidence in proof.values() if row.kind == "accepted"]
    confirmed = set(await transitions.confirm_sent(connection, answers, Resolution.ANSWER)) if answers else set()
    named = [(e.id, e.provider_id) for _, e in proof.values() if e.provider_id is not None]
    await inbox.fill_provider(connection, named)
    states = await inbox.known(connection, [e.id for _, e in proof.values()])
    for row, evidence in proof.values():
        if row.kind != "accepted":
            continue
        status, provider_id = states.get(evidence.id, ("gone", None))
        if evidence.id in confirmed:
            effects[row.id] = "confirmed: sent"
        elif status == MessageStatus.SENT and provider_id == evidence.provider_id:
            effects[row.id] = "known already"
            await inbox.fill_end(connection, [(evidence.id, row.occurred_at)])
        elif status not in (MessageStatus.SENDING, MessageStatus.PENDING, MessageStatus.QUEUED):
            effects[row.id] = f"kept: the message is {status}"
    moving = [r for r in rows if r.kind in (ReceiptKind.DELIVERED, ReceiptKind.READ) and r.provider_id]
    matched = await inbox.apply_receipts(
        connection, [(r.device, r.provider_id or "", r.kind, r.occurred_at) for r in moving]
    )
    effects |= {r.id: "applied" for r in moving if (r.device, r.provider_id) in matched}
    effects |= await _settle_doubts(connection, [r for r in moving if r.id not in effects and r.reference is None])
    for row in rows:
        if row.kind == ReceiptKind.FAILED and row.provider_id:
            found = await inbox.messages_of(connection, [(row.device, row.provider_id)])
            if found:
                await transitions.fail_later(connection, list(found.values()))
                effects[row.id] = "applied"
    return effects


async def _settle_doubts(connection: Connection, receipts: Sequence[Waiting]) -> dict[int, str]:
    """Receipts that name a message which nobody knows: one typed on the phone, or the one that is in doubt.

    Those are left waiting that came just now: an answer, or word of what was typed, may be on its way.
    """
    now = await connection.fetchval("SELECT fleetcast_now()")
    rested = [r for r in receipts if now - r.received_at >= REST]
    if not rested:
        return {}
    typed = await doubt.echoes(connection, [(r.device, r.provider_id or "") for r in rested])
    effects = {r.id: "typed on the phone" for r in rested if (r.device, r.provider_id) in typed}
    open_ones = [r for r in rested if r.id not in effects and r.sender is not None]
    told = [(r.device, r.sender or "", r.provider_id or "", r.occurred_at) for r in open_ones]
    found = await doubt.confirmed_by(connection, told)
    proof: dict[int, Evidence] = {}
    for receipt in open_ones:
        attempt = found.get((receipt.device, receipt.provider_id or ""))
        if attempt is not None:
            proof.setdefault(attempt[0], Evidence(*attempt, receipt.provider_id, receipt.occurred_at))
    if proof:
        await doubt.lock(connection, sorted(proof))
        await transitions.confirm_sent(connection, list(proof.values()), Resolution.RECEIPT)
    return effects  # what confirmed a message now has one, and moves its delivery at the next look


def parse_reference(install: str, reference: str | None) -> tuple[int, int] | None:
    """(message, attempt) of a reference of ours; None for another installation's or anything else."""
    parts = (reference or "").split("-")
    if len(parts) != 3 or parts[0] != install or not (parts[1].isdecimal() and parts[2].isdecimal()):
        return None
    return int(parts[1]), int(parts[2])
