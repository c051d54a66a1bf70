"""The guard against cells that a spreadsheet would run, and its way back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetcast.domain.formulas import guarded, unguarded

_TRICKY = st.text("'=+-@\t\r\n\uff1d\uff0b\uff0d\uff20a1,;", max_size=8) | st.text(max_size=8)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_s22_a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe(start: str) -> None:
    assert guarded(f"{start}HYPERLINK(1)") == f"'{start}HYPERLINK(1)"


@pytest.mark.parametrize("text", ["", "Anna", "a=1", "'quoted'", "'", "it's -1"])
def test_other_cells_stay_as_they_are_both_ways(text: str) -> None:
    assert guarded(text) == text
    assert unguarded(text) == text


@given(_TRICKY)
def test_s22_taking_the_guard_off_gives_back_every_text(text: str) -> None:
    assert unguarded(guarded(text)) == text
    assert guarded(text)[:1] not in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
