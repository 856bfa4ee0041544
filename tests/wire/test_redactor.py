"""The redactor: secrets are found in every form they are written in, and ordinary text is left alone."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.model import JSON
from runner.settings import HIDDEN, Redactor

SECRET = 'p4ss+/=wörd&"x\\y'
REDACTOR = Redactor([SECRET, "short", "123456789012", ""])


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"before {SECRET} after {SECRET}",
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower(),
        urlencode({"q": SECRET}),
        json.dumps({"q": SECRET}),
        json.dumps([SECRET]),
    ],
)
def test_a_value_is_hidden_in_every_writing(text: str) -> None:
    """Plain, percent-encoded and JSON-escaped values disappear."""
    cleaned = REDACTOR.text(text)
    assert HIDDEN in cleaned
    assert "p4ss" not in cleaned


@pytest.mark.parametrize("before", ["", "u:", "ab:", "abc:", "abcd:"])
@pytest.mark.parametrize("after", ["", "1", "22", "333"])
def test_a_value_inside_base64_is_hidden(before: str, after: str) -> None:
    """At any offset, what the secret decides of the base64 text disappears."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(f"{before}{SECRET}{after}".encode()).decode()
        assert HIDDEN in REDACTOR.text(f"x {text} y")


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=8, max_size=40), st.text(max_size=20))
@settings(max_examples=60, deadline=None)
def test_no_secret_survives(secret: str, around: str) -> None:
    """Whatever the secret and the text around it: the value does not stay."""
    redactor = Redactor([secret])
    if secret not in around + HIDDEN + around:
        cleaned = redactor.text(f"{around} {secret} {around}")
        assert secret not in cleaned.replace(HIDDEN, "")


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("Authorization: Bearer abcdefghijk", "abcdefghijk"),
        ("authorization=Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("Bearer abc123def456", "abc123def456"),
        ('{"x-api-key": "abc def"}', "abc def"),
        ("{'client_secret': 'abc'}", "abc"),
        ('"{\\"password\\": \\"abc\\"}"', "abc"),
        ("api_key=abc&x=1", "abc"),
        ("Set-Cookie: a=b; c=deep", "deep"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln", "eyJ"),
        ("https://user:word@host/x", "word"),
        ("see https://b.s3.example/v.mp4?X-Amz-Date=1&X-Amz-Signature=abc&z=9, ok", "abc"),
        ("https://oss.example/v?OSSAccessKeyId=abc&Expires=1", "abc"),
        ("https://cdn.example/v?auth_key=1-abc", "abc"),
        ("https://cdn.example/v?Policy=abc&Key-Pair-Id=K", "abc"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, gone: str) -> None:
    """Tokens, credentials under telling names, and signed queries disappear although nobody named their values."""
    assert gone not in Redactor([]).text(text)


@pytest.mark.parametrize(
    "text",
    [
        "the token expired: ask for a new one",
        "basic information about the product",
        "https://cdn.example/list?page=2&size=10",
        "max_tokens: 5",
        "clip/SKU-17/ratio=9x16: failed after 3 attempts",
        "still short of credits",
        "",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """What merely talks about secrets stays readable, and a value too short to be one is no secret."""
    assert REDACTOR.text(text) == text


def test_trees_keep_their_shape() -> None:
    """Values under telling keys are hidden whole; other values by what they hold; null and booleans stay."""
    tree: JSON = {
        "Authorization": "x",
        "X-API-KEY": ["a", "b"],
        "accessToken": {"deep": 1},
        "password": None,
        "signature": True,
        "task_id": "t-1",
        "token_count": 5,
        "uid": 123456789012,
        "list": [SECRET, 1.5, {"url": "https://x/?sig=abc"}],
        SECRET: "as a key",
    }
    assert REDACTOR.tree(tree) == {
        "Authorization": HIDDEN,
        "X-API-KEY": HIDDEN,
        "accessToken": HIDDEN,
        "password": None,
        "signature": True,
        "task_id": "t-1",
        "token_count": 5,
        "uid": HIDDEN,
        "list": [HIDDEN, 1.5, {"url": f"https://x/?{HIDDEN}"}],
        HIDDEN: "as a key",
    }


def test_a_very_deep_tree_is_cut() -> None:
    """Depth without end is cut off rather than followed."""
    deep: JSON = SECRET
    for _ in range(100_000):
        deep = [deep]
    assert "p4ss" not in str(REDACTOR.tree(deep))


@pytest.mark.parametrize(
    "text", ["eyJ", "a", "?", "token ", "token", "https://", "bearer ", "token=", "?sig=", "cookie ", "\\", '"', " "]
)
def test_long_hostile_text_takes_linear_time(text: str) -> None:
    """Ten times the text takes nowhere near a hundred times as long."""
    small, large = text * 2_000, text * 20_000
    REDACTOR.text(small)
    start = time.process_time()
    for _ in range(3):
        REDACTOR.text(small)
    middle = time.process_time()
    REDACTOR.text(large)
    assert time.process_time() - middle < 10 * (middle - start) + 0.05
