"""Headings in many words and languages, and rows of cells."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetcast.domain.lead import RESERVED_KEYS
from fleetcast.domain.lead_columns import Column, RowParser, RowRefused, attribute_key, recognise
from fleetcast.errors import InvalidInput


def _meaning(*headings: str) -> dict[str, str]:
    return {h.text: h.column.value if h.column else h.key for h in recognise(headings).columns}


_PHONES = """
    phone|Phone Number|phone_no.|Mobile|MOBILE NO|WhatsApp|whatsapp number|No. Tel|No HP|Telefon|Teléfono|Téléphone
    Celular|Handynummer|number|Número|手机号|電話番号|Телефон|رقم الهاتف|फ़ोन|Số điện thoại|เบอร์โทร|'phone| phone
"""


@pytest.mark.parametrize("heading", [h for line in _PHONES.strip().splitlines() for h in line.split("|")])
def test_the_phone_is_found_under_many_names(heading: str) -> None:
    assert recognise([heading]).columns[0].column is Column.PHONE


@pytest.mark.parametrize(
    ("heading", "column"),
    [
        ("Nombre", "name"),
        ("Full Name", "name"),
        ("Nama Penuh", "name"),
        ("Kategori", "niche"),
        ("Niches", "niche"),
        ("Status", "target_status"),
        ("additional_note", "journey"),
        ("Notes", "journey"),
        ("TimeZone", "time_zone"),
        ("Opt-in", "consent"),
    ],
)
def test_columns_with_a_meaning_are_found_by_name_and_alias(heading: str, column: str) -> None:
    assert _meaning("phone", heading)[heading] == column


def test_every_other_column_is_an_attribute() -> None:
    assert _meaning("Phone", "Date of Birth", "orderNo", "Città", "2nd visit", "ที่อยู่", "€ spent!") == {
        "Phone": "phone",
        "Date of Birth": "date_of_birth",
        "orderNo": "order_no",
        "Città": "città",
        "2nd visit": "_2nd_visit",
        "ที่อยู่": "ที่อยู่",
        "€ spent!": "spent",
    }


def test_a_plain_name_goes_before_an_alias_and_a_clear_alias_before_a_vague_one() -> None:
    assert _meaning("phone", "mobile", "number") == {"phone": "phone", "mobile": "mobile", "number": "number"}
    assert _meaning("number", "mobile") == {"number": "number", "mobile": "phone"}
    assert _meaning("phone", "status", "target_status")["status"] == "status"


@pytest.mark.parametrize(
    ("headings", "words"),
    [
        (["name", "mail"], "there is no phone column; call one 'phone' (columns found: 'name', 'mail')"),
        ([], "columns found: none"),
        (["mobile", "telephone"], "'mobile' (column 1) and 'telephone' (column 2) both look like the phone"),
        (["phone", "Phone"], "'phone' (column 1) and 'Phone' (column 2) both look like the phone"),
        (
            ["phone", "City", "c i t y", "city"],
            "'City' (column 2) and 'city' (column 4) both become the attribute city",
        ),
        (["phone", "", "x"], "column 2 has no heading"),
        (["phone", "###"], "the heading '###' (column 2) has no letters"),
        (["phone", "x" * 101], "is longer than 100 characters"),
        (["phone", *(f"c{i}" for i in range(200))], "the file has 201 columns; at most 200"),
    ],
)
def test_headings_that_cannot_be_used_are_named(headings: list[str], words: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)) as caught:
        recognise(headings)
    assert caught.value.field == "columns"


def test_empty_headings_at_the_end_and_columns_of_a_report_are_left_out() -> None:
    assert _meaning("rejected_line", "rejected_reason", "phone", "", " ") == {
        "rejected_line": "",
        "rejected_reason": "",
        "phone": "phone",
    }


@given(st.text(max_size=20) | st.text("aA1 _-ßİ²½℃ﬁ\u0301é一", max_size=12))
def test_the_key_of_a_key_is_the_key_and_a_text_can_name_it(heading: str) -> None:
    key = attribute_key(heading)
    assert attribute_key(key) == key
    assert key == "" or re.fullmatch(r"[\u0080-\uFFFFa-zA-Z_][\u0080-\uFFFFa-zA-Z0-9_-]*", key)


@given(st.lists(st.text(max_size=12).map(attribute_key), min_size=1, max_size=8, unique=True))
def test_the_headings_of_an_export_mean_the_same_when_read_again(keys: list[str]) -> None:
    keys = [k for k in keys if k and k not in RESERVED_KEYS and len(k) <= 100]
    headings = recognise([*(c.value for c in Column), *keys])
    assert [h.column for h in headings.columns[: len(Column)]] == list(Column)
    assert headings.attribute_keys == tuple(keys)


def _refusal(headings: list[str], cells: list[str]) -> RowRefused:
    with pytest.raises(RowRefused) as caught:
        RowParser(recognise(headings), "MY").parse(cells)
    return caught.value


def test_a_row_may_lack_cells_at_the_end_but_not_have_more_than_there_are_headings() -> None:
    parser = RowParser(recognise(["phone", "name", "city"]), "MY")
    lead = parser.parse([" 0123456789 "])
    assert lead is not None
    assert (lead.phone, lead.name, lead.attributes) == ("+60123456789", "", {})
    assert parser.parse(["0123456789", "a", "b", "", " "]) is not None
    assert parser.parse(["", " ", ""]) is None
    assert "put quotes around" in _refusal(["phone", "niche"], ["0123456789", "a", "b"]).problem


def test_cells_have_bounds_and_the_heading_at_fault_is_named() -> None:
    long = "x" * 10_001
    assert _refusal(["phone", "Notes"], ["0123456789", long]).field == "Notes"
    assert "at most 10,000" in _refusal(["phone", "Notes"], ["0123456789", long]).problem
    assert "at most 500" in _refusal(["phone", "Nama"], ["0123456789", "x" * 501]).problem
    assert "NUL" in _refusal(["phone", "City"], ["0123456789", "a\0b"]).problem
    many = [f"c{i}" for i in range(7)]
    assert "larger than 65,536 bytes" in _refusal(["phone", *many], ["0123456789", *["x" * 9_999] * 7]).problem
    assert "larger than 65,536 bytes" in _refusal(["phone", *many[:3]], ["0123456789", *["一" * 9_999] * 3]).problem
    refusal = _refusal(["Telefon", "Status"], ["12", ""])
    assert (refusal.field, "too short" in refusal.problem) == ("Telefon", True)


def test_s22_a_guarded_cell_is_read_without_its_guard() -> None:
    lead = RowParser(recognise(["phone", "name", "city"]), "MY").parse(["'+60123456789", "'=1+1", "''-x"])
    assert lead is not None
    assert (lead.phone, lead.name, lead.attributes) == ("+60123456789", "=1+1", {"city": "'-x"})


def _mapped(headings: list[str], mapping: dict[str, str]) -> dict[str, str]:
    return recognise(headings, mapping).fields


def test_a_mapping_goes_before_what_headings_seem_to_be() -> None:
    assert _mapped(
        ["Mobile No", "Tel", "Customer", "Internal", "City"],
        {"mobile no": "phone", " Customer": "name", "Internal": "-"},
    ) == {
        "Mobile No": "phone",
        "Tel": "tel",
        "Customer": "name",
        "Internal": "",
        "City": "city",
    }
    assert _mapped(["x", "name", "phone"], {"x": "name", "name": "old_name"})["name"] == "old_name"
    assert _mapped(["a", "b", "!!"], {"b": "phone", "a": "-", "!!": "remark_2"})["!!"] == "remark_2"


@pytest.mark.parametrize(
    ("headings", "mapping", "words"),
    [
        (["phone"], {"Fone": "name"}, "no heading 'Fone' \\(columns found: 'phone'\\)"),
        (["phone", "a", "A"], {"a ": "name", "A": "name"}, "the field name is given two headings"),
        (["phone", "Abc"], {"Abc": "name", "abc": "journey"}, "heading 'Abc' is used twice"),
        (["phone", "a", "a"], {"a": "-"}, "have the same heading"),
        (["phone", "a"], {"a": "Order No"}, "not a field; .*like 'order_no'"),
        (["phone", "a"], {"a": "!"}, "not a field"),
        (["phone", "a"], {"phone": "-"}, "no phone column"),
        (["phone", "a", "city"], {"a": "city"}, "both become the attribute city"),
    ],
)
def test_a_mapping_that_does_not_fit_is_named(headings: list[str], mapping: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        recognise(headings, mapping)
