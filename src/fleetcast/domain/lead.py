"""What a lead is: a person on one device's list, and the words that describe one.

Separate from the columns of a file (`lead_columns`) because leads also come from forms, the API and webhooks.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache, lru_cache
from zoneinfo import available_timezones

from fleetcast.domain.identifiers import DeviceId, LeadId, Phone
from fleetcast.errors import InvalidInput

MAX_NICHES = 100
MAX_NICHE_CHARS = 100


class LeadStatus(StrEnum):
    """Where a person stands. The words are the database's enum `lead_status`; campaigns choose by them."""

    PROSPECT = "prospect"
    CUSTOMER = "customer"


class Consent(StrEnum):
    """Whether a person agreed to be written to. The words are the database's enum `lead_consent`."""

    UNKNOWN = "unknown"
    GIVEN = "given"
    REFUSED = "refused"
    """Never lifted by an import, only by the person."""


@dataclass(frozen=True, slots=True)
class Lead:
    """A person as a file or a form describes one; empty means "not said"."""

    phone: Phone
    name: str = ""
    niches: tuple[str, ...] = ()
    """Sorted, each once, as `niche_names` makes them."""
    target_status: LeadStatus | None = None
    """None: not said; a new lead is then a prospect and a stored one stays what it is."""
    journey: str = ""
    """Notes of the person's way so far."""
    time_zone: str | None = None
    """IANA name."""
    consent: Consent = Consent.UNKNOWN
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Every other column: lower_snake key, value never empty."""


@dataclass(frozen=True, slots=True)
class StoredLead:
    """A lead with its place in the database; its `target_status` is never None."""

    id: LeadId
    device_id: DeviceId
    lead: Lead
    shared: bool
    """Another device of the workspace has a lead with the same phone."""
    consent_source: str | None
    """Where the person agreed or refused, in words."""
    consent_at: datetime | None
    created_at: datetime
    updated_at: datetime


BUILT_IN_VARIABLES = ("name", "phone", "niche", "journey", "target_status")
"""What every text may name. Attributes come on top and can never take one of these names."""

RESERVED_KEYS = frozenset({*BUILT_IN_VARIABLES, "time_zone", "consent"})
"""Columns of their own, hence no attribute's key."""


def lead_variables(lead: Lead) -> dict[str, str]:
    """What a text may print of this lead: all built-in variables, empty if not known, and the attributes.

    `fleetcast.store.leads.LEAD_VARIABLES_SQL` builds the same in the database.
    """
    return {
        **lead.attributes,
        "name": lead.name,
        "phone": lead.phone,
        "niche": NICHE_JOINER.join(lead.niches),
        "journey": lead.journey,
        "target_status": (lead.target_status or LeadStatus.PROSPECT).value,
    }


NICHE_JOINER = ", "
_NICHE_SEPARATORS = re.compile("[,;|\n\u060c\u3001\uff0c\uff1b\uff5c]")  # also Arabic and full-width ones


def niche_names(texts: Iterable[str]) -> tuple[str, ...]:
    """Niches as a set, sorted by code point: lower case, trimmed, single spaces; `Fitness ` and `fitness` are one.

    That is how they are stored and compared, for leads and for campaigns. A text may hold several, separated by
    commas, semicolons, bars or line breaks. Raises InvalidInput("niche", …) when they are too many or one is too long.
    """
    pieces = (piece for text in texts for piece in _NICHE_SEPARATORS.split(unicodedata.normalize("NFC", text.lower())))
    found = {name for piece in pieces if (name := " ".join(piece.split()))}
    if len(found) > MAX_NICHES:
        raise InvalidInput("niche", f"{len(found)} niches are too many; a lead has at most {MAX_NICHES}")
    for name in found:
        if len(name) > MAX_NICHE_CHARS:
            raise InvalidInput("niche", f"'{name[:20]}…' is longer than {MAX_NICHE_CHARS} characters; shorten the name")
    return tuple(sorted(found))


@lru_cache(maxsize=4096)
def parse_niches(text: str) -> tuple[str, ...]:
    """The niches in one cell; files repeat the same few. Raises InvalidInput."""
    return niche_names((text,))


_STATUS_WORDS = {
    **dict.fromkeys(("prospect", "prospects", "prospek", "prospecto", "prospetto", "interessent"), LeadStatus.PROSPECT),
    **dict.fromkeys(
        ("customer", "customers", "client", "cliente", "pelanggan", "kunde", "klant", "klien"), LeadStatus.CUSTOMER
    ),
}


def parse_status(text: str) -> LeadStatus:
    """Prospect or customer, also in some other languages. Raises InvalidInput("target_status", …)."""
    try:
        return _STATUS_WORDS[text.strip().lower()]
    except KeyError:
        raise InvalidInput("target_status", f"'{text[:40]}' is neither prospect nor customer") from None


_YES = """
    yes y true 1 given opt-in opted-in optin opted_in subscribed ya ja si sí oui sim да 是 はい
"""
_NO = """
    no n false 0 refused opt-out opted-out optout opted_out unsubscribed tidak nein nee non não нет 否 いいえ
"""
_CONSENT_WORDS = {
    "unknown": Consent.UNKNOWN,
    **dict.fromkeys(_YES.split(), Consent.GIVEN),
    **dict.fromkeys(_NO.split(), Consent.REFUSED),
}


def parse_consent(text: str) -> Consent:
    """Yes or no, also in some other languages, or `unknown`. Raises InvalidInput("consent", …)."""
    try:
        return _CONSENT_WORDS[text.strip().lower()]
    except KeyError:
        raise InvalidInput("consent", f"'{text[:40]}' is neither yes nor no") from None


CONSENT_WORD = {Consent.UNKNOWN: "", Consent.GIVEN: "yes", Consent.REFUSED: "no"}
"""How consent is written into a file."""


@cache
def _zones() -> dict[str, str]:
    return {name.lower(): name for name in available_timezones()}


def parse_time_zone(text: str) -> str:
    """The IANA zone of that name, capitals aside. Raises InvalidInput("time_zone", …)."""
    try:
        return _zones()[text.strip().lower().replace(" ", "_")]
    except KeyError:
        raise InvalidInput(
            "time_zone", f"'{text[:40]}' is not a known time zone; write it like Asia/Kuala_Lumpur"
        ) from None
