"""When a message that was certainly not sent is tried again.

The answer is a time for the row's `not_before`: nothing ever sleeps on behalf of a retry, and the count of attempts
lives in the row, so that neither a restart nor a slow device changes the rule.
"""

import math
from random import Random

from fleetcast.domain.message import MAX_ATTEMPTS

DELAYS = (60.0, 300.0, 900.0)
"""Seconds after the first, second and third attempt."""
JITTER = 0.2
LONGEST_WAIT = 86_400.0
"""Seconds; a provider that asks for more is heard up to here."""


def next_attempt(attempts: int, retry_after: float | None, random: Random) -> float | None:
    """Seconds until the next attempt after `attempts` (1 or more) were made, or None when there is none.

    `retry_after` is what the provider asked for, in seconds; it only ever makes the wait longer.
    """
    if attempts < 1:
        raise ValueError("a retry follows an attempt")
    if attempts >= MAX_ATTEMPTS:
        return None
    wait = DELAYS[attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    if retry_after is not None and not math.isnan(retry_after):
        wait = max(wait, min(retry_after, LONGEST_WAIT))
    return wait
