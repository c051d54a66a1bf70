"""Texts of forms as values; what cannot be read names its field."""

from fleetcast.domain.media import ALLOWED
from fleetcast.errors import InvalidInput

MEDIA = ",".join((*ALLOWED, *(ending for endings in ALLOWED.values() for ending in endings)))
"""What may be chosen as a medium: types, and endings for systems that know no type for them."""


def seconds(field: str, text: str) -> float:
    """A number of seconds, with a point or a comma. Raises InvalidInput."""
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise InvalidInput(field, f"'{text.strip()[:40]}' is no number of seconds") from None
