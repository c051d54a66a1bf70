"""Where tests with the real client library can run: wherever it has a wheel and may be brought to trust the testbed.

There a library that is missing is a failure, not a skip.
"""

import platform
import sys

import pytest


def needed() -> None:
    """Skip what needs the library where it cannot be."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("neonize has no wheel for this platform, or its key cannot be swapped here: no real client to test")
