"""A message to one person, outside of any campaign: the same queue, pace, consent and proof as everything else.

What is asked for is stored and nothing more: when the device's turn comes, the message leaves. The text is sent as it
is written; texts with variables are what campaigns are for. A request that carries a key is done once for as long as
its message is kept, even if the process was killed between the commit and the answer: the message's own key holds it.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from fleetcast.domain.content import literal
from fleetcast.domain.identifiers import DeviceId, Phone, WorkspaceId
from fleetcast.domain.message import MessageStatus
from fleetcast.domain.phone import parse_phone
from fleetcast.domain.schedule import parse_deadline
from fleetcast.errors import InvalidInput, InvalidInputs
from fleetcast.runtime import Runtime
from fleetcast.services import media
from fleetcast.services.idempotency import another_request
from fleetcast.services.media import Source
from fleetcast.store import audit, contents, lead_merge, messages, single_sends, transitions
from fleetcast.store.audience import SHARE_SUPPRESSIONS
from fleetcast.store.connection import Connection
from fleetcast.store.messages import MessageRow

__all__ = ["DEFAULT_EXPIRES_AFTER", "SingleSend", "send_message", "wrote_lately"]

DEFAULT_EXPIRES_AFTER = "1d"
"""What is not sent by then is of no use to anybody, unless it is said otherwise."""


@dataclass(frozen=True, slots=True)
class SingleSend:
    """What is to be sent, as it was written."""

    device_id: DeviceId
    to: str
    text: str = ""
    """May be left out with a medium."""
    media: Source | None = None
    expires_after: str = DEFAULT_EXPIRES_AFTER
    """From now: 7d, 36h, 90m."""


@dataclass(frozen=True, slots=True)
class _Checked:
    recipient: Phone
    body: str
    source: Source | None
    expires_after: timedelta
    key: str


async def send_message(
    runtime: Runtime, workspace_id: WorkspaceId, asked: SingleSend, *, actor: str, once: str | None = None
) -> MessageRow:
    """Put a message into its device's queue, before what campaigns have there. Returns it as it stands.

    To a person who may not be written to it is skipped at once, with the reason `opt_out`. With `once`, what the same
    actor asked for under this key before is found again instead. Raises InvalidInputs naming the fields at fault.
    """
    async with runtime.db.transaction() as connection:
        checked = await _check(connection, workspace_id, asked, actor, once)
        held = await _held(connection, workspace_id, asked, checked)
    if held is not None:
        return held
    medium = None if checked.source is None else await media.take(runtime, workspace_id, checked.source)
    if medium is not None and not medium.takes_text:
        media.check_text(asked.text, medium, "text")
    sha256 = None if medium is None else medium.sha256
    async with runtime.db.transaction() as connection:
        await connection.execute(SHARE_SUPPRESSIONS, workspace_id)
        content_id = await contents.insert(connection, workspace_id, checked.body, [], sha256)
        message_id = await single_sends.insert(
            connection,
            workspace_id,
            asked.device_id,
            checked.recipient,
            content_id,
            expires_after=checked.expires_after,
            key=checked.key,
        )
        if message_id is None:
            await contents.delete(connection, workspace_id, content_id)
            held = await _held(connection, workspace_id, asked, checked)
            if held is None:
                raise _no_device(asked.device_id)
            return held
        await transitions.skip_unwanted(connection, [message_id])
        after = {"device_id": asked.device_id}
        await audit.record(connection, workspace_id, actor, "message.send", f"message {message_id}", after=after)
        made = await messages.one(connection, workspace_id, message_id)
        assert made is not None
    if made.status is MessageStatus.PENDING:
        await runtime.nudges.urgent([asked.device_id])
    return made


async def wrote_lately(runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId, person: Phone) -> bool:
    """Whether this person wrote to the device within a day: a message to them is an answer then."""
    async with runtime.db.connection() as connection:
        return await single_sends.wrote_lately(connection, workspace_id, device_id, person)


async def _check(
    connection: Connection, workspace_id: WorkspaceId, asked: SingleSend, actor: str, once: str | None
) -> _Checked:
    device = await lead_merge.destination(connection, workspace_id, asked.device_id)
    if device is None:
        raise _no_device(asked.device_id)
    problems: list[InvalidInput] = []
    recipient, body, source, span = Phone(""), "", asked.media, timedelta()
    try:
        recipient = parse_phone(asked.to, device.region)
    except InvalidInput as error:
        problems.append(InvalidInput("to", error.problem))
    try:
        if not asked.text.strip() and asked.media is None:
            raise InvalidInput("text", "a text is needed, or a medium")
        body = literal(asked.text, "text")
    except InvalidInput as error:
        problems.append(error)
    try:
        source = None if asked.media is None else media.checked_source(asked.media)
    except InvalidInput as error:
        problems.append(error)
    try:
        span = parse_deadline(asked.expires_after, "expires_after")
    except InvalidInput as error:
        problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise InvalidInputs(problems)
    mark = secrets.token_hex(16) if once is None else hashlib.sha256(f"{actor}\0{once}".encode()).hexdigest()[:32]
    return _Checked(recipient, body, source, span, single_sends.dedupe_key(workspace_id, recipient, mark))


async def _held(
    connection: Connection, workspace_id: WorkspaceId, asked: SingleSend, checked: _Checked
) -> MessageRow | None:
    """The message that this very request made before. Raises InvalidInput when another request had its key."""
    found = await single_sends.by_key(connection, workspace_id, checked.key)
    if found is None:
        return None
    message_id, content_id = found
    message = await messages.one(connection, workspace_id, message_id)
    content = await contents.get(connection, workspace_id, content_id)
    assert message is not None
    assert content is not None
    if (message.device_id, content.body) != (asked.device_id, checked.body):
        raise another_request()
    return message


def _no_device(device_id: int) -> InvalidInput:
    return InvalidInput("device_id", f"there is no device {device_id} in this workspace")
