"""Sixty linked devices through the whole proof that `make acceptance-linked` does with three thousand."""

from acceptance import linked
from tests import real_client


async def test_f24_f26_sixty_sessions_send_each_message_once_from_their_own_number_while_processes_die() -> None:
    real_client.needed()
    found = await linked.run(7, linked.SMALL, lambda _: None)
    assert {figure.name: figure.value for figure in found.figures if not figure.holds} == {}, found.details["wrong"]
    assert found.details["devices"] == 60
    assert found.details["messages"] == 240
    assert found.details["traces_in_logs"] == {}
