"""What a companion was told and has not confirmed. It is told again at its next login, as the real servers do.

So a client that dies with a receipt in its hands gets the receipt again.
"""

from testbed.whatsapp_web.nodes import Node

Key = tuple[str, str, str]


class Mailbox:
    """Messages and receipts for one companion, oldest first."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[Key, Node] = {}

    def put(self, node: Node) -> None:
        """Keep until confirmed."""
        self._waiting[node.tag, node.get("id"), node.get("type") if node.tag != "message" else ""] = node

    def confirm(self, tag: str, mark: str, kind: str) -> None:
        """The companion has it."""
        self._waiting.pop((tag, mark, kind if tag != "message" else ""), None)

    def waiting(self) -> tuple[Node, ...]:
        """What was not confirmed yet."""
        return tuple(self._waiting.values())
