"""What happens to a message that arrives, and to a question about one.

Every answer that claims something about a reference goes through the group commit, so it cannot leave before the ledger
has it on disk. Order of the checks: is the session open, is the device able to send, does the network lose or delay it;
then, at WhatsApp's servers: is the reference sealed, is it known, is it refused; else it is accepted.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, Phone, Reference
from fleetcast.transports.base import Receipt, ReceiptKind
from fleetcast.transports.simulator.behaviour import Fate, SendOutcome, fate
from fleetcast.transports.simulator.commit import GroupCommit
from fleetcast.transports.simulator.devices import Device, Devices, Forced, Listener
from fleetcast.transports.simulator.ledger import Ledger, Record, RecordKind, content_sha256, provider_id_of
from fleetcast.transports.simulator.protocol import Frame
from fleetcast.transports.simulator.run import Run

Answer = Callable[[Frame], None]


def _refusal(kind: str, code: str, detail: str) -> Frame:
    return {"t": "refused", "class": kind, "code": code, "detail": detail}


REFUSALS: dict[SendOutcome, Frame] = {
    SendOutcome.NOT_ON_WHATSAPP: _refusal("recipient", "not_on_whatsapp", "the number is not on WhatsApp"),
    SendOutcome.OPTED_OUT: _refusal("opted_out", "opted_out", "the person refuses messages"),
    SendOutcome.CONTENT: _refusal("content", "content_refused", "the content is not accepted"),
    SendOutcome.DEVICE: _refusal("device", "may_not_send", "the number may not send"),
    SendOutcome.RATE_LIMITED: _refusal("rate_limited", "rate_limited", "too many messages"),
}
NOT_OPEN = _refusal("not_sent", "not_open", "the device's session is not open on this connection")
OFFLINE = _refusal("not_sent", "offline", "the device is offline")
SEALED = _refusal("not_sent", "sealed", "proof of absence was given for this reference")


@dataclass(frozen=True, slots=True)
class Message:
    """What a client asked to send."""

    device: DeviceId
    recipient: Phone
    reference: Reference
    text: str
    media_sha256: str | None
    is_answer: bool = False


class Messages:
    """The way of every message of one run."""

    def __init__(self, run: Run, devices: Devices, ledger: Ledger, commit: GroupCommit) -> None:
        self._run = run
        self._devices = devices
        self._ledger = ledger
        self._commit = commit
        self._held: list[Callable[[], None]] = []
        self.forced: deque[Forced] = deque()
        """Ordered outcomes for the next sends of any device; those of the device itself come first."""

    def send(self, listener: Listener, message: Message, answer: Answer) -> None:
        """A message comes in from a client. `answer` is called once, or never where the fate says so."""
        device = self._devices.opened_by(listener, message.device)
        if device is None:
            answer(NOT_OPEN)
        elif not device.takes(is_answer=message.is_answer):
            self._run.counts[f"refused:{device.state}"] += 1
            offline = device.state is DeviceState.OFFLINE
            answer(OFFLINE if offline else _refusal("device", str(device.state), device.reason))
        else:
            lot, held = self._lot(device, message)
            if lot.outcome is not SendOutcome.ACCEPT:
                self._run.counts[lot.outcome] += 1
            if lot.outcome is SendOutcome.LATE:
                self._later(lot.slow, held, partial(self._reach, message, lot, False, answer))
            elif lot.outcome is not SendOutcome.NO_ANSWER_DROPPED:
                self._reach(message, lot, held, answer)

    def _lot(self, device: Device, message: Message) -> tuple[Fate, bool]:
        """The message's fate, and whether it is held until released."""
        lot = fate(self._run.behaviour, self._run.seed, message.recipient, message.reference)
        queue = device.forced or self.forced
        if not queue:
            return lot, False
        forced = queue.popleft()
        if forced.seconds is not None:
            return replace(lot, outcome=forced.outcome, slow=forced.seconds), False
        return replace(lot, outcome=forced.outcome), forced.outcome in (SendOutcome.SLOW, SendOutcome.LATE)

    def _reach(self, message: Message, lot: Fate, held: bool, answer: Answer) -> None:
        """The message reaches WhatsApp's servers: from here on the ledger decides."""
        accepted: Frame = {"t": "accepted", "provider_id": provider_id_of(message.reference)}
        answer_in_time = partial(self._run.schedule.after, lot.latency)
        if message.reference in self._ledger.sealed:
            self._commit.add(self._record(RecordKind.LATE, message), partial(answer, SEALED))
        elif message.reference in self._ledger.accepted:
            self._run.counts["repeated"] += 1
            self._commit.add(None, partial(answer_in_time, partial(answer, accepted)))
        elif lot.outcome in REFUSALS:
            refusal = REFUSALS[lot.outcome]
            if lot.outcome is SendOutcome.RATE_LIMITED:
                refusal = refusal | {"retry_after": self._run.behaviour.retry_after}
            answer_in_time(partial(answer, refusal))
        else:
            self._commit.add(
                self._record(RecordKind.ACCEPTED, message),
                partial(self._is_on_disk, message, lot, held, partial(answer, accepted)),
            )

    def _is_on_disk(self, message: Message, lot: Fate, held: bool, answer: Callable[[], None]) -> None:
        self._run.counts["accepted"] += 1
        for seconds, kind in lot.receipts:
            self._run.schedule.after(seconds, partial(self._receipt, message, kind))
        if lot.reply is not None:
            seconds, text = lot.reply
            name = f"{provider_id_of(message.reference)}:reply"
            self._run.schedule.after(
                seconds, partial(self._devices.reply, message.device, message.recipient, text, name)
            )
        if lot.outcome is SendOutcome.SLOW:
            self._later(lot.slow, held, answer)
        elif lot.outcome is not SendOutcome.NO_ANSWER_ACCEPTED:
            self._run.schedule.after(lot.latency, answer)

    def _receipt(self, message: Message, kind: ReceiptKind) -> None:
        self._run.counts[f"receipts:{kind}"] += 1
        provider_id = provider_id_of(message.reference)
        now = self._run.clock.now()
        receipt = Receipt(
            f"{provider_id}:{kind}", message.device, provider_id, kind, now, message.reference, message.recipient
        )
        self._devices.announce(receipt)

    def _record(self, kind: RecordKind, message: Message) -> Record:
        return Record(
            kind,
            message.reference,
            self._run.clock.now().timestamp(),
            device=message.device,
            recipient=message.recipient,
            provider_id=provider_id_of(message.reference) if kind is RecordKind.ACCEPTED else "",
            sha256=content_sha256(message.text, message.media_sha256),
        )

    def find(self, references: Sequence[Reference], answer: Callable[[list[str | None]], None]) -> None:
        """What became of attempts. What is not known is sealed, on disk, before its absence is told."""
        found: list[str | None] = []
        now = self._run.clock.now().timestamp()
        for reference in references:
            known = reference in self._ledger.accepted
            found.append(provider_id_of(reference) if known else None)
            if not known and reference not in self._ledger.sealed:
                self._commit.add(Record(RecordKind.SEALED, reference, now), lambda: None)
        self._commit.add(None, partial(answer, found))

    # held back by command

    def _later(self, seconds: float, held: bool, call: Callable[[], None]) -> None:
        if held:
            self._held.append(call)
        else:
            self._run.schedule.after(seconds, call)

    @property
    def held(self) -> int:
        """Messages and answers that wait for `release`."""
        return len(self._held)

    def release(self) -> int:
        """Let everything held go on, in the order in which it came; how many that was."""
        held, self._held = self._held, []
        for call in held:
            call()
        return len(held)
