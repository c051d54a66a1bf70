"""Replies that stop, and replies that only look like it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetcast.domain.consent import (
    BASE_STOP_WORDS,
    LONGEST_CONSIDERED,
    STOP_WORDS,
    STOP_WORDS_BY_LANGUAGE,
    is_stop_word,
    normalise,
)


@pytest.mark.parametrize(
    "reply",
    [
        "STOP", "stop", " Stop! ", "S T O P", "stop.", "\u200fSTOP\u200f", "ＳＴＯＰ", "ⓢⓣⓞⓟ", "𝐒𝐓𝐎𝐏", "stop 🛑🙏🏽",
        "*STOP*", "stop all", "Opt-Out", "opt out", "UNSUBSCRIBE", "Un-subscribe", "End", "QUIT", "cancel", "Revoke",
        "BERHENTI", "batal", "BAJA", "Détener", "sair", "Arrêter", "ARRETER", "désabonner", "Stopp!", "abbestellen",
        "annulla", "AFMELDEN", "dur", "İPTAL", "IPTAL", "ıptal", "Durdur", "СТОП", "Отписаться", "ОТПИСАТЬСЯ\ufe0f",
        "توقف", "إلغاء", "الغاء",
        "تـوقف", "تَوَقَّف", "रोकें", "बंद", "退订", "取消订阅", "停止", "配信停止", "Dừng", "HỦY", "dung", "acha",
    ],
)  # fmt: skip
def test_a_whole_message_that_is_a_stop_word_stops(reply: str) -> None:
    assert is_stop_word(reply)


@pytest.mark.parametrize(
    "reply",
    ["", " ", "🛑", "?", "don't stop now", "please stop messaging me", "stop it", "nonstop", "start", "yes",
     "ok", "the end",
     "रक", "стой", "停", "دور"],
)  # fmt: skip
def test_a_word_inside_a_sentence_or_another_word_does_not_stop(reply: str) -> None:
    assert not is_stop_word(reply)


def test_a_very_long_reply_is_no_word_but_blanks_around_one_do_not_count() -> None:
    assert not is_stop_word("s" * 10_000_000)
    assert is_stop_word(" " * LONGEST_CONSIDERED + "stop" + "\n" * LONGEST_CONSIDERED)


def test_marks_that_are_part_of_a_letter_stay_outside_latin() -> None:
    assert normalise("ÀÉÎ") == "aei"
    assert normalise("рай") != normalise("раи")
    assert normalise("が") != normalise("か")


def test_the_base_list_is_what_the_law_lists_and_holds_in_every_language() -> None:
    expected = {"stop", "stopall", "unsubscribe", "end", "quit", "cancel", "revoke", "optout"}
    assert expected == BASE_STOP_WORDS
    assert BASE_STOP_WORDS < STOP_WORDS
    assert "" not in STOP_WORDS
    with pytest.raises(TypeError):
        STOP_WORDS_BY_LANGUAGE["ms"] = frozenset()  # type: ignore[index]


@settings(max_examples=60)
@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@settings(max_examples=60)
@given(
    word=st.sampled_from(sorted(STOP_WORDS)),
    noise=st.lists(st.sampled_from(list(" \n\t.,!?-*_~'\"🛑🙏\u200b\u200e\ufe0f")), max_size=6),
)
def test_decoration_around_a_stop_word_never_hides_it(word: str, noise: list[str]) -> None:
    assert is_stop_word("".join(noise) + word.upper() + "".join(reversed(noise)))
