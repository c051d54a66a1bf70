"""The leads of the demo: always the same bytes, and exactly as good and as bad as they say."""

import csv
from collections import Counter

import phonenumbers

from tools.make_example_leads import HEADER, LEADS, NICHES, PATH, UNREADABLE, content


def rows() -> list[dict[str, str]]:
    with PATH.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number(row: dict[str, str]) -> str | None:
    try:
        parsed = phonenumbers.parse(row["phone"], "MY")
    except phonenumbers.NumberParseException:
        return None
    valid = phonenumbers.is_valid_number(parsed)
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) if valid else None


def test_the_shipped_file_is_what_the_generator_writes() -> None:
    assert PATH.read_bytes() == content().encode("utf-8")


def test_every_lead_has_a_number_of_its_own_and_five_rows_have_none() -> None:
    numbers = [number(row) for row in rows()]
    readable = [n for n in numbers if n is not None]
    assert len(readable) == len(set(readable)) == LEADS
    assert numbers.count(None) == len(UNREADABLE) == 5
    assert numbers.index(None) > 4_500, "the bad rows come late, so that progress is seen before them"


def test_the_rows_show_what_real_files_look_like() -> None:
    found = rows()
    assert tuple(found[0]) == HEADER
    niches = Counter(n.strip() for row in found for n in row["niche"].split(","))
    assert set(niches) == set(NICHES)
    assert min(niches.values()) > 500
    assert sum("," in row["niche"] for row in found) > 100
    assert sum(row["phone"].startswith("01") and " " in row["phone"] for row in found) > 100
    assert {row["target_status"] for row in found} == {"prospect", "customer"}
    assert any('"' in row["additional_note"] for row in found)
    assert any(not row["name"].isascii() for row in found)
