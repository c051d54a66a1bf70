"""A certificate authority for one run, and the certificate of the names that clients connect to.

Made anew at each start and kept in a temporary folder: nobody is asked to trust it for longer than a test.
"""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

NAMES: Final = ("web.whatsapp.com", "*.whatsapp.net", "*.whatsapp.com", "localhost")
_LIFE: Final = timedelta(days=30)


def authority(folder: Path, *, now: float) -> tuple[Path, ssl.SSLContext]:
    """The file of the authority's certificate, for clients to trust, and what the server serves with."""
    today = datetime.fromtimestamp(now, UTC)
    issuer_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _name("WhatsApp Web testbed, not WhatsApp")
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    root = (
        _begun(issuer, issuer, issuer_key.public_key(), today)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(issuer_key, SHA256())
    )
    leaf = (
        _begun(_name(NAMES[0]), issuer, key.public_key(), today)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in NAMES]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    trusted, served = folder / "ca.pem", folder / "server.pem"
    trusted.write_bytes(root.public_bytes(Encoding.PEM))
    served.touch(mode=0o600)
    served.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + leaf.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(served)
    return trusted, context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, today: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + _LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
