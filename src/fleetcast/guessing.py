"""What people who try doors try first: words, rows of the keyboard, counting. One rule for passwords and for secrets of
the settings.

At the bottom of the layers because the settings judge their secrets by it, and they stand below everything else.
"""

import re

WORDS = (
    "password", "passwort", "fleetcast", "whatsapp", "changeme", "pleasechange", "letmein", "welcome", "secret",
    "admin", "owner", "qwerty", "qwertz", "asdfgh", "iloveyou", "default", "example", "correcthorsebatterystaple",
    "localhost", "replace", "yoursecret", "supersecret", "monkey", "dragon", "football", "sunshine", "princess",
)  # fmt: skip
_DISGUISES = str.maketrans("0134578@$!", "oieastbasi")


def weakness(secret: str, needed: int, belongings: tuple[str, ...] = ()) -> str | None:
    """Why a secret is soon guessed, as the rest of a sentence that begins with "it"; None when it is not.

    `needed`: characters that must be left beside what everybody tries. `belongings`: names and addresses of the person.
    """
    typed = secret.lower()
    parts = {part for each in belongings for part in re.split(r"[\W_]+", each.lower()) if len(part) >= 4}
    words = sorted({*WORDS, *parts}, key=len, reverse=True)
    plain = "".join(c for c in typed if c.isalnum())
    undisguised = "".join(c for c in typed.translate(_DISGUISES) if c.isalpha())
    for form in (plain, undisguised):
        found = [word for word in words if word in form]
        rest = form
        for word in found:
            rest = rest.replace(word, " ")
        if found and _unforeseen(rest) < needed:
            return f"is little more than '{found[0]}', which is among the first to be tried"
    if _unforeseen(typed) < needed or len(set(typed)) < 5:
        return "repeats or counts the same few characters"
    return None


def _unforeseen(text: str) -> int:
    """How many characters neither repeat the one before nor are its neighbour in the alphabet."""
    return sum(c != " " and abs(ord(c) - ord(before)) > 1 for before, c in zip(" " + text, text, strict=False))
