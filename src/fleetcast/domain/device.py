"""What a device is: its states, its shard and when it may send."""

from enum import StrEnum

SHARD_COUNT = 64
"""Shards of an installation. A device keeps the shard it got when it was added."""


class DeviceState(StrEnum):
    """The connection's state. Identity (phone, JID, LID) and a person's pause are separate facts."""

    UNPAIRED = "unpaired"
    PAIRING = "pairing"
    CONNECTING = "connecting"
    ONLINE = "online"
    OFFLINE = "offline"
    RESTRICTED = "restricted"
    """WhatsApp restricts the number until a known time; replies still go out."""
    LOGGED_OUT = "logged_out"
    """Ended on the phone or by WhatsApp. Never fought: a person pairs it again."""
    BANNED = "banned"


class TransportKind(StrEnum):
    """Through what a device sends."""

    SIMULATOR = "simulator"
    LINKED = "linked"
    CLOUD = "cloud"


NAMELESS = TransportKind.LINKED
"""Its receipts carry no reference of ours: of two open attempts to one person nobody could tell which one arrived, so a
device of this kind has at most one."""


def shard_for(device_id: int, shards: int = SHARD_COUNT) -> int:
    """The shard a new device is given: plain round robin, so that shards stay even."""
    return device_id % shards
