"""Binary nodes: the tree that every stanza is. The codec is pyaileys' and stays behind this module.

Nodes here never change once made, so that one may wait in a mailbox and be sent again as it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pyaileys.wabinary import BinaryNode, decode_binary_node, encode_binary_node


@dataclass(frozen=True, slots=True)
class Node:
    """A tag, its attributes, and bytes or children."""

    tag: str
    attrs: Mapping[str, str] = field(default_factory=dict)
    content: "Sequence[Node] | bytes | None" = None

    @property
    def children(self) -> "tuple[Node, ...]":
        """Its children, none if it holds bytes."""
        return () if self.content is None or isinstance(self.content, bytes) else tuple(self.content)

    @property
    def data(self) -> bytes:
        """Its bytes, empty if it has children."""
        return self.content if isinstance(self.content, bytes) else b""

    def child(self, tag: str) -> "Node | None":
        """The first child with this tag."""
        return next(self.each(tag), None)

    def each(self, tag: str) -> "Iterator[Node]":
        """Children with this tag."""
        return (child for child in self.children if child.tag == tag)

    def need(self, tag: str) -> "Node":
        """The child that must be there. Raises Malformed."""
        found = self.child(tag)
        if found is None:
            raise Malformed(f"<{self.tag}> came without <{tag}>")
        return found

    def __getitem__(self, name: str) -> str:
        """The attribute that must be there. Raises Malformed."""
        try:
            return self.attrs[name]
        except KeyError:
            raise Malformed(f"<{self.tag}> came without {name}") from None

    def get(self, name: str) -> str:
        """The attribute, or nothing."""
        return self.attrs.get(name, "")


class Malformed(Exception):
    """The client sent what no client should: said in the server's log, and its connection ends."""


def encode(node: Node) -> bytes:
    """The node as it goes over the wire, uncompressed."""
    return encode_binary_node(_out(node))


def decode(data: bytes) -> Node:
    """The node that came over the wire. Raises Malformed."""
    try:
        return _in(decode_binary_node(data))
    except Exception as error:  # the codec has errors of its own, and those of bytes and numbers
        raise Malformed(f"{len(data)} bytes are no node: {error}") from error


def _out(node: Node) -> BinaryNode:
    content = node.content
    if content is None or isinstance(content, bytes):
        return BinaryNode(node.tag, dict(node.attrs), content)
    return BinaryNode(node.tag, dict(node.attrs), [_out(child) for child in content])


def _in(node: BinaryNode) -> Node:
    content = node.content
    if isinstance(content, list):
        return Node(node.tag, node.attrs, tuple(_in(child) for child in content))
    return Node(node.tag, node.attrs, content.encode() if isinstance(content, str) else content)
