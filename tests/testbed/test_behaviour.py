"""Rules about messages, and what waits for a companion."""

from testbed.whatsapp_web.behaviour import WELL, Ack, Behaviour, Rule, Treatment
from testbed.whatsapp_web.mailbox import Mailbox
from testbed.whatsapp_web.nodes import Node

LOST = Treatment(delivered=False, ack=Ack.NEVER)
REFUSED = Treatment(error=463)


def test_messages_are_treated_well_unless_told_otherwise() -> None:
    assert Behaviour().treat("1", "2") == WELL


def test_a_rule_is_about_its_sender_and_recipient_only() -> None:
    behaviour = Behaviour([Rule(LOST, sender="1", recipient="2")])
    assert behaviour.treat("1", "2") == LOST
    assert behaviour.treat("1", "3") == WELL
    assert behaviour.treat("3", "2") == WELL


def test_a_rule_is_used_up() -> None:
    behaviour = Behaviour([Rule(REFUSED, times=2), Rule(LOST, recipient="2")])
    assert [behaviour.treat("1", "2") for _ in range(3)] == [REFUSED, REFUSED, LOST]
    assert behaviour.treat("1", "3") == WELL


def test_what_was_not_confirmed_waits_in_its_order() -> None:
    mailbox = Mailbox()
    message = Node("message", {"id": "A", "type": "text"})
    delivered, read = Node("receipt", {"id": "B"}), Node("receipt", {"id": "B", "type": "read"})
    for node in (message, delivered, read):
        mailbox.put(node)
    mailbox.confirm("receipt", "B", "")
    assert mailbox.waiting() == (message, read)
    mailbox.confirm("message", "A", "text")
    mailbox.confirm("receipt", "B", "read")
    mailbox.confirm("receipt", "never told", "")
    assert mailbox.waiting() == ()
