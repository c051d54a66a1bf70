"""Linking a device to a phone: which devices can be linked, in which states, and the codes that are shown meanwhile.

Separate from `device`, which says what a device is at any time: a pairing is a thing of minutes.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from fleetcast.domain.device import DeviceState, TransportKind

PAIRING_SECONDS = 180.0
"""How long a person is given. WhatsApp's own patience is a little shorter."""

PAIRED_KINDS = frozenset({TransportKind.SIMULATOR, TransportKind.LINKED})
"""Transports whose devices are linked to a phone. A Cloud number is not: it has a token."""
PAIRABLE = frozenset({DeviceState.UNPAIRED, DeviceState.PAIRING, DeviceState.LOGGED_OUT, DeviceState.BANNED})
"""States in which no phone is linked, so that one can be."""
LINKED = frozenset({DeviceState.CONNECTING, DeviceState.ONLINE, DeviceState.OFFLINE, DeviceState.RESTRICTED})
"""States in which a phone is linked, so that it can be logged out."""


class CodeKind(StrEnum):
    """How the phone takes the code."""

    QR = "qr"
    """Its camera reads it; it is renewed every few seconds."""
    PHONE = "phone"
    """Eight characters that a person types into it."""


@dataclass(frozen=True, slots=True)
class Code:
    """What links a phone while it is valid: a secret, so its text never shows where it is printed whole."""

    order: int
    """Of the pairing that it belongs to: a code of an earlier one links nothing any more."""
    kind: CodeKind
    text: str = field(repr=False)
    valid_for: float
    """Seconds from now."""

    @property
    def spelled(self) -> str:
        """For people who type it: `ABCD-EFGH`."""
        whole = self.kind is CodeKind.PHONE and len(self.text) == 8
        return f"{self.text[:4]}-{self.text[4:]}" if whole else self.text
