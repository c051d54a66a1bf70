"""Telephone numbers: many ways to write one, one way to store it, and plain words for what is none."""

import phonenumbers
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat

from fleetcast.domain import phone as module
from fleetcast.domain.identifiers import Phone
from fleetcast.domain.phone import country_name, display, is_canonical, mask, parse_phone
from fleetcast.errors import InvalidInput

ANNA = "+60123456789"


@pytest.mark.parametrize(
    "text",
    [
        "+60123456789",
        "0123456789",
        "60123456789",
        "123456789",  # a spreadsheet ate the zero
        "012-345 6789",
        "(012) 345.6789",
        "[012] 345–6789",
        "+60 (0)12 345 6789",
        "(+60) 12 345 6789",
        "0060123456789",
        "00 60 12 345 6789",
        "+0060123456789",
        "+60 12\u20113456789",
        "０１２３４５６７８９",
        "＋６０１２３４５６７８９",
        "٠١٢٣٤٥٦٧٨٩",
        "۰۱۲۳۴۵۶۷۸۹",
        "\u202a+60 12-345 6789\u202c",
        "\u00a0012\u00a0345\u00a06789\u200b",
        "'+60123456789",
        "60123456789.0",
        "60123456789,00",
        "tel:+60123456789",
        "whatsapp: +60 123456789",
        "https://wa.me/60123456789",
        "60123456789@s.whatsapp.net",
    ],
)
def test_one_person_is_one_text_however_it_is_written(text: str) -> None:
    assert parse_phone(text, "MY") == ANNA


@pytest.mark.parametrize(
    ("text", "region", "stored"),
    [
        ("030/1234567", "DE", "+49301234567"),
        ("+49 30/1234567", "MY", "+49301234567"),
        ("0060123456789", "SG", "+60123456789"),  # 00 is not how Singapore dials abroad, but how people write
        ("(415) 555-2671", "US", "+14155552671"),
        ("1-415-555-2671", "US", "+14155552671"),
        ("06 12345678", "IT", "+390612345678"),  # an Italian zero is part of the number
        ("+5215512345678", "MX", "+525512345678"),
        ("5215512345678", "MX", "+525512345678"),
        ("+49 5211234567890", "MX", "+495211234567890"),
        ("011 15 1234 5678", "AR", "+5491112345678"),
        ("+60112345678901", "MY", None),
    ],
)
def test_countries_have_their_ways(text: str, region: str, stored: str | None) -> None:
    if stored is None:
        with pytest.raises(InvalidInput):
            parse_phone(text, region)
    else:
        assert parse_phone(text, region) == stored


@pytest.mark.parametrize("text", ["+60 3-9999 9999", "0199999999", "+1 999 555 0000", "+44 7000 000000"])
def test_a_range_that_no_table_knows_is_no_reason_to_refuse(text: str) -> None:
    stored = parse_phone(text, "MY")
    assert stored.startswith("+")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0123", "'0123' is not a phone number in Malaysia (MY): it is too short"),
        ("+60123456789012", "it has too many digits"),
        ("", "the number is missing"),
        ("  ", "the number is missing"),
        ("n/a", "it has no digits"),
        ("+", "it has no digits"),
        ("call 0123456789", "letters or signs"),
        ("1-800-FLOWERS", "letters or signs"),
        ("++60123456789", "letters or signs"),
        ("0123456789 ext 12", "it has an extension"),
        ("0123456789 x12", "it has an extension"),
        ("0123456789x12", "it has an extension"),
        ("+60123456789;ext=12", "it has an extension"),
        ("0123456789 # 12", "it has an extension"),
        ("0123456789, 0198765432", "more than one number"),
        ("0123456789 or 0198765432", "more than one number"),
        ("0123456789/0198765432", "more than one number"),
        ("011-5550 1610 / 1611", "more than one number"),
        ("0123456789\n0198765432", "more than one number"),
        ("+60123456789+60198765432", "more than one number"),
        ("0123456789 0198765432", "too many digits for one number"),
        ("6.0123E+10", "a spreadsheet shortened it"),
        ("6,0123e10", "a spreadsheet shortened it"),
        ("+999123456789", "no country has that code"),
        ("+0123456789", "no country has that code"),
        ("+600012345678", "its first digits cannot begin a number there"),
        ("9" * 300, "too many digits"),
        ("0" * 12, "not a phone number"),
    ],
)
def test_what_cannot_be_one_number_is_refused_in_plain_words(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_phone(text, "MY")
    assert caught.value.field == "phone"
    assert words in caught.value.problem
    assert len(caught.value.problem) < 160


def test_without_a_known_country_a_number_needs_its_code() -> None:
    assert parse_phone(ANNA, "XX") == ANNA
    with pytest.raises(InvalidInput, match="the country code is missing"):
        parse_phone("0123456789", "XX")
    with pytest.raises(InvalidInput, match="the area code is missing"):
        parse_phone("5552671", "US")


def test_a_refusal_names_the_country_of_the_code_that_was_written() -> None:
    with pytest.raises(InvalidInput, match=r"in Germany \(DE\): it is too short"):
        parse_phone("+49 1", "MY")
    assert country_name("DE") == "Germany"


def test_people_see_groups_and_logs_see_little() -> None:
    assert display(Phone(ANNA)) == "+60 12-345 6789"
    assert mask(Phone(ANNA)) == "+60 12-••• ••89"
    assert mask(Phone("+14155552671")) == "+1 41•-•••-••71"
    assert mask(Phone("+29022222")) == "+290 •••22"


_REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
_CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)


@st.composite
def _with_codes(draw: st.DrawFn) -> str:
    """Texts in the form of E.164: a country code that exists, mostly a possible length."""
    code = draw(st.sampled_from(_CODES))
    plan = module._numbering_plan(code)
    lengths = sorted(plan[0]) if plan else [9]
    length = draw(st.sampled_from(lengths) if draw(st.integers(0, 9)) else st.integers(3, 13))
    return f"+{code}{draw(st.text('0123456789', min_size=length, max_size=length))}"


@given(_with_codes())
def test_the_fast_path_lets_through_only_what_the_slow_path_returns_unchanged(text: str) -> None:
    assume(is_canonical(text))
    assert module._parse(text, "MY") == text
    assert phonenumbers.format_number(phonenumbers.parse(text, None), PhoneNumberFormat.E164) == text


@st.composite
def _plain_forms(draw: st.DrawFn) -> tuple[str, str]:
    """Digits as people of a country write them: with and without trunk prefix, country code, `00` and spaces."""
    region = draw(st.sampled_from(_REGIONS))
    home = module._home(region)
    assert home is not None
    length = draw(st.sampled_from(sorted(home.lengths)) | st.integers(3, 13))
    national = draw(st.text("0123456789", min_size=length, max_size=length))
    example = phonenumbers.example_number(region)
    if example is not None and draw(st.booleans()):
        begin = phonenumbers.national_significant_number(example)
        kept = draw(st.integers(1, len(begin)))
        national = begin[:kept] + national[kept:]
    start = draw(st.sampled_from(["", "", home.trunk, "0", "00", "+", home.code, "00" + home.code, "+" + home.code]))
    at = draw(st.integers(1, 4))
    return f"{start}{national[:at]}{draw(st.sampled_from(['', ' ', '-', ') ']))}{national[at:]}", region


@settings(max_examples=1_000)
@given(_plain_forms())
def test_the_quick_way_never_disagrees_with_the_slow_one(form: tuple[str, str]) -> None:
    text, region = form
    quick = module._quick(text, region)
    assert quick is None or quick == module._parse(text, region)


def test_the_quick_way_takes_the_common_forms() -> None:
    for text in ("0123456789", "012-345 6789", "60123456789", "123456789", "+60 12-345 6789", "0060123456789"):
        assert module._quick(text, "MY") == ANNA


def _read(text: str, region: str) -> Phone | None:
    try:
        return parse_phone(text, region)
    except InvalidInput:
        return None


@given(_with_codes(), st.sampled_from(_REGIONS))
def test_what_was_read_reads_as_itself_everywhere(text: str, region: str) -> None:
    stored = _read(text, region)
    assume(stored is not None)
    assert stored is not None
    for anywhere in ("MY", "US", "IT", "XX"):
        assert parse_phone(stored, anywhere) == stored
        assert module._parse(stored, anywhere) == stored
    assert display(stored).startswith("+")
    assert "•" in mask(stored)


@given(st.sampled_from(_REGIONS))
def test_every_countrys_example_number_is_accepted_and_its_common_forms_agree(region: str) -> None:
    number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    assume(number is not None)
    assert number is not None
    stored = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    for form in (PhoneNumberFormat.E164, PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.NATIONAL):
        assert parse_phone(phonenumbers.format_number(number, form), region) == stored


@given(st.text(max_size=40) | st.text("0123456789+()-./ xeE,;\n", max_size=40), st.sampled_from(_REGIONS))
def test_any_text_is_a_number_or_a_refusal(text: str, region: str) -> None:
    stored = _read(text, region)
    assert stored is None or module._E164.fullmatch(stored)
