"""Answers to what clients ask (`iq`): keys, who exists with which devices, where files are uploaded, settings.

A query that nobody taught us is answered with an empty result and counted, so that a new version of a client library
shows by itself what it has begun to ask.
"""

from collections.abc import Callable, Sequence
from typing import Final

from testbed.whatsapp_web.jids import SERVER, Jid
from testbed.whatsapp_web.media import HOST
from testbed.whatsapp_web.nodes import Malformed, Node
from testbed.whatsapp_web.phones import Companion, Published
from testbed.whatsapp_web.signal import Bundle
from testbed.whatsapp_web.world import World

_DJB: Final = b"\x05"
"""The kind of curve, in bundles."""


def result(query: Node, content: Sequence[Node] | None = None) -> Node:
    """What was asked for."""
    return Node("iq", {"from": query.get("to") or SERVER, "type": "result", "id": query["id"]}, content)


def error(query: Node, code: int, text: str) -> Node:
    """It cannot be had."""
    attrs = {"from": query.get("to") or SERVER, "type": "error", "id": query["id"]}
    return Node("iq", attrs, [Node("error", {"code": str(code), "text": text})])


def answer(world: World, companion: Companion | None, query: Node) -> Node:
    """The answer to a query of a companion, or of a client that is not one yet. Raises Malformed."""
    asked = query.children[0] if query.children else Node("nothing")
    known = _KNOWN.get((query.get("xmlns"), query["type"], asked.tag)) or _KNOWN.get((query.get("xmlns"), "", ""))
    if known is None:
        world.counts[f"unknown query {query.get('xmlns')} {query['type']} {asked.tag}"] += 1
        return result(query)
    return known(world, companion, query, asked)


_Answer = Callable[[World, Companion | None, Node, Node], Node]


def _nothing(_: World, __: Companion | None, query: Node, ___: Node) -> Node:
    return result(query)


def _fixed(*content: Node) -> _Answer:
    return lambda world, companion, query, asked: result(query, content)


# --- keys ------------------------------------------------------------------------------------------------------------


def _count_keys(_: World, companion: Companion | None, query: Node, __: Node) -> Node:
    left = companion.one_time_keys if companion is not None else 0
    return result(query, [Node("count", {"value": str(left)})])


def _digest(_: World, __: Companion | None, query: Node, ___: Node) -> Node:
    return error(query, 404, "item-not-found")


def _upload_keys(_: World, companion: Companion | None, query: Node, __: Node) -> Node:
    if companion is None:
        raise Malformed("keys were uploaded before pairing")
    one_time = [_key(key) for key in query.need("list").each("key")]
    companion.publish(_published(query.need("registration").data, query.need("skey")), one_time)
    return result(query)


def _rotate_key(_: World, companion: Companion | None, query: Node, asked: Node) -> Node:
    if companion is None or companion.published is None:
        raise Malformed("a key was replaced before it was uploaded")
    companion.published = _published(companion.published.registration, asked.need("skey"))
    return result(query)


def _key(node: Node) -> tuple[int, bytes]:
    return int.from_bytes(node.need("id").data, "big"), node.need("value").data


def _published(registration: bytes, signed: Node) -> Published:
    number, key = _key(signed)
    return Published(registration, number, key, signed.need("signature").data)


def _bundles(world: World, _: Companion | None, query: Node, asked: Node) -> Node:
    """Bundles of phones and companions, so that a conversation with them can begin."""
    found = []
    for user in asked.each("user"):
        jid = Jid.parse(user["jid"])
        bundle = _bundle_of(world, jid)
        if bundle is None:
            missing = Node("error", {"code": "404", "text": "item-not-found"})
            found.append(Node("user", {"jid": user["jid"]}, [missing]))
        else:
            found.append(Node("user", {"jid": user["jid"], "t": world.stamp}, _written(bundle)))
    return result(query, [Node("list", {}, found)])


def _bundle_of(world: World, jid: Jid) -> Bundle | None:
    phone = world.phones.find(jid)
    if phone is None:
        return None
    if jid.device == 0:
        return phone.signal.bundle()
    companion = phone.companions.get(jid.device)
    return companion.bundle() if companion is not None else None


def _written(bundle: Bundle) -> list[Node]:
    nodes = [
        Node("registration", {}, bundle.registration),
        Node("type", {}, _DJB),
        Node("identity", {}, bundle.identity),
        Node(
            "skey",
            {},
            [
                Node("id", {}, bundle.signed_id.to_bytes(3, "big")),
                Node("value", {}, bundle.signed),
                Node("signature", {}, bundle.signature),
            ],
        ),
    ]
    if bundle.one_time is not None:
        number, key = bundle.one_time
        nodes.append(Node("key", {}, [Node("id", {}, number.to_bytes(3, "big")), Node("value", {}, key)]))
    return nodes


# --- who is who ------------------------------------------------------------------------------------------------------


def _usync(world: World, _: Companion | None, query: Node, asked: Node) -> Node:
    """Which of these exist, with which LID and devices: asked by number, or by address."""
    wanted = {node.tag for node in asked.need("query").children}
    users = [_user(world, user, wanted) for user in asked.need("list").each("user")]
    attrs = {"sid": asked["sid"], "index": "0", "last": "true", "mode": asked["mode"], "context": asked["context"]}
    return result(query, [Node("usync", attrs, [Node("result"), Node("list", {}, users)])])


def _user(world: World, asked: Node, wanted: set[str]) -> Node:
    contact = asked.child("contact")
    number = contact.data if contact is not None else b""
    text = asked.get("jid") or str(Jid(number.decode().partition("@")[0].lstrip("+")))
    phone = world.phones.find(Jid.parse(text))
    if phone is None or not phone.exists:
        return Node("user", {"jid": text}, [Node("contact", {"type": "out"}, number)])
    facts = []
    if "contact" in wanted:
        facts.append(Node("contact", {"type": "in"}, number))
    if "lid" in wanted:
        facts.append(Node("lid", {"val": str(phone.lid_jid)}))
    if "devices" in wanted:
        devices = [Node("device", {"id": "0"})]
        devices += [Node("device", {"id": str(n), "key-index": str(n)}) for n in phone.companions]
        listed = Node("device-list", {"hash": f"2:{len(devices)}"}, devices)
        facts.append(Node("devices", {}, [listed, Node("key-index-list", {"ts": world.stamp})]))
    if "status" in wanted:
        facts.append(Node("status", {}, b""))
    if "business" in wanted:
        facts.append(Node("business"))
    return Node("user", {"jid": text, "pn_jid": str(phone.jid)}, facts)


# --- the rest --------------------------------------------------------------------------------------------------------


def _app_state(_: World, __: Companion | None, query: Node, asked: Node) -> Node:
    """Settings shared between devices: as many as the client knows, none new."""
    same = [
        Node("collection", {"name": each["name"], "version": each.get("version") or "0"})
        for each in asked.each("collection")
    ]
    return result(query, [Node("sync", {}, same)])


_MEDIA = Node(
    "media_conn",
    {"auth": "testbed", "ttl": "3600", "auth_ttl": "3600", "max_buckets": "12", "is_new": "1"},
    [Node("host", {"hostname": HOST, "class": "primary", "type": "primary"})],
)

_KNOWN: Final[dict[tuple[str, str, str], _Answer]] = {
    ("encrypt", "get", "count"): _count_keys,
    ("encrypt", "get", "digest"): _digest,
    ("encrypt", "get", "key"): _bundles,
    ("encrypt", "set", "registration"): _upload_keys,
    ("encrypt", "set", "rotate"): _rotate_key,
    ("usync", "get", "usync"): _usync,
    ("w:m", "set", "media_conn"): _fixed(_MEDIA),
    ("w:sync:app:state", "set", "sync"): _app_state,
    ("abt", "get", "props"): _fixed(
        Node("props", {"protocol": "1", "hash": "h", "refresh": "86400", "ab_key": "k"}, ())
    ),
    ("w", "get", "props"): _fixed(Node("props", {"protocol": "2", "hash": "h", "refresh": "86400"}, ())),
    ("privacy", "get", "privacy"): _fixed(Node("privacy", {}, ())),
    ("privacy", "set", "tokens"): _fixed(Node("tokens", {}, ())),
    ("blocklist", "get", "nothing"): _fixed(Node("list", {"dhash": "0"}, ())),
    ("w:p", "", ""): _nothing,
    ("passive", "", ""): _nothing,
    ("md", "set", "remove-companion-device"): _nothing,  # what it does is the session's
    ("urn:xmpp:whatsapp:dirty", "", ""): _nothing,
    ("urn:xmpp:whatsapp:push", "", ""): _nothing,
    ("w:stats", "", ""): _nothing,
}
