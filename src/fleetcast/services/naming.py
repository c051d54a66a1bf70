"""What people may call things. One rule for workspaces and devices, because both names are typed into commands."""

import unicodedata

from fleetcast.errors import InvalidInput

LONGEST_NAME = 100


def as_stored(name: str) -> str:
    """The form in which names are stored and looked up: composed letters, no outer spaces."""
    return unicodedata.normalize("NFC", name).strip()


def checked_name(name: str, field: str = "name") -> str:
    """The name as it will be stored. Raises InvalidInput when it cannot be used."""
    clean = as_stored(name)
    if not clean:
        raise InvalidInput(field, "a name is needed")
    if len(clean) > LONGEST_NAME:
        raise InvalidInput(field, f"at most {LONGEST_NAME} characters, this has {len(clean)}")
    if not clean.isprintable():
        raise InvalidInput(field, "line breaks and control characters are not allowed")
    return clean
