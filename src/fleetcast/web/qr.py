"""QR codes as pictures within a page: black on white with their quiet zone, in the dark theme too, or no camera reads
them.
"""

import segno
from markupsafe import Markup

QUIET_ZONE = 4
"""Modules of white around a code, as the standard wants."""


def picture(text: str, label: str) -> Markup:
    """An SVG that says `text` to a camera and `label` to who cannot see it."""
    drawn = segno.make(text, micro=False).svg_inline(
        border=QUIET_ZONE, dark="#000", light="#fff", omitsize=True, svgclass=None, lineclass=None
    )
    inside = Markup(drawn.removeprefix("<svg"))  # noqa: S704 - numbers and colours; what it says is in its shape alone
    return Markup('<svg role="img" aria-label="{}" shape-rendering="crispEdges"{}').format(label, inside)
