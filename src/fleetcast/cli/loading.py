"""The time in which a process loads: what is made then stays, so garbage is not looked for among it.

Looking through it over and over took a quarter of the dashboard's start and a tenth of a sender's. Apart from
`session`, which itself takes long to load.
"""

import gc

_MEANWHILE = 250_000
"""Containers made before garbage is looked for among them; the dashboard, the largest, loads 200,000."""
_usual = gc.get_threshold()


def begin() -> None:
    """For the process of a command, as the first that it does."""
    gc.set_threshold(_MEANWHILE)


def end() -> None:
    """The work begins: garbage is looked for as ever, in what is made from now on. Nothing unless it began here."""
    if gc.get_threshold()[0] == _MEANWHILE:
        gc.freeze()
        gc.set_threshold(*_usual)
