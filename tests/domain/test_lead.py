"""Leads: niches as sets, words for status and consent, and what a text may print."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetcast.domain.identifiers import Phone
from fleetcast.domain.lead import (
    BUILT_IN_VARIABLES,
    MAX_NICHES,
    NICHE_JOINER,
    Consent,
    Lead,
    LeadStatus,
    lead_variables,
    niche_names,
    parse_consent,
    parse_niches,
    parse_status,
    parse_time_zone,
)
from fleetcast.errors import InvalidInput


def test_f27_niches_are_a_set_of_whole_names() -> None:
    assert parse_niches(" Fitness,retail ; FITNESS|Health  and   Beauty\nretail、食品，،,;") == (
        "fitness",
        "health and beauty",
        "retail",
        "食品",
    )
    assert parse_niches("x2") != parse_niches("x")
    assert niche_names(["a, b", "B"]) == ("a", "b")
    assert parse_niches(" ,; ") == ()


@given(st.text(max_size=60) | st.text("aÄİΣſ\u037e\u0345,;|\u3000 é\u0301", max_size=20))
def test_niches_written_out_and_read_again_are_the_same(text: str) -> None:
    niches = parse_niches(text)
    assert parse_niches(NICHE_JOINER.join(niches)) == niches
    assert niche_names(niches) == niches


def test_niches_have_bounds() -> None:
    with pytest.raises(InvalidInput, match="too many"):
        parse_niches(",".join(map(str, range(MAX_NICHES + 1))))
    with pytest.raises(InvalidInput, match="longer than 100"):
        parse_niches("n" * 101)


@pytest.mark.parametrize(
    ("word", "status"),
    [("prospect", "prospect"), (" Customer ", "customer"), ("PELANGGAN", "customer"), ("Interessent", "prospect")],
)
def test_a_status_is_prospect_or_customer(word: str, status: str) -> None:
    assert parse_status(word) is LeadStatus(status)


def test_f34_no_third_status_word_is_guessed() -> None:
    for word in ("all", "active", "customerx", "lead"):
        with pytest.raises(InvalidInput, match=f"'{word}' is neither prospect nor customer") as caught:
            parse_status(word)
        assert caught.value.field == "target_status"


@pytest.mark.parametrize(
    ("word", "consent"),
    [
        ("Yes", "given"),
        ("1", "given"),
        ("sí", "given"),
        ("NO", "refused"),
        ("opted-out", "refused"),
        ("unknown", "unknown"),
    ],
)
def test_consent_is_yes_or_no(word: str, consent: str) -> None:
    assert parse_consent(word) is Consent(consent)


def test_other_words_for_consent_are_refused() -> None:
    with pytest.raises(InvalidInput, match="neither yes nor no"):
        parse_consent("maybe")


def test_time_zones_are_iana_names() -> None:
    assert parse_time_zone("asia/kuala lumpur") == "Asia/Kuala_Lumpur"
    with pytest.raises(InvalidInput, match="not a known time zone"):
        parse_time_zone("+08:00")


def test_a_text_may_print_everything_that_is_known_and_no_attribute_hides_a_built_in() -> None:
    bare = lead_variables(Lead(Phone("+60123456789")))
    assert tuple(bare) == BUILT_IN_VARIABLES
    assert bare == {"name": "", "phone": "+60123456789", "niche": "", "journey": "", "target_status": "prospect"}
    full = Lead(
        Phone("+60123456789"),
        name="Anna",
        niches=("a", "b"),
        target_status=LeadStatus.CUSTOMER,
        journey="tea",
        attributes={"city": "Ipoh", "name": "not Anna"},
    )
    assert lead_variables(full) == {
        "name": "Anna",
        "phone": "+60123456789",
        "niche": "a, b",
        "journey": "tea",
        "target_status": "customer",
        "city": "Ipoh",
    }
