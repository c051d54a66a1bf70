"""What other people call their files, made into labels that harm nobody. Never a path: nothing is stored under them.

Separate from media because lists of leads are uploaded too.
"""

import re
import unicodedata
from urllib.parse import unquote

LONGEST_NAME = 255
"""Bytes of a file name in UTF-8."""
_LONGEST_READ = 4_096


def label(name: str) -> str:
    """The last part of a name as a label; '' when nothing is left of it.

    Folders, control and direction characters and what some systems forbid go. See `shortened` for its length.
    """
    decoded = unicodedata.normalize("NFC", unquote(name[:_LONGEST_READ], errors="ignore"))
    last = re.split(r"[/\\]", decoded)[-1]
    visible = "".join(character for character in last if unicodedata.category(character)[0] != "C")
    return re.sub(r'[<>:"|?*]', "_", " ".join(visible.split())).strip(". ")


def shortened(text: str, most: int = LONGEST_NAME) -> str:
    """At most so many bytes of a text, no letter cut in two."""
    return text.encode()[:most].decode(errors="ignore")
