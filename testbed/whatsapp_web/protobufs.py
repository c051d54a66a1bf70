"""The messages inside nodes, from the descriptions that pyaileys carries.

They are made while Python runs and have no types; everything untyped of the testbed passes through this module.
"""

from typing import Any

from pyaileys.proto import WAProto_pb2

_ALL: Any = WAProto_pb2

HandshakeMessage: Any = _ALL.HandshakeMessage
ClientPayload: Any = _ALL.ClientPayload
CertificateChain: Any = _ALL.CertChain
CertificateDetails: Any = _ALL.CertChain.NoiseCertificate.Details
DeviceIdentity: Any = _ALL.ADVDeviceIdentity
SignedDeviceIdentity: Any = _ALL.ADVSignedDeviceIdentity
SignedDeviceIdentityHmac: Any = _ALL.ADVSignedDeviceIdentityHMAC
PreKeySignalMessage: Any = _ALL.PreKeySignalMessage
SignalMessage: Any = _ALL.SignalMessage
Message: Any = _ALL.Message
