"""What makes a device a companion of an account: its identity, signed by the phone and then by itself.

Knows the signatures and their order; how a device comes to ask for one is `pairing`, or `orders` for sessions that are
made without pairing.
"""

from dataclasses import dataclass
from typing import Final, Self

from testbed.whatsapp_web.keys import KeyPair, authenticate, verify
from testbed.whatsapp_web.protobufs import DeviceIdentity, SignedDeviceIdentity, SignedDeviceIdentityHmac

_ACCOUNT_SIGNS: Final = b"\x06\x00"
_DEVICE_SIGNS: Final = b"\x06\x01"


@dataclass(frozen=True, slots=True)
class SignedIdentity:
    """A device's identity as its phone signed it."""

    identity: bytes
    details: bytes
    account: bytes
    """The phone's public key."""
    signature: bytes
    """The phone's."""

    @classmethod
    def by(cls, account: KeyPair, identity: bytes, *, device: int, now: float) -> Self:
        """Signed with a phone's key."""
        details = DeviceIdentity(rawId=1, timestamp=int(now), keyIndex=device).SerializeToString()
        return cls(identity, details, account.public, account.sign(_ACCOUNT_SIGNS + details + identity))

    def sealed(self, secret: bytes) -> bytes:
        """As the device gets it, with the check sum of the secret that only the phone and the device know."""
        signed = SignedDeviceIdentity(
            details=self.details, accountSignatureKey=self.account, accountSignature=self.signature
        ).SerializeToString()
        sealed: bytes = SignedDeviceIdentityHmac(details=signed, hmac=authenticate(secret, signed)).SerializeToString()
        return sealed

    def countersigned(self, device: KeyPair) -> bytes:
        """The device's signature, made by somebody who has its key."""
        return device.sign(self._what_the_device_signs())

    def is_countersigned(self, answer: bytes) -> bool:
        """Whether the device's answer carries its signature."""
        signed = SignedDeviceIdentity.FromString(answer)
        return signed.details == self.details and verify(
            self.identity, self._what_the_device_signs(), signed.deviceSignature
        )

    def _what_the_device_signs(self) -> bytes:
        return _DEVICE_SIGNS + self.details + self.identity + self.account
