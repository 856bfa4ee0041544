"""A fault inside a text is shown where an editor shows it, however YAML writes the text."""

from collections.abc import Mapping

import pytest

from runner.errors import Mark, TemplateError
from runner.templates import Record, Templates
from runner.yamltree import Node, parse


def content(text: str) -> tuple[str, Mark]:
    """The text below ``a``, and where it begins."""
    root = parse(text.encode(), file="m.yaml").require()
    assert isinstance(root.value, Mapping)
    node: Node = root.value["a"]
    assert isinstance(node.value, str)
    return node.value, node.content or node.mark


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: XX", "1:4"),
        ("a: 'é 🎬 XX'", "1:9"),
        ('a: "one\\n\\ntwo \\u00e9 XX"', "1:23"),
        ('a: "one \\x41\\\n  \\U0001F3AC two XX"', "2:18"),
        ("a: 'it''s\n\n  two XX'", "3:7"),
        ("a: one\n   two\n\n   three XX yes", "4:10"),
        ("a: |\n    one\n\n      two XX", "4:11"),
        ("a: |2-\n    one\n  two XX", "3:7"),
        ("a: >-\n  one\n  two\n\n    kept\n  three XX", "6:9"),
        ("a: &n >\n\n\n  one\n  XX\n", "5:3"),
        ("b: &x\r\na: >\r\n  one\r\n  two XX\r\n", "4:7"),
    ],
)
def test_every_way_of_writing_a_text(text: str, place: str) -> None:
    """The place within the text that YAML gives is a place in the file."""
    value, mark = content(text)
    before = value[: value.index("XX")]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    assert str(mark.within(line, column)) == f"m.yaml:{place}"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 'x {{ product.title }} {{ product.titel }}'", "1:30"),
        ("a: '{{ product.titel }}'", "1:8"),
        ("a: |\n  one\n  é {{ product['titel'] }}", "3:8"),
        ("a: >\n  one\n  {{ product.title }} and\n  {{ product.titel }}", "4:6"),
        ("a: >\n  one\n  {{ product.title | nosuch }}", "3:22"),
    ],
)
def test_faults_of_templates(text: str, place: str) -> None:
    """A field or filter that does not exist is shown itself, not the beginning of the text around it."""
    value, mark = content(text)
    with pytest.raises(TemplateError) as caught:
        Templates().compile(value, mark=mark).value({"product": Record({"title": "Mug"}, "product")})
    error = caught.value
    assert error.mark is not None
    assert str(error.mark.within(error.line, error.column)) == f"m.yaml:{place}"
