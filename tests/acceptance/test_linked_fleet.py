"""Sixty linked devices through the whole proof that `make acceptance-linked` does with three thousand."""

import importlib.util
import sys

import pytest

from acceptance import linked


async def test_f24_f26_sixty_sessions_send_each_message_once_from_their_own_number_while_processes_die() -> None:
    if sys.platform != "linux" or importlib.util.find_spec("neonize") is None:
        pytest.skip("neonize has no wheel for this platform, or its key cannot be swapped here: no real client to test")
    found = await linked.run(7, linked.SMALL, lambda _: None)
    assert {figure.name: figure.value for figure in found.figures if not figure.holds} == {}, found.details["wrong"]
    assert found.details["devices"] == 60
    assert found.details["messages"] == 240
    assert found.details["traces_in_logs"] == {}
