"""Telephone numbers: what people type into a cell becomes one canonical E.164 text, or a refusal in plain words.

Separate from leads because replies, suppressions and single sends read numbers too, and the same person must come out
as the same text everywhere.

How strict: a number is refused only when it cannot be one (length, country code, letters, two in one cell). Tables of
ranges in use are always a little behind, and refusing a customer's real number is worse than one failed send, so
`is_valid_number` is not asked. What is accepted is canonical: reading it again gives the same text.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberFormat, ValidationResult

from fleetcast.domain.identifiers import Phone
from fleetcast.errors import InvalidInput

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_EXTENSION = re.compile(
    r"(?<=\d)[\s.,;:-]*(?:e?xt(?:ensi[oó]n?)?\b|\bx\b|x(?=\s*\d)|#|;ext=|durchwahl|ramal|anexo)", re.I
)
_SEVERAL = re.compile(r"\d\D*(?:[;|&,\n]|\bor\b|\band\b|\batau\b|\bo\b|\bou\b|\boder\b|[^\s(]\s*\+)\D*\d", re.I)
_SCIENTIFIC = re.compile(r"\d(?:[.,]\d+)?E\+?\d+", re.I)
_SPREADSHEET_FRACTION = re.compile(r"(?<=\d{7})[.,]0+$")
_ADDRESS = re.compile(
    r"^(?:tel|phone|whatsapp|sms)\s*:\s*(?://)?|^(?:https?://)?(?:www\.)?wa\.me/|@(?:s\.whatsapp\.net|c\.us)$", re.I
)
_INTERNATIONAL = re.compile(r"[(\[]?\+\s*(?:00)?|00")
_DASHES = "\u2212\u2043\u02d7\uff70\u30fc"  # written as dashes, of another category
_NOT_DIGITS = re.compile(r"[^0-9]+")
_WRITTEN = re.compile(r"[(\[]?\+?[0-9\s().\[\]/-]+")
_SIMPLE = re.compile(r"\+?[0-9][0-9 ()-]*")
_OLD_MEXICAN = re.compile(r"^\+?521(?=[0-9]{10}$)")  # the 1 of mobiles went in 2019 and lives on in address books

AREA_CODE_DIGITS = 6
"""Before a slash: an area code, with or without its country's. More are a first number."""
SHORT = 6
"""Digits after the country code; of such a number a log shows only the last two."""
MOST_DIGITS = 19
"""Of one number: 15, and what stands before it (`00`, a bracketed zero)."""

_TWO = "there is more than one number in the cell; one lead has one number"
_REASONS = {
    ValidationResult.TOO_SHORT: "it is too short",
    ValidationResult.TOO_LONG: "it has too many digits",
    ValidationResult.INVALID_LENGTH: "no number there has that many digits",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "the area code is missing",
    ValidationResult.INVALID_COUNTRY_CODE: "no country has that code",
}


@cache
def _country_names() -> dict[str, str]:
    table = files("tzdata").joinpath("zoneinfo", "iso3166.tab").read_text("utf-8")
    return dict(line.split("\t", 1) for line in table.splitlines() if line and not line.startswith("#"))


def country_name(region: str) -> str:
    """A country's English name for two letters; the letters themselves when they are not in use."""
    return _country_names().get(region, region)


@cache
def _numbering_plan(country_code: int) -> tuple[frozenset[int], re.Pattern[str]] | None:
    """Possible lengths of the part after the country code, and what the parser would strip or rewrite there."""
    region = phonenumbers.region_code_for_country_code(country_code)
    plan = (
        PhoneMetadata.metadata_for_nongeo_region(country_code)
        if region == "001"
        else PhoneMetadata.metadata_for_region(region)
    )
    if plan is None or plan.general_desc is None:
        return None
    lengths = frozenset(plan.general_desc.possible_length) - frozenset(plan.general_desc.possible_length_local_only)
    return lengths, re.compile(plan.national_prefix_for_parsing or r"(?!)")


@cache
def _country_code(digits: str) -> int:
    """The country code that begins these three digits, or 0. No code begins another."""
    for length in (1, 2, 3):
        code = int(digits[:length])
        if code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            return code
    return 0


def is_canonical(text: str) -> bool:
    """Whether this is E.164 just as `parse_phone` would return it; a tenth of the parser's time.

    False may also mean "ask the parser": a national prefix after the country code needs its rules.
    """
    if not _E164.fullmatch(text):
        return False
    code = _country_code(text[1:4])
    plan = _numbering_plan(code) if code else None
    if plan is None:
        return False
    lengths, prefix = plan
    national = text[1 + len(str(code)) :]
    return len(national) in lengths and not prefix.match(national)


@dataclass(frozen=True, slots=True)
class _Home:
    """How a country reads numbers without a country code, as far as the quick way understands it."""

    code: str
    lengths: frozenset[int]
    national: re.Pattern[str]
    prefix: re.Pattern[str]
    trunk: str
    """The digits before a national number, if they are always the same and only left out; else ''."""
    abroad: re.Pattern[str]


@cache
def _home(region: str) -> _Home | None:
    plan = PhoneMetadata.metadata_for_region(region, None) if region in phonenumbers.SUPPORTED_REGIONS else None
    if plan is None or plan.general_desc is None or not plan.general_desc.national_number_pattern:
        return None
    prefix = plan.national_prefix_for_parsing or ""
    return _Home(
        code=str(plan.country_code),
        lengths=frozenset(plan.general_desc.possible_length) - frozenset(plan.general_desc.possible_length_local_only),
        national=re.compile(plan.general_desc.national_number_pattern),
        prefix=re.compile(prefix or r"(?!)"),
        trunk=prefix if prefix.isdigit() and not plan.national_prefix_transform_rule else "",
        abroad=re.compile(plan.international_prefix or r"(?!)"),
    )


def _quick(text: str, region: str) -> str | None:
    """What the slow way would return for the commonest forms, or None to ask it."""
    if not _SIMPLE.fullmatch(text):
        return None
    digits = _NOT_DIGITS.sub("", text)
    if text[0] == "+":
        found = "+" + digits
    elif digits.startswith("00"):
        found = "+" + digits[2:]
    else:
        home = _home(region)
        if home is None or home.abroad.match(digits):
            return None
        national = digits
        if digits.startswith(home.code):
            national = digits[len(home.code) :]
            if home.national.fullmatch(digits) or not home.national.fullmatch(national) or home.prefix.match(national):
                return None
        elif home.trunk and digits.startswith(home.trunk):
            national = digits[len(home.trunk) :]
            if len(national) not in home.lengths or not home.national.fullmatch(national):
                return None
        elif home.prefix.match(digits):
            return None
        found = f"+{home.code}{national}"
    return found if is_canonical(found) else None


def parse_phone(text: str, region: str) -> Phone:
    """The number written in `text`, in E.164; `region` (two letters) reads one without a country code.

    Accepts spaces, dashes, brackets, digits of any script, `00` and `+00` for `+`, a spreadsheet's `.0`, `tel:`.
    Raises InvalidInput("phone", …) for anything that cannot be one number: see the module's docstring.
    """
    if is_canonical(text):
        return Phone(text)
    found = _quick(text, region)
    return _parse(text, region) if found is None else Phone(found)


def beginnings(text: str, region: str) -> tuple[str, ...]:
    """How numbers in E.164 may begin when somebody types the beginning of one; none for what cannot be one.

    Without a country's code it may be that of another country (`6012`) or a national number of `region` (`012`).
    """
    digits = _NOT_DIGITS.sub("", "".join(map(_digit, text)))
    plus = text.strip().startswith(("+", "\uff0b"))
    if not plus and digits.startswith("00"):
        plus, digits = True, digits[2:]
    if not digits or len(digits) > MOST_DIGITS or (plus and digits.startswith("0")):
        return ()
    if plus:
        return (f"+{digits}",)
    home = _home(region)
    national = digits.removeprefix(home.trunk) if home else ""
    found = [f"+{home.code}{national}"] if home and national else []
    return tuple(found if digits.startswith("0") else dict.fromkeys([f"+{digits}", *found]))


def _refusal(text: str, region: str, because: str) -> InvalidInput:
    shown = text.strip()
    shown = shown if len(shown) <= 40 else f"{shown[:40]}…"
    where = f" in {country_name(region)} ({region})" if region in phonenumbers.SUPPORTED_REGIONS else ""
    return InvalidInput("phone", f"'{shown}' is not a phone number{where}: {because}")


def _digit(char: str) -> str:
    """The ASCII form of a digit, dash, space or plus of any script; nothing for invisible marks."""
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.digit(char))
    if category == "Cf":
        return ""
    if category == "Pd" or char in _DASHES:
        return "-"
    return unicodedata.normalize("NFKC", char)


def _plain(text: str, region: str) -> str:
    """Only ASCII digits, spaces, brackets, dashes and a leading plus; refuses what is not one number."""
    if _SIMPLE.fullmatch(text):
        return text
    plain = text if text.isascii() else "".join(map(_digit, text))
    plain = _ADDRESS.sub("", plain.strip().lstrip("'").strip())
    if not plain:
        raise InvalidInput("phone", "the number is missing")
    if _SCIENTIFIC.fullmatch(plain):
        raise _refusal(text, region, "a spreadsheet shortened it; format the column as text and save the file again")
    plain = _SPREADSHEET_FRACTION.sub("", plain)
    if _EXTENSION.search(plain):
        raise _refusal(text, region, "it has an extension, which WhatsApp cannot reach")
    if _SEVERAL.search(plain):
        raise _refusal(text, region, _TWO)
    if not any(c.isdigit() for c in plain):
        raise _refusal(text, region, "it has no digits")
    if not _WRITTEN.fullmatch(plain):
        raise _refusal(text, region, "it contains letters or signs that no number has")
    return plain


def _parse(text: str, region: str) -> Phone:
    """The slow and complete way."""
    plain = _plain(text, region)
    before, slash, after = plain.partition("/")
    if "/" in after or (slash and len(_NOT_DIGITS.sub("", before)) > AREA_CODE_DIGITS):
        raise _refusal(text, region, _TWO)
    digits = _NOT_DIGITS.sub("", plain)
    if len(digits) > MOST_DIGITS:
        raise _refusal(text, region, "it has too many digits for one number")
    if start := _INTERNATIONAL.match(plain):
        zeros = start.group().count("0")
        plain = "+" + digits[zeros:]
    else:
        plain = digits
    if plain.startswith("+") or region == "MX":
        plain = _OLD_MEXICAN.sub("+52", plain)
    country = _country_of(plain) if plain.startswith("+") else region
    try:
        number = phonenumbers.parse(plain, region if region in phonenumbers.SUPPORTED_REGIONS else None)
    except NumberParseException as error:
        if error.error_type == NumberParseException.INVALID_COUNTRY_CODE:
            because = "no country has that code" if plain.startswith("+") else "the country code is missing"
        elif error.error_type == NumberParseException.TOO_LONG:
            because = _REASONS[ValidationResult.TOO_LONG]
        else:
            because = _REASONS[ValidationResult.TOO_SHORT]
        raise _refusal(text, country, because) from None
    verdict = phonenumbers.is_possible_number_with_reason(number)
    if verdict != ValidationResult.IS_POSSIBLE:
        raise _refusal(text, country, _REASONS[verdict])
    found = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    if not (is_canonical(found) or _reads_the_same(found)):
        raise _refusal(text, country, "its first digits cannot begin a number there")
    return Phone(found)


def _country_of(plain: str) -> str:
    """The main country behind the code of `+…`, or '' when no country has that code."""
    return phonenumbers.region_code_for_country_code(_country_code(plain[1:4])) if len(plain) > 1 else ""


def _reads_the_same(found: str) -> bool:
    """Whether reading the result again gives the same number; two texts for one person would be two leads."""
    if not _E164.fullmatch(found):
        return False
    try:
        again = phonenumbers.parse(found, None)
    except NumberParseException:
        return False
    return phonenumbers.format_number(again, PhoneNumberFormat.E164) == found


def display(phone: Phone) -> str:
    """A number in its country's groups, for people: +60 12-345 6789."""
    return phonenumbers.format_number(phonenumbers.parse(phone, None), PhoneNumberFormat.INTERNATIONAL)


def mask(phone: Phone) -> str:
    """A number for logs: country code, two digits, and the last two; the rest is hidden: +60 12-••• ••89."""
    shown = display(phone)
    code = len(str(phonenumbers.parse(phone, None).country_code))
    places = [i for i, c in enumerate(shown) if c.isdigit()]
    hidden = set(places[code + (2 if len(places) - code > SHORT else 0) : -2])
    return "".join("•" if i in hidden else c for i, c in enumerate(shown))


def international(phone: Phone) -> str:
    """The number as people write it: `+60 12-345 6789`. What cannot be grouped stays as it is."""
    try:
        return phonenumbers.format_number(phonenumbers.parse(phone), PhoneNumberFormat.INTERNATIONAL)
    except NumberParseException:
        return phone
