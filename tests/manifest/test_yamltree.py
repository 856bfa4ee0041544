"""YAML becomes nodes with places; whatever is wrong becomes problems in plain words."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.bounds import USUAL
from runner.errors import ManifestError, Problem
from runner.model import JSON
from runner.yamltree import Node, parse, scalar


def plain(text: str) -> JSON:
    """The document without places."""
    return parse(text.encode(), file="m.yaml").require().plain()


def at(node: Node, *path: str | int) -> Node:
    """The node at a path of keys and positions."""
    for step in path:
        assert not isinstance(node.value, str | int | float | bool | None)
        node = node.value[step]  # type: ignore[index]  # a path in a test says which kind it walks through
    return node


def problems(data: str | bytes) -> tuple[Problem, ...]:
    """What is wrong with a document."""
    return parse(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data, file="m.yaml").problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9x16", "9x16"),
        ("yes", "yes"),
        ("on", "on"),
        ("No", "No"),
        ("1_000", "1_000"),
        ("007", "007"),
        ("00", "00"),
        ("-01", "-01"),
        ("0", 0),
        ("-0", 0),
        ("+12", 12),
        ("0x10", 16),
        ("0o17", 15),
        ("0b1", "0b1"),
        ("1e3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        (".", "."),
        ("-", "-"),
        ("1.2.3", "1.2.3"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T10:00:00Z", "2024-01-01T10:00:00Z"),
        ("~", None),
        ("null", None),
        ("", None),
        ("True", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("=", "="),
        ("9223372036854775807", 9223372036854775807),
        ("-9223372036854775808", -9223372036854775808),
    ],
)
def test_scalars(text: str, value: object) -> None:
    """Only what YAML 1.2 calls a number, switch or null is one, and nothing is lost on the way."""
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999", "9223372036854775808", "9" * 5000, "0x" + "f" * 5000])
def test_numbers_that_json_cannot_carry(text: str) -> None:
    """Infinity, not-a-number and numbers beyond 64 bits are problems, not values."""
    found = problems(f"a: {text}")
    assert [(str(one.mark), one.code) for one in found] == [("m.yaml:1:4", "number")]
    assert "quotes" in found[0].hint


def test_values_have_places() -> None:
    """Every node knows its own line and column and those of its key, counted from 1."""
    root = parse(b"a:\n  - x\n  - {b: 'c'}\n", file="m.yaml").require()
    assert str(at(root, "a", 0).mark) == "m.yaml:2:5"
    deep = at(root, "a", 1, "b")
    assert str(deep.mark) == "m.yaml:3:9"
    assert str(deep.key_mark) == "m.yaml:3:6"
    assert deep.mark.text == "'c'"


@pytest.mark.parametrize(
    ("text", "path", "place"),
    [
        ("a:\nb: 1\n", ("a",), "1:3"),
        ("a: # why\n# more\nb: 1\n", ("a",), "1:3"),
        ("a:\n\n\n", ("a",), "1:3"),
        ("x:\n  - \n  - b\n", ("x", 0), "2:4"),
        ("{a: , b}", ("a",), "1:4"),
        ("{a: , b}", ("b",), "1:8"),
        ("? a\n: \n", ("a",), "2:2"),
    ],
)
def test_where_nothing_stands(text: str, path: tuple[str | int, ...], place: str) -> None:
    """A value that was left out stands behind the colon or dash that announces it, not somewhere below."""
    assert str(at(parse(text.encode(), file="m.yaml").require(), *path).mark) == f"m.yaml:{place}"


def test_columns_count_characters() -> None:
    """Characters outside the basic plane, wide and combining ones count one column each."""
    root = parse("😀é: {ü𝄞: x}\n".encode(), file="m.yaml").require()
    assert str(at(root, "😀é", "ü𝄞").mark) == "m.yaml:1:10"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends(newline: str) -> None:
    """LF, CR LF and CR end a line, as in editors; a text's line breaks are LF whatever the file has."""
    root = parse(newline.join(["a: |", "  one", "  two", "b: 1", ""]).encode(), file="m.yaml").require()
    assert str(at(root, "b").mark) == "m.yaml:4:4"
    assert at(root, "a").value == "one\ntwo\n"


def test_line_separators_do_not_count_as_lines() -> None:
    """U+2028 and U+0085 inside text do not shift the lines below."""
    root = parse('a: "x\u2028y\x85z"\nb: 1\n'.encode(), file="m.yaml").require()
    assert str(at(root, "b").mark) == "m.yaml:2:4"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: |\n  x\n", "2:3"),
        ("a: >-\n    x\n", "2:5"),
        ("a: |2\n    x\n  y\n", "2:3"),
        ("a: |\n\n   x\n", "2:1"),
        ("a: | # why\n  x\n", "2:3"),
        ("a: &n !!str |\n  x\n", "2:3"),
        ("a: 'x'", "1:5"),
        ('a: "x"', "1:5"),
        ('a: &n "x"', "1:8"),
    ],
)
def test_where_text_begins(text: str, place: str) -> None:
    """A text's content begins behind the quote, or on the line below | and >."""
    node = at(parse(text.encode(), file="m.yaml").require(), "a")
    assert node.content is not None
    assert str(node.content) == f"m.yaml:{place}"


def test_plain_text_begins_at_its_mark() -> None:
    """Unquoted text needs no second place; an anchor before it is not part of it."""
    node = at(parse(b"a: &n  x y\n", file="m.yaml").require(), "a")
    assert node.content is None
    assert str(node.mark) == "m.yaml:1:8"
    assert node.mark.text == "x y"


def test_anchors_and_merge_keys() -> None:
    """An alias repeats a value; << gives what a mapping does not say itself, the first source winning."""
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 0}\nd: *a\ne: {<<: *b}\n"
    assert plain(text) == {
        "a": {"x": 1, "y": 1},
        "b": {"y": 2, "z": 2},
        "c": {"x": 0, "y": 1, "z": 2},
        "d": {"x": 1, "y": 1},
        "e": {"y": 2, "z": 2},
    }


def test_an_aliased_value_keeps_its_place() -> None:
    """An error in a repeated value is shown where the value is written; its key is where it is used."""
    node = at(parse(b"a: &a wrong\nb: *a\n", file="m.yaml").require(), "b")
    assert str(node.mark) == "m.yaml:1:7"
    assert str(node.key_mark) == "m.yaml:2:1"


def test_a_quoted_merge_key_is_text() -> None:
    """Only a bare << merges."""
    assert plain('a: {"<<": 1}') == {"a": {"<<": 1}}


def test_a_byte_order_mark_is_accepted() -> None:
    """A BOM is not part of the text and takes no column."""
    root = parse(b"\xef\xbb\xbfa: 1\n", file="m.yaml").require()
    assert str(at(root, "a").key_mark) == "m.yaml:1:1"


def test_surrogate_pairs_are_one_character() -> None:
    """JSON's way of writing a character as two escapes is understood."""
    assert plain('a: "\\ud83d\\ude00"') == {"a": "😀"}


SYNTAX = [
    ("a: [1, 2", "1:9", "not closed", "]"),
    ("a: [1, 2\nb: 3", "2:2", "not closed", "]"),
    ("{a: 1", "1:6", "not closed", "}"),
    ("a: b: c", "1:5", "':'", "quotes"),
    ("a: 1\n b: 2", "2:3", "':'", "align"),
    ("\ta: 1", "1:1", "tab", "spaces"),
    ("a:\n\tb: 1", "2:1", "tab", "spaces"),
    ("- a\nb: 1", "2:1", "line up", "column"),
    ("a: 'x", "1:4", "never closed", "close it"),
    ('a: "x\nb: 1', "1:4", "never closed", "close it"),
    ('a: "\\q"', "1:6", "escape", "single quotes"),
    ('a: "\\x0"', "1:7", "wrong digits", "single quotes"),
    ('a: "\\U00110000"', "1:5", "no character", "itself"),
    ('a: "\\ud800"', "1:4", "half a character", "itself"),
    ('a: "\\0"', "1:4", "U+0000", "remove it"),
    ('a: "\\e[31m"', "1:4", "U+001B", "remove it"),
    ("a: @x", "1:4", "cannot begin with @", "quotes"),
    ("a: `x`", "1:4", "cannot begin with `", "quotes"),
    ("a: %x", "1:4", "cannot begin with %", "quotes"),
    ("a: *", "1:5", "anchor's name", "quotes"),
    ("a: &", "1:5", "a name", "quotes"),
    ("a: *nope", "1:4", "no anchor &nope", "&nope"),
    ("a: &a [*a]", "1:8", "inside itself", "above"),
    ("a: - b", "1:4", "'- '", "line of its own"),
    ("a: 1\nb", "2:1", "no ':'", "key: value"),
    ("a: |3x\n b", "1:6", "after | or >", "next line"),
    ("a: }", "1:4", "missing before", "quote"),
    ("a: {{ x }}", "1:4", "not as a template", "quotes"),
    ("a: x\nb: {{ x }} y", "2:12", "line up", "quotes"),
    ("- {% if x %}", "1:4", "cannot begin with %", "template"),
    ("a: !foo b", "1:4", "tag !foo", "remove"),
    ("a: !!python/object:os.system x", "1:4", "!!python/object", "remove"),
    ("a: !!binary aGk=", "1:4", "!!binary", "remove"),
    ("a: !!set {x}", "1:4", "!!set", "remove"),
    ("a: !<tag:evil> x", "1:4", "tag:evil", "remove"),
    ("a: !!int x", "1:10", "does not fit", "remove"),
    ("a: 1\n? [b]\n: 2", "2:3", "cannot be a key", "text"),
    ("1: 2", "1:1", "key 1 is not text", '"1"'),
    ("true: 2", "1:1", "key true is not text", '"true"'),
    ("~: 2", "1:1", "key ~ is not text", '"~"'),
    (": 2", "1:1", "key is missing", "key: value"),
    ("a: 1\n: 2", "2:1", "key is missing", "key: value"),
    ("a: 1\nb: 2\na: 3", "3:1", "'a' stands twice; first in line 1, column 1", "rename"),
    ("{a: 1, 'a': 2}", "1:8", "'a' stands twice", "rename"),
    ("a: {<<: 3}", "1:9", "<< takes a mapping", "<<: *name"),
    ("a: &x {}\nb: {<<: *x, <<: *x}", "2:13", "'<<' stands twice", "remove"),
    ("--- a\n--- b", "2:1", "second document", "---"),
    ("a: 1\n...\nb: 2", "3:1", "second document", "one document"),
    ("", "1:1", "empty", "write"),
    ("# nothing\n", "1:1", "empty", "write"),
    ("%YAML 3.0\n---\na: 1", "1:1", "version", "%YAML"),
    ("a: \x01", "1:4", "U+0001", "remove"),
    ("a: b\n\x00", "2:1", "U+0000", "remove"),
    ("é😀: \x7f", "1:5", "U+007F", "remove"),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), SYNTAX)
def test_faults_of_syntax(text: str, place: str, message: str, hint: str) -> None:
    """Every fault is told at its place, in plain words, with what to do."""
    found = problems(text)[-1]
    assert str(found.mark) == f"m.yaml:{place}"
    assert message in found.message
    assert hint in found.hint
    words = f"{found.message} {found.hint}"
    assert not any(jargon in words for jargon in ("token", "scalar", "flow", "while ", "block", "simple key", "Error"))


@pytest.mark.parametrize(
    ("data", "place"),
    [(b"a: \xff", "1:4"), (b"\xef\xbb\xbfa: \xff", "1:4"), ("é: x\nü: ".encode() + b"\xc3", "2:4"), (b"\xed\xa0\x80", "1:1")],
)
def test_bytes_that_are_not_utf8(data: bytes, place: str) -> None:
    """The first bad byte is told by line and column."""
    (found,) = problems(data)
    assert (str(found.mark), found.code) == (f"m.yaml:{place}", "encoding")
    assert "save the file as UTF-8" in found.hint


def test_utf16_is_named() -> None:
    """A file saved as UTF-16 is recognised as such."""
    (found,) = problems("a: 1".encode("utf-16"))
    assert "UTF-16" in found.message


def test_many_faults_at_once() -> None:
    """What does not stop the reading is collected."""
    found = problems("1: a\nb: .inf\nb: 2\nc: !x y\nd: *e\n")
    assert [one.mark.line for one in found] == [1, 2, 3, 4, 5]


def test_an_unquoted_template_counts_as_text() -> None:
    """Apart from the one complaint, reading goes on as if the quotes were there."""
    parsed = parse(b"a: {{ vars.x }}\n", file="m.yaml")
    assert parsed.root is not None
    assert parsed.root.plain() == {"a": "{{ vars.x }}"}
    assert len(parsed.problems) == 1


def laughs(levels: int) -> str:
    """Ten times ten times ten ... aliases."""
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(rows)


def merges(levels: int) -> str:
    """Merge keys that merge merges."""
    rows = ["m0: &m0 {k0: 1}"]
    rows += [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 20)}], k{n}: 1}}" for n in range(1, levels)]
    return "\n".join(rows)


HOSTILE = {
    "billion laughs": (laughs(12), "values, aliases counted"),
    "merge bomb": (merges(30), "values, aliases counted"),
    "alias chain": ("\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 200))]), "nested deeper"),
    "deep lists": ("[" * 10_000, "nested deeper"),
    "deep mappings": ("{a: " * 10_000, "nested deeper"),
    "deep block lists": ("- " * 10_000, "nested deeper"),
    "deep keys": ("? " * 10_000, "nested deeper"),
    "deep blocks": ("\n".join(" " * n + "a:" for n in range(300)), "nested deeper"),
    "deep and closed": ("[" * 1000 + "]" * 1000, "nested deeper"),
    "huge number": ("a: " + "9" * 100_000, "too large"),
    "many anchors": ("&a " * 10_000, "ends before"),
    "many documents": ("---\n" * 10_000, "second document"),
    "long tag": ("!" * 50_000 + " x", "not supported"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents(name: str) -> None:
    """Documents made to exhaust a reader are refused quickly, with a short message."""
    text, message = HOSTILE[name]
    began = time.process_time()
    found = problems(text)
    assert time.process_time() - began < 5
    assert any(message in one.message for one in found)
    assert all(len(one.message) < 200 and len(one.mark.text) <= 80 for one in found)


def test_a_file_that_is_too_large() -> None:
    """Eleven megabytes are refused before anything is read from them."""
    (found,) = problems(b"a" * (USUAL.manifest_bytes + 1))
    assert found.code == "size"
    assert "10 MB" in found.message


def test_just_below_the_caps() -> None:
    """A large, honest document passes."""
    rows = "".join(f"- {{key: p{n}, price: {n}}}\n" for n in range(3000))
    assert isinstance(plain(rows), list)
    assert plain("[" * 63 + "]" * 63) is not None


def test_require_raises_everything() -> None:
    """``require`` gives the tree or raises all problems together."""
    with pytest.raises(ManifestError) as caught:
        parse(b"1: a\n2: b\n", file="m.yaml").require()
    assert len(caught.value.problems) == 2


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_random_bytes_never_raise(data: bytes) -> None:
    """Whatever the bytes, there is a tree or a problem."""
    parsed = parse(data, file="m.yaml")
    assert parsed.root is not None or parsed.problems


@given(st.text(alphabet="ab:-?[]{}&*!|>'\"%@`#,\n\t \\<~0.e😀\u2028\x85", max_size=60))
@settings(max_examples=400, deadline=None)
def test_random_punctuation_never_raises(text: str) -> None:
    """Text made of YAML's own signs gives a tree or a problem, whose place lies within the text."""
    parsed = parse(text.encode(), file="m.yaml")
    assert parsed.root is not None or parsed.problems
    lines = text.replace("\r", "\n").split("\n")
    for one in parsed.problems:
        assert 1 <= one.mark.line <= len(lines)
        assert 1 <= one.mark.column <= len(lines[one.mark.line - 1]) + 1


JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("aé😀 :-#{}", max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc:- é", max_size=5), inner, max_size=4),
    max_leaves=15,
)


@given(JSONS)
@settings(max_examples=150, deadline=None)
def test_json_is_yaml(document: JSON) -> None:
    """Every JSON document reads as itself."""
    import json

    assert plain(json.dumps(document)) == document
