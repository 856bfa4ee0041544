"""YAML text as a tree of values that know where they stand.

Owns the reading of YAML 1.2 (core schema): every node has line and column, every fault is a ``Problem`` in plain words, and as
many faults as possible come at once. Works from the parser's events, without recursion, so that hostile text costs bounded time
and memory. May never construct an object for a tag, expand an alias bomb, or let an error of the YAML library escape.

Scalars: ``true``/``false``, ``null``/``~``, whole numbers (also ``0x10``, ``0o17``) and decimal numbers (``1e3``) are what they look
like. Everything else stays text: ``yes``, ``on``, ``9x16``, ``1_000``, dates, and numbers with leading zeros (article numbers lose nothing).
"""

from runner.yamltree.page import decode
from runner.yamltree.scalars import Scalar, scalar
from runner.yamltree.tree import Node, Parsed, parse

__all__ = ["Node", "Parsed", "Scalar", "decode", "parse", "scalar"]
