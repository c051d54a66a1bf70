"""Which replies mean "stop": the words, and how a message is made comparable with them.

Only a whole message counts ("Stop!" does, "don't stop now" does not): a word inside a sentence is for a person to
read. Separate from what a stop does, which is one transaction in the store.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from types import MappingProxyType

LONGEST_CONSIDERED = 1000
"""Characters of a trimmed message beyond which it cannot be a single word; keeps a flood of long replies cheap."""

# U+0131 is the Turkish dotless i; its dotted capital decomposes like any accent
_LETTERS_WITHOUT_DECOMPOSITION = str.maketrans({"\u0131": "i", "đ": "d", "ł": "l", "ø": "o", "æ": "ae", "œ": "oe"})
_ARABIC_STRETCH = "\u0640"
_ARABIC_VOWEL_SIGNS = frozenset(map(chr, range(0x064B, 0x0653)))
_NEVER_OF_A_LETTER = _ARABIC_VOWEL_SIGNS | frozenset(
    map(chr, (0x034F, 0x20E3, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
)
"""Also what chooses the look of an emoji: keyboards leave it behind a word."""


def normalise(text: str) -> str:
    """The letters and digits of a text in one form: case, width, Latin accents, punctuation, emoji and blanks gone.

    Marks that are part of a letter in other scripts (Devanagari vowels, Cyrillic й, Japanese voicing) stay.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept: list[str] = []
    base: str | None = None  # the last character that was not a mark; None after a dropped one
    for character in unicodedata.normalize("NFD", folded):
        kind = unicodedata.category(character)[0]
        if kind == "M":
            if base is None or _is_latin(base) or character in _NEVER_OF_A_LETTER:
                continue
            kept.append(character)
        elif kind in "LN" and character != _ARABIC_STRETCH:
            kept.append(character)
            base = character
        elif character != _ARABIC_STRETCH:
            base = None
    return unicodedata.normalize("NFC", "".join(kept)).translate(_LETTERS_WITHOUT_DECOMPOSITION)


def _is_latin(character: str) -> bool:
    return character.isascii() or unicodedata.name(character, "").startswith("LATIN ")


def _normalised(words: Iterable[str]) -> frozenset[str]:
    return frozenset(normalise(word) for word in words)


BASE_STOP_WORDS = _normalised(
    ["stop", "stopall", "unsubscribe", "end", "quit", "cancel", "revoke", "optout", "opt out"]
)
"""What the law lists. No setting may ever take one away."""

STOP_WORDS_BY_LANGUAGE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "ms": _normalised(["berhenti", "henti", "batal"]),
        "id": _normalised(["berhenti", "henti", "batal"]),
        "es": _normalised(["baja", "parar", "alto", "cancelar", "detener"]),
        "pt": _normalised(["parar", "sair", "cancelar", "descadastrar"]),
        "fr": _normalised(["arrêt", "arrêter", "désabonner", "désinscrire"]),
        "de": _normalised(["stopp", "abmelden", "abbestellen"]),
        "it": _normalised(["annulla", "cancella", "disiscrivi"]),
        "nl": _normalised(["afmelden"]),
        "tr": _normalised(["dur", "iptal", "durdur"]),
        "ru": _normalised(["стоп", "отписаться"]),
        "ar": _normalised(["توقف", "إلغاء", "الغاء"]),
        "hi": _normalised(["रोकें", "बंद"]),
        "zh": _normalised(["退订", "停止", "取消订阅"]),
        "ja": _normalised(["停止", "配信停止"]),
        "vi": _normalised(["dừng", "hủy"]),
        "sw": _normalised(["acha"]),
    }
)
"""The defaults. All languages count for everybody: who writes "dur" wants no more, whatever the workspace speaks."""

STOP_WORDS = BASE_STOP_WORDS.union(*STOP_WORDS_BY_LANGUAGE.values())


def is_stop_word(text: str) -> bool:
    """Whether a reply, as a whole, asks for no more messages."""
    trimmed = text.strip()
    return len(trimmed) <= LONGEST_CONSIDERED and normalise(trimmed) in STOP_WORDS
