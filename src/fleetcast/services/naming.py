"""What people may call things. One rule for workspaces and devices, because both names are typed into commands."""

import unicodedata

from fleetcast.errors import InvalidInput

LONGEST_NAME = 100


def checked_name(name: str, field: str = "name") -> str:
    """The name in Unicode's composed form, without outer spaces. Raises InvalidInput when it cannot be used."""
    clean = unicodedata.normalize("NFC", name).strip()
    if not clean:
        raise InvalidInput(field, "a name is needed")
    if len(clean) > LONGEST_NAME:
        raise InvalidInput(field, f"at most {LONGEST_NAME} characters, this has {len(clean)}")
    if not clean.isprintable():
        raise InvalidInput(field, "line breaks and control characters are not allowed")
    return clean
