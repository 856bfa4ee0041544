"""Names: keys, job keys and file names, against everything that text can hold."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from runner.errors import TemplateError
from runner.naming import (
    MAX_COMPONENT_BYTES,
    MAX_PATH_BYTES,
    decode_key,
    encode_key,
    fold,
    job_key,
    key_problem,
    path_component,
    safe_path,
    split_job_key,
)

STEADY = settings(derandomize=True, database=None, deadline=None)
"""The same examples every time, whatever else the machine does."""

ANY_TEXT = st.text(alphabet=st.characters(), max_size=120)
"""Lone surrogates included."""
NASTY = st.text(alphabet="aAbßẞſKKéé~._- /\\:%*?<>|\"'\x00\n con1¹.ﬁ½Å", max_size=24)
TEXTS = st.one_of(ANY_TEXT, NASTY)
HANGS_ON_WINDOWS = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


# -------------------------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    "key",
    [
        "AB/12",
        "Größe 42",
        "👩‍🚀",
        "CON",
        "a:b",
        "x ",
        " x",
        "..a",
        "a..b",
        "...",
        ".",
        "~",
        "~x",
        "C:",
        "C:x",
        "日本",
        "0",
        "x" * 500,
    ],
)
def test_usable_keys(key: str) -> None:
    """Spaces, slashes, scripts, emoji and Windows' reserved names make good keys."""
    assert key_problem(key) is None


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("", "empty"),
        (" \t\n", "empty"),
        ("\u00a0\u200b\ufeff", "empty"),
        ("a\x00b", "U+0000"),
        ("a\nb", "U+000A"),
        ("a\x85b", "U+0085"),
        ("a\x7f", "U+007F"),
        ("gpj.\u202eexe", "U+202E"),
        ("a\u2066b", "U+2066"),
        ("a\u2028b", "U+2028"),
        ("..", ".."),
        ("../x", ".."),
        ("a/../b", ".."),
        ("a\\..", ".."),
        ("a/..", ".."),
        ("/etc/passwd", "outside"),
        ("\\\\server\\share", "outside"),
        ("C:\\x", "drive"),
        ("c:/x", "drive"),
        ("~/x", "home"),
        ("~\\x", "home"),
        ("a\ud800", "surrogate"),
        ("x" * 501, "501"),
    ],
)
def test_unusable_keys(key: str, word: str) -> None:
    """A key that is empty, invisible, a way out of a folder, or not text is refused with the reason."""
    assert word in (key_problem(key) or "")


# ---------------------------------------------------------------------------------------------------------- job keys


@STEADY
@given(TEXTS)
def test_keys_come_back(text: str) -> None:
    """Whatever a key is, it is the same after encoding and decoding, and its code has nothing that separates or selects."""
    code = encode_key(text)
    assert decode_key(code) == text
    assert not re.search(r"[\s/,=:~+*?\[\]!\x00-\x1f]", code)


def test_readable_characters_stay() -> None:
    """Only characters with a meaning are encoded."""
    assert encode_key("Größe-42_a.b(1)#'👩‍🚀@&") == "Größe-42_a.b(1)#'👩‍🚀@&"
    assert encode_key("AB/12 100%") == "AB%2F12%20100%25"


@pytest.mark.parametrize("text", ["%", "a%2", "%zz", "%2f", "%C3", "%FF"])
def test_broken_codes_are_refused(text: str) -> None:
    """A per cent sign that no encoding writes is an error, not a guess."""
    with pytest.raises(ValueError, match=r"%|codec"):
        decode_key(text)


@STEADY
@given(TEXTS, TEXTS, st.lists(st.tuples(TEXTS, TEXTS), max_size=3), st.one_of(st.none(), st.integers(1, 99)))
def test_job_keys_come_apart(target: str, product: str, axes: list[tuple[str, str]], take: int | None) -> None:
    """A job key splits into exactly what it was made of, the take as its last axis."""
    cell = tuple(axes)
    expected = cell if take is None else (*cell, ("take", str(take)))
    assert split_job_key(job_key(target, product, cell, take)) == (target, product, expected)


def test_job_key_spelling() -> None:
    """The documented form of a job key."""
    assert (
        job_key("still", "AB/12", (("aspect_ratio", "9x16"), ("mood", "a=b")), 2)
        == "still/AB%2F12/aspect_ratio=9x16,mood=a%3Db,take=2"
    )
    assert job_key("still", "A1", ()) == "still/A1"


@pytest.mark.parametrize("key", ["", "still", "a/b/", "a/b/c", "a/b/c=d=e", "a/b/c=d/e=f", "a/b/c=d,"])
def test_what_is_no_job_key(key: str) -> None:
    """Text that ``job_key`` cannot have written is refused."""
    with pytest.raises(ValueError, match="not a job key"):
        split_job_key(key)


# -------------------------------------------------------------------------------------------------------- file names


def assert_safe(name: str) -> None:
    """A file name that Linux, macOS and Windows all take."""
    assert name
    assert name not in (".", "..")
    assert len(name.encode()) <= MAX_COMPONENT_BYTES
    assert not HANGS_ON_WINDOWS.search(name)
    assert not name.endswith((".", " "))
    assert unicodedata.normalize("NFC", name) == name
    assert name.split(".", maxsplit=1)[0].rstrip().upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT¹", "COM0", "CONIN$"}


@STEADY
@given(TEXTS, st.booleans())
def test_components_are_safe(text: str, clash: bool) -> None:
    """Any text becomes a name that every system takes."""
    assert_safe(path_component(text, clash=clash))


@STEADY
@given(TEXTS, TEXTS)
def test_components_are_unique(one: str, two: str) -> None:
    """Two texts never share a name, even where case and normalisation are ignored, given the clash flag."""
    assume(one != two)
    clash = fold(one) == fold(two)
    names = [fold(path_component(text, clash=clash)) for text in (one, two)]
    assert names[0] != names[1]


@STEADY
@given(TEXTS)
def test_a_name_cannot_be_posed_as(text: str) -> None:
    """A key that spells another key's file name gets a name of its own."""
    name = path_component(text)
    if name != text:
        assert path_component(name) != name


@pytest.mark.parametrize("text", ["AB-12", "a.b_c", "x" * 80, "-", "_", ".hidden", "COM", "console", "CON-1", "COM10", "nul_"])
def test_ordinary_keys_are_unchanged(text: str) -> None:
    """Plain keys keep their own names."""
    assert path_component(text) == text


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("Größe 42", "Größe_42~"),
        ("Gro\u0308ße", "Größe~"),
        ("AB/12", "AB_12~"),
        ("CON", "_CON~"),
        ("con.txt", "_con.txt~"),
        ("LPT¹", "LPT~"),
        ("nul.", "_nul~"),
        ("a.", "a~"),
        ("a~b", "a_b~"),
        ("..", "_~"),
        (".", "_~"),
        ("", "_~"),
        ("👩‍🚀", "_~"),
        ("x" * 81, "x" * 71 + "~"),
        ("日" * 40, "日" * 23 + "~"),
        ("हिन्दी", "हिन्दी~"),
    ],
)
def test_altered_names_stay_readable(text: str, start: str) -> None:
    """Letters survive, the rest becomes ``_``, and the suffix says that something was altered."""
    name = path_component(text)
    assert re.fullmatch(re.escape(start) + "[0-9a-f]{8}", name)


@pytest.mark.parametrize(
    ("one", "two"), [("ABC", "abc"), ("Straße", "STRASSE"), ("é", "e\u0301"), ("ﬁ", "fi"), ("\u212b", "A\u030a"), ("\u212a", "k")]
)
def test_folds(one: str, two: str) -> None:
    """Texts that a file system may take for one another have one fold."""
    assert fold(one) == fold(two)


@STEADY
@given(TEXTS)
def test_fold_is_settled(text: str) -> None:
    """Folding a fold changes nothing."""
    assert fold(fold(text)) == fold(text)


# ------------------------------------------------------------------------------------------------------------- paths


@STEADY
@given(st.lists(TEXTS, min_size=1, max_size=6))
def test_paths_are_safe_and_settled(parts: list[str]) -> None:
    """Whatever a template renders is refused, or becomes a path of safe parts that a second pass leaves alone."""
    try:
        path = safe_path("/".join(parts))
    except TemplateError:
        return
    assert len(path.encode()) <= MAX_PATH_BYTES
    for part in path.split("/"):
        assert_safe(part)
    assert safe_path(path) == path


@STEADY
@given(TEXTS)
def test_a_component_passes_through_a_path(text: str) -> None:
    """A finished component stands in a path as it is, alone and with ordinary text around it."""
    name = path_component(text)
    assert safe_path(name) == name
    assert safe_path(f"clips/{name}") == f"clips/{name}"
    longer = f"{name}-clip"
    if len(longer.encode()) <= MAX_COMPONENT_BYTES:
        assert safe_path(longer) == longer


@pytest.mark.parametrize(
    "text", ["", "/", "//", " ", ".", "./", "/a", "a//b", "a/", "\\a", "..", "a/../b", "a\\..\\b", "C:\\a", "~/a", "a/ /b"]
)
def test_refused_paths(text: str) -> None:
    """A path that is empty, absolute, has a hole or leads out is an error with the next thing to do."""
    with pytest.raises(TemplateError) as caught:
        safe_path(text)
    assert "path" in caught.value.message
    assert caught.value.hint


def test_path_spelling() -> None:
    """Ordinary paths stay; a leading ``./`` is dropped; odd parts are altered one by one."""
    assert safe_path("A1/still-9x16") == "A1/still-9x16"
    assert safe_path("./A1/x") == "A1/x"
    assert re.fullmatch(r"Shoes_Boots~[0-9a-f]{8}/still-9x16", safe_path("Shoes & Boots/still-9x16"))


def test_long_paths_keep_their_difference() -> None:
    """Paths beyond the limit are shortened, and differ as long as what was rendered differs."""
    base = "/".join("f" * 70 for _ in range(5))
    paths = {safe_path(f"{base}{number}/clip") for number in range(50)}
    assert len(paths) == 50
    assert all(len(path) <= MAX_PATH_BYTES for path in paths)
    assert all(path.startswith("f" * 70 + "/") for path in paths)
