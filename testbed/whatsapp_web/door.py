"""What a client meets first: a handshake, then either its login or its wish to be paired."""

import logging

from google.protobuf.message import DecodeError

from testbed.whatsapp_web.link import Link
from testbed.whatsapp_web.nodes import Malformed, Node
from testbed.whatsapp_web.noise import Opened
from testbed.whatsapp_web.pairing import Registration
from testbed.whatsapp_web.phones import Companion, Phone
from testbed.whatsapp_web.protobufs import ClientPayload
from testbed.whatsapp_web.session import Session
from testbed.whatsapp_web.websocket import Closed, Socket
from testbed.whatsapp_web.world import World

log = logging.getLogger(__name__)


async def serve(world: World, socket: Socket) -> None:
    """Serve one client until it is gone."""
    try:
        link = await Link.open(socket, world.server, world.ephemeral(), lambda: world.behaviour.delay)
        world.counts["handshake"] += 1
        await _let_in(world, link)
    except Closed:
        pass
    except Malformed as error:
        world.counts["malformed"] += 1
        log.warning("A client is hung up on: %s", error)
    except (DecodeError, ValueError):
        world.counts["malformed"] += 1
        log.warning("A client is hung up on:", exc_info=True)
    finally:
        socket.abort()


async def _let_in(world: World, link: Link) -> None:
    wish = ClientPayload.FromString(link.opened.payload)
    if not wish.HasField("username"):
        await Registration(world, link).run()
        return
    found = _companion(world, str(wish.username), wish.device, link.opened)
    if isinstance(found, Node):
        await link.farewell(found)
        return
    await Session(world, link, *found).run()


def _companion(world: World, number: str, device: int, opened: Opened) -> tuple[Phone, Companion] | Node:
    """Who logs in, or the failure that it is told."""
    phone = world.phones.get(number)
    companion = phone.companions.get(device)
    if companion is None or companion.noise != opened.client:
        world.counts["login refused"] += 1
        return logged_out()
    if phone.ban is not None and (left := phone.ban.until - world.now()) > 0:
        world.counts["login refused"] += 1
        return banned(phone.ban.code, left)
    return phone, companion


def logged_out() -> Node:
    """What a companion is told that its phone has removed."""
    return Node("failure", {"reason": "401", "location": "lla"})


def banned(code: int, seconds: float) -> Node:
    """What an account is told that is banned for a while."""
    return Node("failure", {"reason": "402", "code": str(code), "expire": str(max(1, round(seconds)))})
