"""Addresses on the wire: `5511900000001:2@s.whatsapp.net` is the second companion of a number, `…@lid` the same by LID.

Separate because every other module speaks of addresses and none should take one apart.
"""

from dataclasses import dataclass
from typing import Self

NUMBERS = "s.whatsapp.net"
"""Accounts by phone number."""
LIDS = "lid"
"""The same accounts by the number that WhatsApp shows instead of the phone number."""
SERVER = f"@{NUMBERS}"
"""The server itself, as sender of what it says."""


@dataclass(frozen=True, slots=True)
class Jid:
    """An account, or one device of it; device 0 is the phone."""

    user: str
    server: str = NUMBERS
    device: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the wire, where an agent after `.` or `_` may stand beside the user. Raises ValueError."""
        left, at, server = text.partition("@")
        if not at:
            raise ValueError(f"{text!r} is no address: it has no @")
        user, _, device = left.partition(":")
        return cls(user.partition(".")[0].partition("_")[0], server, int(device or 0))

    def __str__(self) -> str:
        return f"{self.user}:{self.device}@{self.server}" if self.device else f"{self.user}@{self.server}"
