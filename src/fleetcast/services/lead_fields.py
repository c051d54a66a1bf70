"""What somebody says of a lead field by field, read and checked: the same rules as for a row of a file.

Every refusal names its field. Separate from the use cases because new leads and changes of one read the same words: a
field that is not given is not touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

from fleetcast.domain.lead import RESERVED_KEYS, Consent, Lead, LeadStatus
from fleetcast.domain.lead_columns import MAX_CELL_CHARS, REPORT_COLUMNS, Column, check_key, lead_from
from fleetcast.errors import InvalidInput


class LeadFields(TypedDict, total=False):
    """What may be said. Empty means "not said" of a new lead, and takes away what a stored one has."""

    name: str
    niches: Sequence[str]
    target_status: LeadStatus | None
    """None: not said. It cannot be taken away."""
    journey: str
    time_zone: str | None
    attributes: Mapping[str, str | None]
    """By key. Of a stored lead those that are not named stay."""


class NewLeadFields(LeadFields, total=False):
    """What may be said of a new lead; the phone must."""

    phone: str
    consent: Consent


_COLUMNS = {
    "phone": Column.PHONE,
    "name": Column.NAME,
    "niches": Column.NICHE,
    "target_status": Column.TARGET_STATUS,
    "journey": Column.JOURNEY,
    "time_zone": Column.TIME_ZONE,
    "consent": Column.CONSENT,
}
_FIELDS = {column.value: field for field, column in _COLUMNS.items()} | {"": "attributes"}


def new_lead(fields: NewLeadFields, region: str) -> Lead:
    """The lead that is described; `region` reads a number without a country code. Raises InvalidInput."""
    return _lead(_said(fields), _attributes({}, fields), region)


def changed(lead: Lead, fields: LeadFields) -> Lead:
    """The lead with what is given; phone and consent stay. Raises InvalidInput."""
    if "target_status" in fields and fields["target_status"] is None:
        raise InvalidInput("target_status", "say prospect or customer, or leave it out")
    said = _said(fields) | {Column.PHONE: lead.phone}
    read = _lead(said, _attributes(lead.attributes, fields), "")
    return replace(lead, **{name: getattr(read, name) for name in LeadFields.__annotations__ if name in fields})


def _lead(said: Mapping[Column, str], attributes: dict[str, str], region: str) -> Lead:
    try:
        return lead_from(said, attributes, region)
    except InvalidInput as error:
        raise InvalidInput(_FIELDS.get(error.field, error.field), error.problem) from None


def _said(fields: Mapping[str, Any]) -> dict[Column, str]:
    """Trimmed texts by column; what is empty is left out."""
    said: dict[Column, str] = {}
    for field, column in _COLUMNS.items():
        value = fields.get(field)
        if value is None:
            continue
        text = _text(field, value if isinstance(value, str) else "\n".join(value))
        if text:
            said[column] = text
    return said


def _attributes(stored: Mapping[str, str], fields: LeadFields) -> dict[str, str]:
    """What is stored, with what is given; an empty one goes."""
    after = dict(stored)
    for key, value in fields.get("attributes", {}).items():
        _check_key(key, "attributes")
        text = _text(f"attributes.{key}", value or "")
        if text:
            after[key] = text
        else:
            after.pop(key, None)
    return after


def _check_key(key: str, field: str) -> None:
    check_key(key, field)
    if key in RESERVED_KEYS or key in REPORT_COLUMNS:
        raise InvalidInput(field, f"'{key}' is no attribute: it is a field of its own, or of a file's rejected rows")


def attribute_of(key: str, value: str) -> tuple[str, str]:
    """One attribute as it is stored, of a change of many. Raises InvalidInput for `key` or `text`."""
    _check_key(key, "key")
    text = _text("text", value)
    if len(text) > MAX_CELL_CHARS:
        raise InvalidInput("text", f"at most {MAX_CELL_CHARS:,} characters, this has {len(text):,}")
    return key, text


def _text(field: str, value: str) -> str:
    if "\0" in value:
        raise InvalidInput(field, "the text contains a NUL character, which no text has; delete it")
    return value.strip()
