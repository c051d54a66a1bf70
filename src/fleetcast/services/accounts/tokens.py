"""Opaque tokens of sessions, keys and invitations: 256 random bits, of which only the SHA-256 is stored.

A plain hash is enough where the secret is random: nobody can try 2^256 of them. What is stored opens nothing.
"""

import hashlib
import secrets

SESSION, KEY, INVITATION = "fcs_", "fck_", "fci_"
"""First characters, so that people and secret scanners see what they have found."""


def new_token(kind: str) -> str:
    """A token of a kind."""
    return kind + secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """What is stored of a token, and looked up."""
    return hashlib.sha256(token.encode(errors="replace")).digest()
